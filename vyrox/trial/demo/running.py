"""What the demo runs: `vyrox` commands, each shown with what it printed, and servers."""

import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import click
import msgspec

from vyrox.errors import OperatorError

TENANT: Final = "acme-corp"
WIDTH: Final = 100
"""Columns of what the demo prints."""

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0

Environment = dict[str, str]


class VendorAccount(msgspec.Struct, frozen=True):
    """Credentials that a mock of a vendor takes."""

    vendor: str
    base_url: str
    client_id: str
    client_secret: str


class Device(msgspec.Struct, frozen=True):
    """A host that a mock of a vendor knows."""

    vendor: str
    id: str
    name: str


class Mock(msgspec.Struct, frozen=True):
    """What `vyrox mock-edr --json` prints."""

    url: str
    credentials: list[VendorAccount]
    devices: list[Device]


class Serving(msgspec.Struct):
    """The log line that names the addresses; other lines have neither."""

    ingestion: str = ""
    proxy: str = ""


@contextmanager
def serving(env: Environment, directory: Path) -> Iterator[Serving]:
    """Run the service; give the addresses of its listeners.

    Raises:
        OperatorError: It did not start, or did not stop cleanly.
    """
    log = directory / "serve.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603
            _command("serve"), cwd=directory, env=env, stderr=stderr
        )
    with _ended(process, log):
        yield _addresses(process, log)


@contextmanager
def mocked_vendors(env: Environment, directory: Path) -> Iterator[Mock]:
    """Run the mock of the vendors; give what it prints.

    Raises:
        OperatorError: It did not start, or did not stop cleanly.
    """
    log = directory / "mock.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603
            _command("mock-edr", "--json"),
            cwd=directory,
            env=env,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    with _ended(process, log):
        assert process.stdout is not None  # noqa: S101  (a pipe)
        line = process.stdout.readline()
        if not line:
            raise OperatorError(f"the mock did not start:\n{log.read_text()}")
        yield msgspec.json.decode(line, type=Mock)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "vyrox", *words]


@contextmanager
def _ended(process: subprocess.Popen[bytes], log: Path) -> Iterator[None]:
    """End the process, cleanly where nothing went wrong before."""
    with process:
        try:
            yield
            process.send_signal(signal.SIGTERM)
            if (status := process.wait(STOP_TIMEOUT_S)) != 0:
                raise OperatorError(f"ended with exit code {status}:\n{log.read_text()}")
        finally:
            process.kill()


def _addresses(process: subprocess.Popen[bytes], log: Path) -> Serving:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_bytes().splitlines():
            if line.startswith(b"{") and line.endswith(b"}"):
                serving = msgspec.json.decode(line, type=Serving)
                if serving.ingestion:
                    return serving
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise OperatorError(f"the service did not start:\n{log.read_text()}")


def show(
    command: list[str],
    env: Environment,
    directory: Path,
    expected: int = 0,
    stdin: str | None = None,
    typed: str | None = None,
) -> str:
    """Run a command, show it with its standard output, and return that. Raises as `run`.

    Args:
        stdin: A file in `directory`.
        typed: What one would type instead of the whole command.
    """
    words = shlex.join(["vyrox", *command]) + ("" if stdin is None else f" < {stdin}")
    show_command(typed or words)
    given = None if stdin is None else (directory / stdin).read_bytes()
    printed = run(command, env, directory, expected, given).stdout.decode()
    echo(printed)
    return printed


def show_command(command: str) -> None:
    """Print a command as one types it, in lines of at most WIDTH."""
    lines = ["$"]
    words = command.split(" ")
    for number, word in enumerate(words, 1):
        # Each line except the last ends in a space and a backslash.
        if len(lines[-1]) + 1 + len(word) + (2 if number < len(words) else 0) > WIDTH:
            lines.append("   ")
        lines[-1] += f" {word}"
    click.echo(" \\\n".join(lines))


def echo(text: str) -> None:
    """Print what a command printed, in lines of at most WIDTH."""
    for line in text.splitlines():
        click.echo("\n".join(textwrap.wrap(line, WIDTH, drop_whitespace=False)) or line)


def run(
    command: list[str],
    env: Environment,
    directory: Path,
    expected: int = 0,
    stdin: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in `directory` and return what it printed.

    Raises:
        OperatorError: It ended with another exit code than `expected`.
    """
    done = subprocess.run(  # noqa: S603
        _command(*command), cwd=directory, env=env, input=stdin, capture_output=True, check=False
    )
    if done.returncode != expected:
        raise OperatorError(
            f"vyrox {' '.join(command)}: exit code {done.returncode}\n{done.stderr.decode()}"
        )
    return done


def say(text: str) -> None:
    """Print what comes next, as a new part of the story."""
    click.secho(f"\n# {text}", bold=True)


def say_next(text: str) -> None:
    """Print what comes next in this part."""
    click.secho(f"# {text}", bold=True)
