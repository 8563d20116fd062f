"""Long output on a terminal goes through a pager (contract 87)."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import wraps
from io import TextIOBase
from typing import Any, Final, TypeVar, cast

import click

Command = TypeVar("Command", bound=Callable[..., Any])

PAGER: Final = ("less", "-FRX")
"""It ends by itself if all fits on the screen, and leaves what was shown there."""


def page(lines: Iterable[str]) -> None:
    """Print the lines, through a pager if a terminal has fewer. A pipe never gets a pager."""
    with paged():
        for line in lines:
            click.echo(line)


@contextmanager
def paged() -> Iterator[None]:
    """Print through a pager what is printed within, if a terminal has fewer lines.

    Who leaves the pager ends what is printed, and not the command.
    """
    program = shutil.which(PAGER[0]) if sys.stdout.isatty() else None
    if program is None or isinstance(sys.stdout, _Paged):
        yield
        return
    height = shutil.get_terminal_size().lines
    held = _Paged(program, height)
    try:
        with redirect_stdout(held), suppress(_LeftError):
            yield
    finally:
        held.end()


def through_pager(command: Command) -> Command:
    """Return the function of a command that prints through a pager."""

    @wraps(command)
    def run(*args: object, **options: object) -> object:
        with paged():
            return command(*args, **options)

    return cast(Command, run)


class _LeftError(Exception):
    """The reader has left the pager."""


class _Paged(TextIOBase):
    """Holds what is printed until it is longer than the screen, and then starts the pager."""

    def __init__(self, program: str, height: int) -> None:
        super().__init__()
        self._program = program
        self._height = height
        self._held: list[str] = []
        self._lines = 0
        self._pager: subprocess.Popen[str] | None = None

    encoding = "utf-8"
    errors = "strict"
    """Click takes a stream without these, or one that takes bytes, for a binary one."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError("text only")
        if self._pager is not None:
            self._send(text)
            return len(text)
        self._held.append(text)
        self._lines += text.count("\n")
        if self._lines >= self._height:
            self._pager = subprocess.Popen(  # noqa: S603  (its path is in PATH)
                [self._program, *PAGER[1:]], stdin=subprocess.PIPE, text=True
            )
            self._send("".join(self._held))
        return len(text)

    def end(self) -> None:
        """Print what is held, or wait until the reader leaves the pager."""
        if self._pager is None:
            click.echo("".join(self._held), nl=False)
            return
        assert self._pager.stdin is not None  # noqa: S101
        with suppress(BrokenPipeError):
            self._pager.stdin.close()
        while self._pager.poll() is None:
            with suppress(KeyboardInterrupt):  # for the pager, which has the terminal
                self._pager.wait()

    def _send(self, text: str) -> None:
        assert self._pager is not None  # noqa: S101
        assert self._pager.stdin is not None  # noqa: S101
        try:
            self._pager.stdin.write(text)
        except BrokenPipeError as exc:
            raise _LeftError from exc
