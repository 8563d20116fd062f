"""The programs that run beside the demo's commands: the service, mocked vendors, a fake Discord."""

import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

import vyrox
from vyrox.errors import OperatorError
from vyrox.trial.demo.clock import SharedClock

EVENT_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0

_CODE: Final = str(Path(vyrox.__file__).parents[1])
"""Where this program's own code is: the programs beside it run the same."""

T = TypeVar("T")


class VendorAccount(msgspec.Struct, frozen=True):
    """Credentials that a mock of a vendor takes."""

    vendor: str
    base_url: str
    client_id: str
    client_secret: str
    azure_tenant: str | None


class Mock(msgspec.Struct, frozen=True):
    """What `vyrox mock-edr --json` prints; other members are not needed."""

    url: str
    credentials: list[VendorAccount]

    def account(self, vendor: str) -> VendorAccount:
        """Return the credentials for a vendor."""
        return next(each for each in self.credentials if each.vendor == vendor)


class Discord(msgspec.Struct, frozen=True):
    """What `vyrox fake-discord --json` prints; other members are not needed."""

    url: str
    application_id: str
    public_key: str
    bot_token: str
    guild_id: str
    channel_id: str

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment of a service that uses it."""
        return {
            "DISCORD_APPLICATION_ID": self.application_id,
            "DISCORD_PUBLIC_KEY": self.public_key,
            "DISCORD_BOT_TOKEN": self.bot_token,
            "DISCORD_TEST_URL": self.url,
        }


class LogLine(msgspec.Struct, frozen=True):
    """A line of the service's log; each event has other members, too."""

    event: str = ""
    ingestion: str = ""
    proxy: str = ""


class Log:
    """What a program writes to its standard error, line by line, as it comes."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Read until the program ends. It never waits for its reader."""
        self._stream = stream
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._read: list[bytes] = []
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        for line in self._stream:
            self._lines.put(line)
        self._lines.put(b"")

    def wait_for(self, event: str) -> LogLine:
        """Return the next line with this event.

        Raises:
            OperatorError: The program ended before, or EVENT_TIMEOUT_S passed without a line.
        """
        while True:
            try:
                line = self._lines.get(timeout=EVENT_TIMEOUT_S)
            except queue.Empty:
                line = b""
            if not line:
                raise OperatorError(f"the event {event} did not come:\n{self.text()}")
            self._read.append(line)
            if line.startswith(b"{"):
                found = msgspec.json.decode(line, type=LogLine)
                if found.event == event:
                    return found

    def text(self) -> str:
        """Return what was written until now."""
        while not self._lines.empty():
            self._read.append(self._lines.get())
        return b"".join(self._read).decode("utf-8", "replace")


@contextmanager
def serving(
    env: Mapping[str, str], directory: Path, clock: SharedClock | None = None
) -> Iterator[tuple[LogLine, Log]]:
    """Run the service; give the line that names its addresses, and the log.

    Args:
        env: Its whole environment.
        directory: Its working directory.
        clock: It goes by this clock. Default: by the machine's.

    Raises:
        OperatorError: It did not start, or did not stop cleanly.
    """
    with _running(["serve"], env, directory, clock) as (_, log):
        yield log.wait_for("serving"), log


@contextmanager
def announced(
    command: str,
    found: type[T],
    env: Mapping[str, str],
    directory: Path,
    clock: SharedClock | None = None,
) -> Iterator[T]:
    """Run `vyrox COMMAND --json`; give the line that it prints when it is ready. As `serving`.

    Raises:
        OperatorError: It did not start, or did not stop cleanly.
    """
    with _running([command, "--json"], env, directory, clock) as (process, log):
        assert process.stdout is not None  # noqa: S101  (a pipe)
        line = process.stdout.readline()
        if not line:
            log.thread.join(STOP_TIMEOUT_S)
            raise OperatorError(f"{command} did not start:\n{log.text()}")
        yield msgspec.json.decode(line, type=found)


@contextmanager
def _running(
    words: list[str], env: Mapping[str, str], directory: Path, clock: SharedClock | None
) -> Iterator[tuple[subprocess.Popen[bytes], Log]]:
    """End the program after the block."""
    module = ["vyrox"] if clock is None else ["vyrox.trial.demo.clock", str(clock.file)]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", *module, *words],
        cwd=directory,
        env={**env, "PYTHONPATH": _CODE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Ctrl-C is for the demo alone, which then ends the programs one after the other.
        start_new_session=True,
    )
    with process:
        assert process.stderr is not None  # noqa: S101  (a pipe)
        log = Log(process.stderr)
        try:
            yield process, log
        finally:
            # Also after a failure: a service that is killed leaves its Valkey behind.
            status = stop(process)
            log.thread.join(STOP_TIMEOUT_S)
        if status != 0:
            raise OperatorError(f"{words[0]} ended with exit code {status}:\n{log.text()}")


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ask the program to stop; kill it if it does not. Return its exit code."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
