"""SQLite: one writer, the event loop, and every way in which it can be unavailable."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.heartbeat import write_beat
from tests.pragma import set_pragma
from tests.store.queries import (
    CANARY,
    break_a_promise,
    insert_tenant,
    refused,
    run,
    tenants,
)
from vyrox.errors import DatabaseUnavailableError
from vyrox.store import sqlite
from vyrox.store.database import open_database
from vyrox.store.sqlite import execute_sqlite


@pytest.mark.parametrize("method", ["read", "write"])
async def test_sqlite_every_connection_has_its_pragmas(data_dir: Path, method: str) -> None:
    def pragmas(connection: Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers")
        return {name: run(connection, f"PRAGMA {name}") for name in names}

    async with open_database(None, data_dir) as database:
        call = database.read if method == "read" else database.write
        assert await call(pragmas) == {
            "journal_mode": "wal",
            "synchronous": 2,  # FULL: every commit is an fsync (contract 17)
            "foreign_keys": 1,
            "recursive_triggers": 1,
        }


async def test_sqlite_write_is_serial(data_dir: Path) -> None:
    running = 0

    def read_then_write(connection: Connection) -> int:
        nonlocal running
        running += 1
        count = len(tenants(connection))
        insert_tenant(connection, f"tenant-{count}", count)
        together, running = running, running - 1
        return together

    async with open_database(None, data_dir) as database:
        together = await asyncio.gather(*(database.write(read_then_write) for _ in range(30)))
        assert set(together) == {1}
        assert await database.read(tenants) == [f"tenant-{number}" for number in range(30)]


def raises(_: Connection) -> None:
    raise LookupError


@pytest.mark.parametrize("transaction", [tenants, raises, break_a_promise])
async def test_sqlite_write_blocks_the_loop_until_its_statements_are_executed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, transaction: Callable[[Connection], object]
) -> None:
    continued = threading.Event()
    continued_early: list[bool] = []

    def observed(connection: Connection) -> None:
        continued_early.append(continued.wait(0.1))
        transaction(connection)

    async with open_database(None, data_dir) as database:
        monkeypatch.setattr(sqlite, "YIELD_S", -1)  # no limit: a blocked loop hangs
        asyncio.get_running_loop().call_soon(continued.set)
        with suppress(LookupError, sa.exc.IntegrityError):
            await database.write(observed, pause=True)
        assert continued_early == [False]


async def test_sqlite_write_does_not_block_the_loop_during_the_commit(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    continued = threading.Event()
    continued_meanwhile: list[bool] = []

    def before_commit(_: Connection) -> None:
        continued_meanwhile.append(continued.wait(30))

    async with open_database(None, data_dir) as database:
        monkeypatch.setattr(sqlite, "YIELD_S", -1)
        asyncio.get_running_loop().call_soon(continued.set)
        sa.event.listen(sa.Engine, "commit", before_commit)
        try:
            await database.write(tenants, pause=True)
        finally:
            sa.event.remove(sa.Engine, "commit", before_commit)
        assert continued_meanwhile == [True]


async def test_sqlite_write_that_cannot_begin_stops_blocking_the_loop(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Connection) -> None:
        raise LookupError

    async with open_database(None, data_dir) as database:
        monkeypatch.setattr(sqlite, "YIELD_S", -1)
        sa.event.listen(sa.Engine, "begin", fail)
        try:
            with pytest.raises(LookupError):
                await database.write(tenants, pause=True)
        finally:
            sa.event.remove(sa.Engine, "begin", fail)
        assert await database.write(tenants, pause=True) == []


async def test_sqlite_write_that_takes_long_stops_blocking_the_loop(data_dir: Path) -> None:
    """The writes that wait behind it do not block it either."""
    release = threading.Event()

    def slow(_: Connection) -> bool:
        return release.wait(30)

    async with open_database(None, data_dir) as database, asyncio.TaskGroup() as group:
        writes = [group.create_task(database.write(slow, pause=True)) for _ in range(3)]
        await asyncio.sleep(0)
        release.set()
        assert await asyncio.gather(*writes) == [True, True, True]


async def test_sqlite_write_behind_another_does_not_wait_for_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    async with open_database(None, data_dir) as database, asyncio.TaskGroup() as group:
        first = group.create_task(database.write(lambda _: release.wait(30), pause=True))
        await asyncio.sleep(0)
        monkeypatch.setattr(sqlite, "YIELD_S", -1)
        cancelled = group.create_task(database.write(tenants, pause=True))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        third = group.create_task(database.write(tenants, pause=True))
        await asyncio.sleep(0)
        release.set()
        assert (await first, await third) == (True, [])


async def test_sqlite_write_beside_another_process_waits_its_turn(data_dir: Path) -> None:
    def read_then_write(connection: Connection) -> None:
        count = len(tenants(connection))
        insert_tenant(connection, f"tenant-{count}", count)

    async with (
        open_database(None, data_dir) as one,
        open_database(None, data_dir) as other,
    ):
        await asyncio.gather(
            *(database.write(read_then_write) for _ in range(15) for database in (one, other))
        )
        assert len(await one.read(tenants)) == 30


async def test_sqlite_read_sees_one_snapshot_and_waits_for_no_write(data_dir: Path) -> None:
    began, written = threading.Event(), threading.Event()

    def read_twice(connection: Connection) -> tuple[list[str], list[str]]:
        before = tenants(connection)
        began.set()
        assert written.wait(10)
        return before, tenants(connection)

    async with open_database(None, data_dir) as database:
        reading = asyncio.create_task(database.read(read_twice))
        await asyncio.to_thread(began.wait, 10)
        await database.write(insert_tenant, "acme", 1)
        written.set()
        assert await reading == ([], [])
        assert await database.read(tenants) == ["acme"]


@pytest.mark.parametrize(
    ("pragma", "undo", "reason"),
    [
        pytest.param("max_page_count = 1", "max_page_count = 1000000", "full", id="reject_full"),
        pytest.param("query_only = ON", "query_only = OFF", "readonly", id="reject_read_only"),
    ],
)
async def test_sqlite_write_refused_by_the_store_is_unavailable_until_it_is_cured_contract_17(
    data_dir: Path, pragma: str, undo: str, reason: str
) -> None:
    def insert_much(connection: Connection) -> None:
        insert_tenant(connection, CANARY + "x" * 100_000, 1)

    async with open_database(None, data_dir) as database:
        await set_pragma(database, pragma)
        assert reason in await refused(database.write(insert_much))
        await set_pragma(database, undo)
        await database.write(insert_much)


def insert_tenant_in_sql(connection: Connection, tenant_id: str, version: int) -> None:
    values = (tenant_id, "generic", 0.0, version)
    statement = (
        "INSERT INTO tenant_credentials (tenant_id, vendor, created_at, version) "
        "VALUES (?, ?, ?, ?)"
    )
    execute_sqlite(connection, statement, values)


@pytest.mark.parametrize("insert", [insert_tenant, insert_tenant_in_sql])
async def test_sqlite_write_that_sqlite_has_rolled_back_is_not_acknowledged_contract_32(
    data_dir: Path, insert: Callable[[Connection, str, int], None]
) -> None:
    """SQLite ends a transaction by itself after some errors, as of a full disk."""

    def lose(connection: Connection) -> None:
        insert(connection, "acme", 1)
        with suppress(sa.exc.IntegrityError):
            execute_sqlite(connection, "INSERT OR ROLLBACK INTO heartbeat VALUES (NULL)")

    async with open_database(None, data_dir) as database:
        with pytest.raises(sa.exc.OperationalError, match="no transaction is active"):
            await database.write(lose)
        await database.write(insert, "other", 1)
        assert await database.read(tenants) == ["other"]


async def test_sqlite_write_behind_a_lock_is_unavailable_and_then_works_contract_17(
    data_dir: Path,
) -> None:
    async with open_database(None, data_dir) as database:
        holder = sqlite3.connect(data_dir / "vyrox.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert "TimeoutError" in await refused(
            database.write(insert_tenant, CANARY, 1, timeout_s=0.1)
        )
        holder.execute("ROLLBACK")
        holder.close()
        await database.write(insert_tenant, "acme", 2)
        # The write that timed out may still have happened.
        assert await database.read(tenants) in (["acme"], [CANARY, "acme"])


async def test_sqlite_new_file_behind_a_lock_is_unavailable_and_then_opens(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = sqlite3.connect(data_dir / "vyrox.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
        with pytest.raises(DatabaseUnavailableError, match="locked"):
            async with open_database(None, data_dir):
                pass
    holder.execute("ROLLBACK")
    holder.close()
    async with open_database(None, data_dir) as database:
        await database.write(write_beat, 1.0)
