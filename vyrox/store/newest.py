"""Reads the newest rows of several ranges of an index as one list, a bounded number at a time.

A list that a person narrows may have to read very many rows for each one that it shows. This reads
no more than it is allowed to, and says where it has stopped.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.sql.base import ReadOnlyColumnCollection

FIRST_ROWS: Final = 200
"""Rows of all ranges that are read first; then four times as many, and so on."""

FEWEST_ROWS: Final = 4
"""Of one range, each time."""

Columns = ReadOnlyColumnCollection[str, Any]

Place = tuple[float, str]
"""The time and the id of a row: rows are in this order."""


class Sought(NamedTuple):
    """Which rows are sought.

    Attributes:
        table: Has the rows.
        at: The name of the column with their time. Their id is in the column `id`.
        keys: The names of the columns by which an index has the rows, before `at` and `id`.
        ranges: The values of `keys` of each range. No two are equal.
        where: Returns further conditions, for the columns of the table or of an alias of it.
        matches: Narrows what is read; None: all of it is wanted.
    """

    table: sa.Table
    at: str
    keys: tuple[str, ...]
    ranges: Sequence[tuple[str, ...]]
    where: Callable[[Columns], Sequence[sa.ColumnElement[bool]]] = lambda _columns: ()
    matches: sa.ColumnElement[bool] | None = None


class Found(NamedTuple):
    """Rows that match, newest first.

    Attributes:
        older: The place from which the list goes on; None: there is nothing older.
        rows_read: How many rows were read.
    """

    ids: list[str]
    older: Place | None
    rows_read: int


def read_newest(
    connection: Connection, sought: Sought, before: Place | None, limit: int, most: int
) -> Found:
    """Return the newest rows from before a place on.

    Args:
        limit: Rows that are returned at most.
        most: Rows that are read, about, at most. There may be more that match.
    """
    found: list[Place] = []
    place = before
    rows_read = 0
    rows = FIRST_ROWS
    while sought.ranges:
        each = max(FEWEST_ROWS, min(rows, most - rows_read) // len(sought.ranges))
        matching, place, number = _read_some(connection, sought, place, each)
        found += matching
        rows_read += number
        if len(found) > limit:
            return Found(_ids(found[:limit]), found[limit - 1], rows_read)
        if place is None or rows_read >= most:
            return Found(_ids(found), place, rows_read)
        rows *= 4
    return Found([], None, 0)


def _ids(found: Sequence[Place]) -> list[str]:
    return [row_id for _, row_id in found]


def _read_some(
    connection: Connection, sought: Sought, before: Place | None, each: int
) -> tuple[list[Place], Place | None, int]:
    """Return the matching ones of the newest rows, the last place that is complete, and how many.

    Of each range `each` rows are read. What is older than the last of them is not complete.
    """
    rows = connection.execute(_query(connection, sought, before, each)).all()
    seen = Counter[int]()
    matching: list[Place] = []
    for number, at, row_id, is_match in rows:
        if is_match:
            matching.append((at, row_id))
        seen[number] += 1
        if seen[number] == each:
            return matching, (at, row_id), len(rows)
    return matching, None, len(rows)


def _query(
    connection: Connection, sought: Sought, before: Place | None, each: int
) -> sa.Select[Any]:
    is_postgres = connection.dialect.name == "postgresql"
    if len(sought.ranges) == 1:
        conditions = _in_range(sought, sought.table.c, sought.ranges[0], before, is_postgres)
        query = sa.select(sa.literal(0, sa.Integer).label("number"), *_shown(sought))
        query = query.select_from(sought.table).where(*conditions)
        return query.order_by(*_newest_first(sought, sought.table.c)).limit(each)
    # One text for any number of ranges: to compile a query for each would take most of the time.
    encoded = msgspec.json.encode(sought.ranges).decode()
    if is_postgres:
        return _query_postgres(sought, before, each, encoded)
    return _query_sqlite(sought, before, each, encoded)


def _query_sqlite(sought: Sought, before: Place | None, each: int, encoded: str) -> sa.Select[Any]:
    ranges = sa.func.json_each(encoded).table_valued("key", "value", name="ranges")
    values = [
        sa.func.json_extract(ranges.c.value, f"$[{number}]") for number in range(len(sought.keys))
    ]
    inner = sought.table.alias("newest")
    ids = (
        sa.select(inner.c.id)
        .where(*_in_range(sought, inner.c, values, before, is_postgres=False))
        .order_by(*_newest_first(sought, inner.c))
        .limit(each)
        .correlate(ranges)
    )
    both = ranges.join(sought.table, sought.table.c.id.in_(ids))
    query = sa.select(ranges.c.key.label("number"), *_shown(sought))
    query = query.select_from(both)
    return query.order_by(*_newest_first(sought, sought.table.c))


def _query_postgres(
    sought: Sought, before: Place | None, each: int, encoded: str
) -> sa.Select[Any]:
    elements = sa.func.json_array_elements(sa.cast(sa.cast(encoded, sa.Text), sa.JSON))
    ranges = elements.table_valued(
        sa.column("value", sa.JSON), with_ordinality="number"
    ).render_derived(name="ranges")
    values = [
        ranges.c.value.op("->>", return_type=sa.Text())(sa.literal_column(str(number)))
        for number in range(len(sought.keys))
    ]
    newest = (
        sa.select(*_shown(sought))
        .select_from(sought.table)
        .where(*_in_range(sought, sought.table.c, values, before, is_postgres=True))
        .order_by(*_newest_first(sought, sought.table.c))
        .limit(each)
        .lateral("newest")
    )
    query = sa.select(ranges.c.number, *newest.c).select_from(ranges.join(newest, sa.true()))
    return query.order_by(newest.c.at.desc(), newest.c.row_id.desc())


def _shown(sought: Sought) -> list[sa.ColumnElement[Any]]:
    return [
        sought.table.c[sought.at].label("at"),
        sought.table.c.id.label("row_id"),
        (sa.true() if sought.matches is None else sought.matches).label("is_match"),
    ]


def _newest_first(sought: Sought, columns: Columns) -> tuple[sa.ColumnElement[Any], ...]:
    return columns[sought.at].desc(), columns.id.desc()


def _in_range(
    sought: Sought,
    columns: Columns,
    values: Sequence[Any],
    before: Place | None,
    is_postgres: bool,
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of the rows of one range that are before a place."""
    at, row_id = columns[sought.at], columns.id
    found = [columns[name] == value for name, value in zip(sought.keys, values, strict=True)]
    found += sought.where(columns)
    if before is not None:
        # The first condition is for the index; the second one is exact. With a sum, SQLite does not
        # take an index for it that has the tenant and the time only.
        exact = at if is_postgres else at + 0.0
        found += [at <= before[0], sa.tuple_(exact, row_id) < sa.tuple_(*before)]
    return found
