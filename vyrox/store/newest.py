"""Reads the newest rows of several ranges of an index as one list, a bounded number at a time.

A list that a person narrows may have to read very many rows for each one that it shows. This reads
no more than it is allowed to, and says where it has stopped.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

FIRST_ROWS: Final = 200
"""Rows of all ranges that are read first; then four times as many, and so on."""

FEWEST_ROWS: Final = 4
"""Of one range, each time."""

Place = tuple[float, str]
"""The time and the id of a row: rows are in this order."""


class Sought(NamedTuple):
    """Which rows are sought.

    Attributes:
        ranges: The conditions of each. No row may meet those of two ranges. With the order of the
            list, each should be a range of an index.
        at: The rows' time. `row_id` is their id, which decides between equal times.
        matches: Narrows the ranges; None: all of their rows are wanted.
        source: What the rows are selected from.
    """

    ranges: Sequence[Sequence[sa.ColumnElement[bool]]]
    at: sa.ColumnElement[float]
    row_id: sa.ColumnElement[str]
    source: sa.FromClause
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
    rows = connection.execute(_query(sought, before, each)).all()
    seen = Counter[int]()
    matching: list[Place] = []
    for number, at, row_id, is_match in rows:
        if is_match:
            matching.append((at, row_id))
        seen[number] += 1
        if seen[number] == each:
            return matching, (at, row_id), len(rows)
    return matching, None, len(rows)


def _query(sought: Sought, before: Place | None, each: int) -> sa.Select[Any]:
    at, row_id = sought.at, sought.row_id
    matches = sa.true() if sought.matches is None else sought.matches
    columns: tuple[sa.ColumnElement[Any], ...] = (
        at.label("at"),
        row_id.label("row_id"),
        matches.label("is_match"),
    )
    parts: list[sa.Select[Any]] = []
    for number, conditions in enumerate(sought.ranges):
        part = (
            sa.select(sa.literal(number, sa.Integer).label("number"), *columns)
            .select_from(sought.source)
            .where(*conditions)
            .order_by(at.desc(), row_id.desc())
            .limit(each)
        )
        if before is not None:
            # The first condition is for the index; the second one is exact.
            part = part.where(at <= before[0], sa.tuple_(at, row_id) < sa.tuple_(*before))
        parts.append(part)
    if len(parts) == 1:
        return parts[0]
    whole = sa.union_all(*(sa.select(part.subquery()) for part in parts)).subquery()
    return sa.select(whole).order_by(whole.c.at.desc(), whole.c.row_id.desc())
