"""`vyrox demo`: one story, inside its limits, true to the end."""

import asyncio
import io
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.service import ROOT
from vyrox.clock import monotonic_clock, wall_clock
from vyrox.errors import OperatorError, SettingsError
from vyrox.settings import Settings
from vyrox.settings.reading import only_environment
from vyrox.trial.demo.clock import SharedClock
from vyrox.trial.demo.servers import Log, stop
from vyrox.trial.demo.terminal import Printed, Terminal, echo, lines_with

MAX_LINES: Final = 60
MAX_COLUMNS: Final = 100
LEAST_HISTORY: Final = 40
"""Incidents of the week before the demo."""

PATIENCE_S: Final = 60
"""How long the demo may print nothing."""

MAX_KEPT_LINES: Final = 40
"""What a demo that is kept may print beside the story."""


async def start(*options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "vyrox", "demo", *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.long
async def test_demo_tells_the_whole_story_inside_its_limits() -> None:
    process = await start()
    async with asyncio.timeout(120):
        printed, _ = await process.communicate()
    lines = printed.decode().splitlines()

    assert process.returncode == 0, printed.decode()
    story = (
        "202 queued",
        "band      urgent",
        "credentials.comsvcs",
        "HOST_ISOLATION of workstation-01",
        "band      close",
        "closed by triage",
        "Action: HOST_ISOLATION",
        "SHA-256: ",
        "[Approve] [Reject] [Investigate]",
        "**Approved** by jane. Done: the vendor confirms it.",
        "LINKS HOLD",
        "PROVEN by Discord ('jane')",
        "TAMPERED",
        "FAILED at event",
        "the signature is wrong",
    )
    text = "\n".join(lines)
    places = [text.find(word) for word in story]
    assert places == sorted(places)
    assert -1 not in places
    assert text.count("[Approve]") == 1
    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= MAX_COLUMNS
    [directory] = [line.split()[-1] for line in lines if line.startswith("$ cd ")]
    assert not Path(directory).exists()  # noqa: ASYNC240  (a local disk, once)


def test_demo_reads_nothing_of_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may name a database that is in use."""
    monkeypatch.setenv("DATABASE_URL", "mysql://in-use")
    with only_environment({"PORT": "8001"}):
        assert Settings.from_process().database_url is None
        assert Settings.from_process().ingestion_port == 8001
    with pytest.raises(SettingsError):
        Settings.from_process()


@pytest.mark.long
def test_demo_at_a_terminal_ends_with_the_console_open() -> None:
    """A week of history, a proposal that waits, and a link that signs in; until Ctrl-C."""
    # Ctrl-C goes to all programs of the terminal.
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "vyrox", "demo"])  # noqa: S606
    lines = read_until(terminal, "Ctrl-C here").splitlines()
    [directory] = {line.split()[-1] for line in lines if line.startswith("$ cd ")}
    assert (Path(directory) / ".vyrox").exists()
    look_at(lines)
    os.write(terminal, b"\n")
    read_until(terminal, "/link#")
    os.write(terminal, b"\x03")
    read_until(terminal, "directory deleted")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert len(lines) <= MAX_LINES + MAX_KEPT_LINES
    assert not Path(directory).exists()


def read_until(terminal: int, word: str) -> str:
    """Return what a terminal shows up to a word, without what makes it bold."""
    text = b""
    while word.encode() not in text:
        assert select.select([terminal], [], [], PATIENCE_S)[0], text.decode()
        text += os.read(terminal, 65_536)
    return re.sub(r"\x1b\[\d+m", "", text.decode()).replace("\r", "")


def look_at(lines: list[str]) -> None:
    """Sign in with the link, and find what the demo has made."""
    link, enrol = (
        next(line for line in lines if f"/{page}#" in line) for page in ("link", "enrol")
    )
    address, _, secret = link.partition("#")
    origin = address.removesuffix("/link")
    with httpx.Client(base_url=origin, trust_env=False) as http:
        assert "passkey" in http.get(enrol.partition("#")[0]).text
        begun = http.post("/link", data={"secret": secret}, headers={"Origin": origin})
        # A browser sends a secure cookie to localhost; this client does not.
        http.headers["Cookie"] = begun.headers["set-cookie"].partition(";")[0]
        now = http.get("/").text
        assert "waits for a decision" in now
        assert "workstation-01" in now  # contained, with a lease
        assert history_on(http.get("/incidents?status=closed").text) >= LEAST_HISTORY


def history_on(page: str) -> int:
    return len(set(re.findall(r"/incidents/acme-corp-\d+", page)))


def test_the_clock_of_the_demo_moves_both_clocks_and_only_forward(tmp_path: Path) -> None:
    """A lease of a day that is made up ends at its time, and no clock seems to have jumped."""
    shared = SharedClock(tmp_path / "clock")
    apart = wall_clock() - monotonic_clock()
    shared.begin(1_000_000.0)
    with SharedClock(tmp_path / "clock").used():
        first = monotonic_clock()
        assert 1_000_000.0 <= wall_clock() < 1_000_100.0
        shared.set_to(1_086_400.0)
        assert 1_086_400.0 <= wall_clock() < 1_086_500.0
        assert 86_300.0 < monotonic_clock() - first < 86_500.0
        shared.set_to(1_000_000.0)
        assert wall_clock() >= 1_086_400.0
    assert abs(wall_clock() - monotonic_clock() - apart) < 1


def test_a_wait_for_the_service_ends_with_what_it_has_logged() -> None:
    log = Log(io.BytesIO(b'{"event":"serving","proxy":"h:1"}\nTraceback\n{"event":"stopped"}\n'))

    assert log.wait_for("serving").proxy == "h:1"
    with pytest.raises(OperatorError, match=r"(?s)execute.confirmed did not come:.*Traceback"):
        log.wait_for("execute.confirmed")


def test_a_failure_stops_the_service_cleanly() -> None:
    """A service that is killed leaves its Valkey behind."""
    program = "import signal,sys; signal.signal(15, lambda *_: sys.exit('stopped')); "
    program += "print('up', file=sys.stderr, flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    with process:
        assert stop(process) == 1
        assert process.stderr.read() == b"stopped\n"


def test_a_command_that_fails_ends_the_demo_with_its_error(tmp_path: Path) -> None:
    terminal = Terminal(lambda *_: Printed(1, "", "no such tenant"), tmp_path, {})

    with pytest.raises(OperatorError, match=r"(?s)vyrox tenant list: exit code 1.*no such tenant"):
        terminal.run(["tenant", "list"])


def test_output_that_the_demo_leaves_out_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    echo(["a", "b", "", "c", "a"], lines_with("a"))

    assert capsys.readouterr().out == "a …\na\n"
