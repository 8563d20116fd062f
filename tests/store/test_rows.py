"""Inserting many rows at once, on both databases."""

from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.store.queries import CANARY, as_logged
from vyrox.store.database import Database
from vyrox.store.rows import insert_rows
from vyrox.store.sqlite import ROWS_PER_STATEMENT
from vyrox.store.tables import alerts, containers, quarantine

IGNORE = "ON CONFLICT (id) DO NOTHING"
UPDATE = "ON CONFLICT (id) DO UPDATE SET version = containers.version + excluded.version"


def read_containers(connection: Connection) -> list[tuple[object, ...]]:
    """Return the three columns that are inserted here."""
    return [row[:3] for row in read_all(connection, containers)]


def read_all(connection: Connection, table: sa.Table) -> list[tuple[object, ...]]:
    query = sa.select(table).order_by(*table.primary_key.columns)
    return [tuple(row) for row in connection.execute(query)]


@pytest.mark.parametrize(
    "count", [0, 1, ROWS_PER_STATEMENT - 1, ROWS_PER_STATEMENT, 2 * ROWS_PER_STATEMENT + 1]
)
async def test_insert_rows_inserts_all_and_returns_how_many(database: Database, count: int) -> None:
    rows = [(f"{number:04}", 1.5, number) for number in range(count)]
    assert await database.write(insert_rows, containers, rows, IGNORE) == count
    assert await database.read(read_containers) == rows
    more = [*rows, ("9999", 2.5, 7)]
    assert await database.write(insert_rows, containers, more, IGNORE) == 1
    assert await database.read(read_containers) == more


async def test_insert_rows_may_update_rows_whose_key_exists(database: Database) -> None:
    await database.write(insert_rows, containers, [("a", 1.0, 1)])
    assert (
        await database.write(insert_rows, containers, [("a", 9.0, 2), ("b", 9.0, 2)], UPDATE) == 2
    )
    assert await database.read(read_containers) == [("a", 1.0, 3), ("b", 9.0, 2)]


@pytest.mark.parametrize("table", [alerts, quarantine], ids=["first_columns", "all_columns"])
async def test_insert_rows_stores_every_type_and_leaves_the_other_columns_empty(
    database: Database, table: sa.Table
) -> None:
    given: Sequence[object] = ("id", "acme", "generic", b"\0key", 0.5, b"alert", b"\xffraw", "low")
    if table is quarantine:
        given = ("id", "acme", "generic", b"k", "why", b"\xff", 1.0, 2.0, 3, None, "a", 4.0, True)
    await database.write(insert_rows, table, [tuple(given)])
    empty = (None,) * (len(table.columns) - len(given))
    assert await database.read(read_all, table) == [(*given, *empty)]


async def test_insert_rows_that_fails_half_way_leaves_nothing_and_shows_no_value(
    database: Database,
) -> None:
    rows = [(name, 0.0, number) for number, name in enumerate(["a", CANARY, CANARY])]
    with pytest.raises(sa.exc.IntegrityError) as caught:
        await database.write(insert_rows, containers, rows)
    assert CANARY not in as_logged(caught.value)
    assert await database.read(read_containers) == []


async def test_insert_rows_shows_no_value_that_the_driver_refused(database: Database) -> None:
    with pytest.raises((sa.exc.DBAPIError, UnicodeEncodeError)) as unfit:
        await database.write(insert_rows, containers, [(CANARY + "\ud800", 0.0, 1)])
    assert "query argument" not in as_logged(unfit.value)
    assert CANARY not in as_logged(unfit.value)
