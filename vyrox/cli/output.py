"""How commands print: records for people, or JSON for programs; tables: `cli.tables`."""

import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

import click
import msgspec
from rich.cells import cell_len

from vyrox.clock import utc_text

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

DEFAULT_COLUMNS: Final = 80
"""Width of a terminal that does not report one."""

_GAP: Final = 2
"""Spaces between a name and its value."""


def print_json(value: object) -> None:
    """Print `value` as one indented JSON document, without control characters."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    # Outside its strings JSON holds printable ASCII and line ends, so this escapes within them.
    click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def print_record(fields: Mapping[str, str], width: int = DEFAULT_COLUMNS) -> None:
    """Print a line `name  value` for each field; a value is folded between words only."""
    for line in record_lines(fields, width):
        click.echo(line)


def record_lines(fields: Mapping[str, str], width: int) -> Iterator[str]:
    """Yield the lines of `print_record`."""
    indent = max(map(cell_len, fields)) + _GAP
    words = (cell_len(word) for value in fields.values() for word in printable(value).split())
    if indent + max(words, default=0) == width + 1:
        indent -= 1  # so that the longest word, such as a hash, is not broken by the terminal
    for name, value in fields.items():
        first, *others = textwrap.wrap(
            printable(value),
            max(width - indent, 1),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
        yield f"{name:{indent}}{first}".rstrip()
        for line in others:
            yield " " * indent + line


def terminal_width() -> int:
    """Return the number of columns of the terminal."""
    return shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).columns


def printable(text: str) -> str:
    """Return `text` with each character escaped that is not printable: payloads are not trusted."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shortened(text: str, width: int) -> str:
    """Return `text` as `printable` does, cut to `width` columns with an ellipsis."""
    return cut_to(printable(text[: width + 1]), width)  # it may be very long


def cut_to(text: str, width: int) -> str:
    """Return a printable text, cut to `width` columns with an ellipsis."""
    if cell_len(text) <= width:
        return text
    text = text[:width]
    while cell_len(text) >= width:
        text = text[:-1]
    return f"{text}\u2026"


def counted(number: int, what: str) -> str:
    """Return a number with its noun: `1 alert`, `2 alerts`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def in_groups(text: str) -> str:
    """Return a thumbprint in groups of four, as the console shows it, to read it aloud."""
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def as_time(seconds: float | None) -> str | None:
    """Return Unix seconds as a date and a time in UTC, to the second."""
    return None if seconds is None else utc_text(seconds)


def as_minute(seconds: float | None) -> str | None:
    """Return Unix seconds as a date and a time in UTC, to the minute."""
    return None if seconds is None else utc_text(seconds, "%Y-%m-%d %H:%M")
