"""How commands print: a table for people, or JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_UNLIMITED: Final = 500
"""Columns of a table that goes into a pipe or a file, where nothing need be folded."""


def print_json(value: object) -> None:
    """Print `value` as one JSON document, indented; it drives no terminal either."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    # Outside its strings JSON holds printable ASCII and line ends, so this escapes within them.
    click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print `rows` under `columns`; None is a hyphen, and nothing in a cell drives the terminal."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else printable(str(cell))) for cell in row))
    Console(width=None if sys.stdout.isatty() else _UNLIMITED).print(table)


def printable(text: str) -> str:
    """Return `text` with everything escaped that is not printable; payloads are attackers' text."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def as_time(seconds: float | None) -> str | None:
    """Return Unix seconds as people read them, in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
