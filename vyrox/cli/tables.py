"""The one table writer of all lists (contract 87).

On a terminal a table is as wide as the terminal: times and ids are short, long texts are cut, and
what does not matter at first sight is left out. In a pipe a row is a line of whole cells between
tabs. `--wide` shows every column and every cell whole.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

import click
from rich.cells import cell_len

from vyrox.cli.output import as_time, cut_to, printable, record_lines, terminal_width
from vyrox.cli.paging import page
from vyrox.clock import utc_text, wall_clock

_META: Final = "vyrox.cli.tables.wide"

_GAP: Final = 2
"""Spaces between two columns."""

MIN_CUT: Final = 8
"""Columns of a cell that is cut, at least."""

SHORT_ID: Final = 8
"""Characters of an id on a terminal, more if two rows begin with the same ones."""

DAY_S: Final = 86_400.0

Kind = Literal["whole", "name", "cut", "id", "more", "wide", "same"]


class Column(NamedTuple):
    """A column. Its kind says what becomes of it.

    `whole`: it is never cut. `cut`: it may be cut on a terminal; `name`: only if that is not
    enough. `id`: a terminal shows the first characters, which every command accepts. `more`: a
    terminal does not show it. `wide`: only `--wide` shows it. `same`: as `cut`, and a terminal does
    not show it if all rows have the same.
    """

    name: str
    kind: Kind = "whole"


class At(float):
    """A cell that is a time, in Unix seconds."""


def at(seconds: float | None) -> At | None:
    """Return the cell of a time, which may be unknown."""
    return None if seconds is None else At(seconds)


def _note_wide(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.meta[_META] = value


wide_option: Final = click.option(
    "--wide",
    is_flag=True,
    expose_value=False,
    callback=_note_wide,
    help="Show every column, and every cell whole.",
)


def print_table(
    columns: Sequence[Column | str], rows: Iterable[Sequence[object]], *, is_paged: bool = True
) -> None:
    """Print `rows` under `columns`. None is a hyphen.

    Args:
        is_paged: Long ones go through a pager, and the command waits until its reader leaves it.
    """
    context = click.get_current_context(silent=True)
    is_wide = context is not None and bool(context.meta.get(_META))
    width = terminal_width() if sys.stdout.isatty() else None
    lines = table_lines(columns, rows, width, is_wide=is_wide, now=wall_clock())
    if is_paged:
        page(lines)
    else:
        for line in lines:
            click.echo(line)


def table_lines(
    columns: Sequence[Column | str],
    rows: Iterable[Sequence[object]],
    width: int | None,
    *,
    is_wide: bool = False,
    now: float = 0.0,
) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        width: Of the terminal; None: lines of cells between tabs.
        now: A time of the same day is shown without its date.
    """
    named = [each if isinstance(each, Column) else Column(each) for each in columns]
    cells = list(rows)
    is_short = width is not None and not is_wide
    shown = [
        number
        for number, column in enumerate(named)
        if _is_shown(column.kind, [row[number] for row in cells], is_short, is_wide)
    ]
    named = [named[number] for number in shown]
    texts = [[_text(row[number], now if is_short else None) for number in shown] for row in cells]
    if width is None:
        yield from ("\t".join(line) for line in ([each.name for each in named], *texts))
        return
    if texts:
        yield from _terminal_lines(named, texts, None if is_wide else width)


def _is_shown(kind: Kind, cells: Sequence[object], is_short: bool, is_wide: bool) -> bool:
    if kind == "wide":
        return is_wide
    if kind == "same" and is_short:
        return len(set(cells)) > 1
    return not (kind == "more" and is_short)


def _text(cell: object, now: float | None) -> str:
    if cell is None or cell == "":
        return "-"
    if isinstance(cell, At):
        return as_time(cell) or "-" if now is None else short_time(cell, now)
    return printable(str(cell))


def short_time(seconds: float, now: float) -> str:
    """Return a time in UTC in at most 11 characters: of this day, of this year, or earlier."""
    day, year = utc_text(seconds, "%Y-%m-%d"), utc_text(now, "%Y")
    if day == utc_text(now, "%Y-%m-%d"):
        return utc_text(seconds, "%H:%M:%S")
    return utc_text(seconds, "%m-%d %H:%M") if day.startswith(f"{year}-") else day


def _terminal_lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None
) -> Iterator[str]:
    whole = rows
    if width is not None:
        rows = _with_short_ids(columns, rows)
    names = [column.name for column in columns]
    widths = [max(map(cell_len, cells)) for cells in zip(names, *rows, strict=True)]
    if width is not None and not _shrink(columns, widths, width):
        yield from _records(names, whole, width)
        return
    for row in (names, *rows):
        yield _joined(row, widths)


def _with_short_ids(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    found = [list(row) for row in rows]
    for number, column in enumerate(columns):
        if column.kind == "id":
            length = _length([row[number] for row in found])
            for row in found:
                row[number] = row[number][:length]
    return found


def _length(ids: Sequence[str]) -> int:
    """Return how many characters make the ids different."""
    different = set(ids)
    length = SHORT_ID
    while len({each[:length] for each in different}) < len(different):
        length += 1
    return length


def _shrink(columns: Sequence[Column], widths: list[int], width: int) -> bool:
    """Make the cells that may be cut narrower, the widest first. Return whether all fit then."""
    room = width - _GAP * (len(widths) - 1)
    for kinds in (("cut", "same"), ("name",)):
        least = {
            number: max(MIN_CUT, cell_len(column.name))
            for number, column in enumerate(columns)
            if column.kind in kinds
        }
        while sum(widths) > room and (
            may := [number for number, smallest in least.items() if widths[number] > smallest]
        ):
            widths[max(may, key=lambda number: widths[number])] -= 1
    return sum(widths) <= room


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    cut = [cut_to(cell, width) for cell, width in zip(cells, widths, strict=True)]
    padded = (cell + " " * (w - cell_len(cell)) for cell, w in zip(cut, widths, strict=True))
    return (" " * _GAP).join(padded).rstrip()


def _records(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    for number, row in enumerate(rows):
        if number:
            yield ""
        lower = (name.lower() for name in names)
        yield from record_lines(dict(zip(lower, row, strict=True)), width)
