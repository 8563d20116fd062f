"""Long output on a terminal goes through a pager (contract 87)."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from itertools import islice
from typing import Final

import click

PAGER: Final = ("less", "-FRX")
"""It ends by itself if all fits on the screen, and leaves what was shown there."""


def page(lines: Iterable[str]) -> None:
    """Print the lines, through a pager if a terminal has fewer. A pipe never gets a pager."""
    program = shutil.which(PAGER[0]) if sys.stdout.isatty() else None
    if program is None:
        for line in lines:
            click.echo(line)
        return
    height = shutil.get_terminal_size().lines
    rest = iter(lines)
    first = list(islice(rest, height))
    if len(first) < height:
        click.echo("\n".join(first), nl=bool(first))
        return
    _through(program, first, rest)


def _through(program: str, first: Iterable[str], rest: Iterable[str]) -> None:
    with subprocess.Popen([program, *PAGER[1:]], stdin=subprocess.PIPE, text=True) as pager:  # noqa: S603
        assert pager.stdin is not None  # noqa: S101
        # The reader may leave before the end. Ctrl-C is for the pager, which has the terminal.
        with suppress(BrokenPipeError, KeyboardInterrupt):
            for lines in (first, rest):
                for line in lines:
                    pager.stdin.write(f"{line}\n")
        with suppress(BrokenPipeError):
            pager.stdin.close()
        while pager.poll() is None:
            with suppress(KeyboardInterrupt):
                pager.wait()


@contextmanager
def paged() -> Iterator[None]:
    """Print through a pager what is printed within."""
    if not sys.stdout.isatty():
        yield
        return
    held = _Terminal()
    try:
        with redirect_stdout(held):
            yield
    finally:
        page(held.getvalue().removesuffix("\n").split("\n") if held.getvalue() else [])


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True
