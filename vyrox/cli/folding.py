"""Sentences on a terminal: folded between words, not in the middle of one."""

import shutil
import sys
import textwrap

import click


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
