"""Sentences on a terminal: folded between words, not in the middle of one."""

import re
import shutil
import sys
import textwrap
from typing import Final

import click

_SENTENCE: Final = re.compile(r"( *(?:[0-9]\. )?)(?!vyrox )\w")
"""How a sentence of instructions begins. Its further lines are indented by as much as the first
group has; what a payload or a command begins with does not match."""


def say(text: str) -> None:
    """Print a text for the person to standard error. In a pipe or a file it is one line."""
    if sys.stderr.isatty():
        text = textwrap.fill(
            text,
            shutil.get_terminal_size().columns,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    click.echo(text, err=True)


def folded(line: str) -> str:
    """Return a line of instructions as standard error's terminal shows it.

    What is to be copied is not folded: a command, and a line with an address.
    """
    begin = _SENTENCE.match(line)
    if begin is None or "://" in line or not sys.stderr.isatty():
        return line
    return textwrap.fill(
        line,
        shutil.get_terminal_size().columns,
        subsequent_indent=" " * len(begin[1]),
        break_long_words=False,
        break_on_hyphens=False,
    )
