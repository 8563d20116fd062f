"""Transactions: the same on SQLite and PostgreSQL."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.heartbeat import write_beat
from tests.store.queries import (
    CANARY,
    as_logged,
    break_a_promise,
    insert_tenant,
    run,
    tenants,
)
from vyrox.errors import DatabaseUnavailableError
from vyrox.store.database import Database, open_database
from vyrox.store.tables import heartbeat


async def test_write_is_committed_when_it_returns(database_url: str | None, data_dir: Path) -> None:
    async with (
        open_database(database_url, data_dir) as database,
        open_database(database_url, data_dir) as other,
    ):
        await database.write(insert_tenant, "acme", 1)
        assert await other.read(tenants) == ["acme"]


async def test_write_that_raises_leaves_nothing(database: Database) -> None:
    def fail(connection: Connection) -> None:
        insert_tenant(connection, "acme", 1)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(fail)
    assert await database.read(tenants) == []


async def test_write_whose_commit_fails_leaves_nothing_and_the_next_works_contract_32(
    database: Database,
) -> None:
    """After a failed commit SQLite is still in the transaction, until it is rolled back."""
    for _ in range(2):
        with pytest.raises(sa.exc.IntegrityError):
            await database.write(break_a_promise)
    await database.write(insert_tenant, "acme", 1)
    assert await database.read(tenants) == ["acme"]


async def test_write_many_at_once_lose_no_update(database: Database) -> None:
    await database.write(run, "UPDATE heartbeat SET at = 0")
    add_one = "UPDATE heartbeat SET at = at + 1"
    await asyncio.gather(*(database.write(run, add_one) for _ in range(30)))
    assert await database.read(run, "SELECT at FROM heartbeat") == 30


async def test_write_constraint_violation_is_not_translated_and_shows_no_value(
    database: Database,
) -> None:
    await database.write(insert_tenant, CANARY, 1)
    with pytest.raises(sa.exc.IntegrityError) as caught:
        await database.write(insert_tenant, CANARY, 2)
    assert CANARY not in as_logged(caught.value)


@pytest.mark.parametrize("last", [ConnectionResetError, LookupError])
async def test_write_that_raises_while_an_error_is_handled_shows_no_value(
    database: Database, last: type[Exception]
) -> None:
    def insert_and_lose(connection: Connection) -> None:
        try:
            insert_tenant(connection, CANARY, 2)
        except sa.exc.IntegrityError:
            raise last("lost")  # noqa: B904  (as where the rollback fails)

    await database.write(insert_tenant, CANARY, 1)
    with pytest.raises((DatabaseUnavailableError, LookupError)) as caught:
        await database.write(insert_and_lose)
    logged = as_logged(caught.value)
    assert "IntegrityError" in logged
    assert CANARY not in logged


async def test_read_mistake_in_a_query_is_not_translated(database: Database) -> None:
    for statement in ("SELEKT 1", "SELECT * FROM missing_table"):
        with pytest.raises(sa.exc.DBAPIError):
            await database.read(run, statement)


async def test_probe_writes(database: Database) -> None:
    await database.write(write_beat, 123.5)
    assert await database.read(lambda c: c.execute(sa.select(heartbeat.c.at)).scalar()) == 123.5
