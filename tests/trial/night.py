"""The transcript in `docs/a-night.md`: read, played in a terminal of 80 columns, and compared.

`python -m tests.trial.night` plays it and writes what the commands print now into the page.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from tests.cli import Vyrox, succeeded
from tests.patient_service import patient_service
from tests.service import HMAC_SECRET, ROOT
from vyrox.clock import wall_clock
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.serve import serving

PAGE: Final = ROOT / "docs" / "a-night.md"
COLUMNS: Final = 80
ROWS: Final = 60
TENANT: Final = "acme-corp"

_BLOCK: Final = re.compile(r"^```\n(\$ .*?)^```$", re.M | re.S)
_COLOR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ID: Final = re.compile(rf"\b({_UUID}|[0-9a-f]{{8}})\b")
_CHANGING: Final = (
    (re.compile(r"evt:\d+:[0-9a-f]+"), "EVENT"),
    # Watch may see the alert before its verdict, or after it.
    (re.compile(r"^  urgent, score .*\n", re.M), ""),
    (re.compile(r"\b(unfinished|done)  acme-corp$", re.M), "STATE  acme-corp"),
    (_ID, "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
    (re.compile(r"\d\d:\d\d(:\d\d)?"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (ms|s|min|seconds?)\b"), "AGE"),
    (re.compile(r"/\S*/vx-\S*"), "DIRECTORY"),
    (re.compile(r"[ -]{2,}"), "  "),
)
"""What is another at each run. The width of a column depends on it."""


class Step(NamedTuple):
    """A command, and what it prints in the terminal."""

    command: str
    output: str

    @property
    def answers(self) -> list[str]:
        """What the person types at its questions."""
        return re.findall(r"\[y/N\]: (\w+)$", self.output, re.M)

    @property
    def ends_by_ctrl_c(self) -> bool:
        return self.output.rstrip().endswith("^C")


def read_steps(page: str) -> list[Step]:
    """Return the steps of all blocks of the page that begin with a prompt."""
    found = []
    for block in _BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            found.append(Step(command, output))
    return found


def plain(text: str) -> str:
    """Return what is the same at each run."""
    for changing, name in _CHANGING:
        text = changing.sub(name, text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


class Ids:
    """Which id of this run is at the place of an id on the page."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    def learn(self, on_page: str, now: str) -> None:
        self._now |= {
            old[:8]: new[:8]
            for old, new in zip(_ID.findall(on_page), _ID.findall(now), strict=False)
        }

    def put_into(self, command: str) -> str:
        return _ID.sub(lambda found: self._now.get(found[1][:8], found[1]), command)


def play(command: str, step: Step, env: Mapping[str, str], arrive: Callable[[], object]) -> str:
    """Run a command in a terminal, answer its questions, and return what the terminal shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    words = shlex.split(command)
    assert words[0] == "vyrox"
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=dict(env),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    answers = iter(step.answers)
    last = plain(step.output.rstrip().removesuffix("^C")).splitlines()[-1:]
    shown, has_arrived = "", False
    with contextlib.suppress(OSError):  # Linux: the other end is closed
        while part := os.read(ours, 4096):
            shown += part.decode()
            if shown.endswith("[y/N]: "):
                os.write(ours, f"{next(answers)}\n".encode())
            if step.ends_by_ctrl_c and not has_arrived and "watching" in shown:
                has_arrived = True
                arrive()
            if step.ends_by_ctrl_c and last and plain(_screen(shown)).splitlines()[-1:] == last:
                os.write(ours, b"\x03")
    os.close(ours)
    process.wait()
    return _screen(shown)


def _screen(shown: str) -> str:
    return _COLOR.sub("", shown).replace("\r\n", "\n")


@asynccontextmanager
async def night() -> AsyncIterator[tuple[Mapping[str, str], Callable[[], object]]]:
    """A fresh data directory with one tenant, a mocked vendor and a running service.

    Yields the environment of commands, and what makes an alert arrive.
    """
    mock = MockEdr(wall_clock)
    with tempfile.TemporaryDirectory(prefix="vx-") as directory:
        async with serving(mock) as url:
            vyrox = Vyrox(Path(directory), EDR_TEST_URL=url)
            secret = await asyncio.to_thread(_onboard, vyrox, mock, url)
            settings = {"TRIAGE_ENABLED": "true", "DRY_RUN": "false", "EDR_TEST_URL": url}
            async with patient_service(Path(directory), **settings) as service:
                vyrox.env["VYROX_URL"] = f"{service.ingestion_url}/webhook"
                vyrox.env["CROWDSTRIKE_WEBHOOK_SECRET"] = secret
                env = {
                    **settings,
                    "PATH": os.environ["PATH"],
                    "TERM": "xterm",
                    "VYROX_HMAC_SECRET": HMAC_SECRET,
                    "VYROX_DATA_DIR": directory,
                    "PROXY_PORT": service.proxy_url.rpartition(":")[2],
                }
                yield env, lambda: succeeded(vyrox("simulate", "mimikatz"))


def _onboard(vyrox: Vyrox, mock: MockEdr, url: str) -> str:
    """Return the secret of the tenant's webhook."""
    vendor = ("--vendor", "crowdstrike")
    added = json.loads(succeeded(vyrox("tenant", "add", TENANT, *vendor, "--json")))
    [client] = mock.crowdstrike.clients.values()
    options = ("--client-id", client.client_id, "--base-url", f"{url}/crowdstrike")
    secret = client.client_secret.encode()
    succeeded(vyrox("tenant", "edr", "set", TENANT, *vendor, *options, stdin=secret))
    return str(added["secret"])


async def replay(steps: list[Step]) -> list[Step]:
    """Return the steps with what their commands print now, with the ids of the page."""
    played, ids = [], Ids()
    async with night() as (env, arrive):
        for step in steps:
            command = ids.put_into(step.command)
            output = await asyncio.to_thread(play, command, step, env, arrive)
            ids.learn(step.output, output)
            played.append(Step(command, output))
    return played


def main() -> None:
    """Write the page again."""
    text = PAGE.read_text()
    steps = read_steps(text)
    for old, new in zip(steps, asyncio.run(replay(steps)), strict=True):
        end = "" if new.output.endswith("\n") else "\n"
        text = text.replace(
            f"$ {old.command}\n{old.output}", f"$ {new.command}\n{new.output}{end}", 1
        )
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
