"""What the demo prints: text, and `vyrox` commands with their output."""

import shlex
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import click

from vyrox.errors import OperatorError

WIDTH: Final = 100
"""Columns of what the demo prints."""

LEFT_OUT: Final = "…"
"""Ends a line after which the demo does not print all of a command's output."""


class Printed(NamedTuple):
    """How a command ended, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


Run = Callable[[list[str], Mapping[str, str], Path, bytes | None], Printed]
"""Runs a `vyrox` command with an environment, in a directory, with a standard input."""


Wanted = Callable[[Sequence[str]], Iterable[int]]
"""Returns the places of the lines that are shown."""


class Terminal:
    """A directory and an environment in which commands run, as in a person's terminal."""

    def __init__(self, run: Run, directory: Path, env: dict[str, str]) -> None:
        """`env` may grow while the terminal is used."""
        self._run = run
        self.directory = directory
        self.env = env

    def run(self, words: list[str], stdin: bytes | None = None) -> str:
        """Run a `vyrox` command, and return what it printed on standard output.

        Raises:
            OperatorError: It did not end with 0.
        """
        printed = self._run(words, self.env, self.directory, stdin)
        if printed.exit_code != 0:
            raise OperatorError(
                f"vyrox {' '.join(words)}: exit code {printed.exit_code}\n{printed.stderr}"
            )
        return printed.stdout

    def show(self, words: list[str], wanted: Wanted | None = None, stdin: str | None = None) -> str:
        """Run a command as `run` does, show it with what it printed, and return that.

        Args:
            words: The command, without `vyrox`.
            wanted: Returns the places of the lines that are shown. Default: all lines.
            stdin: A file in the directory.
        """
        show_command(shlex.join(["vyrox", *words]) + ("" if stdin is None else f" < {stdin}"))
        given = None if stdin is None else (self.directory / stdin).read_bytes()
        printed = self.run(words, given)
        echo(printed.splitlines(), wanted)
        return printed

    def show_exports(self) -> None:
        """Show how one gets this directory and environment in another terminal."""
        click.echo(f"$ cd {self.directory}")
        line = "$ export"
        for name, value in self.env.items():
            if len(line) + len(name) + len(value) + 2 > WIDTH:
                click.echo(line)
                line = "$ export"
            line += f" {name}={value}"
        click.echo(line)


def _abridged(lines: Sequence[str], wanted: set[int]) -> list[str]:
    """Return the wanted lines. Where others are left out, one of them ends in LEFT_OUT."""
    shown: list[str] = []
    for place, line in enumerate(lines):
        if place in wanted:
            shown.append(line)
        elif line and shown and not shown[-1].endswith(LEFT_OUT):
            shown[-1] += f" {LEFT_OUT}"
    return shown


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


def echo(lines: Sequence[str], wanted: Wanted | None = None) -> None:
    """Print what a command printed, or only the wanted lines of it, at most WIDTH columns wide."""
    shown = lines if wanted is None else _abridged(lines, set(wanted(lines)))
    for line in shown:
        click.echo("\n".join(textwrap.wrap(line, WIDTH)) or line)


def lines_with(*words: str) -> Wanted:
    """Return a choice of the lines that contain one of `words`."""
    return lambda lines: (
        place for place, line in enumerate(lines) if any(word in line for word in words)
    )


def say(text: str) -> None:
    """Print what comes next, as a new part of the story."""
    click.secho(f"\n# {text}", bold=True)


def say_next(text: str) -> None:
    """Print what comes next in this part."""
    click.secho(f"# {text}", bold=True)
