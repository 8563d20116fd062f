"""Opening the database: its schema is made, migrated, or refused."""

import asyncio
import inspect
import multiprocessing
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from tests.audit import action
from tests.conftest import new_postgres_database
from tests.heartbeat import write_beat
from tests.postgres import Postgres
from tests.service import ROOT
from tests.store.queries import (
    insert_tenant,
    run,
    tenants,
)
from vyrox.chain.entry import Draft
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.containment import settlement
from vyrox.containment.attempt import DeviceLease
from vyrox.containment.contained import is_host_contained
from vyrox.errors import DatabaseUnavailableError, OperatorError
from vyrox.store import database, sqlite
from vyrox.store.database import SQLITE_FILE, Database, open_database
from vyrox.store.indexes import SCHEMA
from vyrox.store.schema import migrate
from vyrox.store.tables import confirmations
from vyrox.store.version import HEAD
from vyrox.tenants import edr_credentials, guard_rails


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "vyrox.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


_OPEN = """
import asyncio, sys
from pathlib import Path
from vyrox.store.database import open_database

async def main():
    async with open_database(None, Path(sys.argv[1]), create=False):
        print(*sorted({"alembic", "asyncpg", "vyrox.settings"} & sys.modules.keys()))

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def real_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_connect", inspect.unwrap(database._connect))


@pytest.fixture
def database_url(empty_database_url: str | None) -> str | None:
    return empty_database_url


async def test_open_database_of_the_present_version_imports_neither_alembic_nor_asyncpg(
    data_dir: Path,
) -> None:
    """Importing one of them takes longer than a short command works."""
    async with open_database(None, data_dir):
        pass
    command_line = [sys.executable, "-c", _OPEN, str(data_dir)]
    process = await asyncio.create_subprocess_exec(
        *command_line, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"\n")


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), SCHEMA))


async def test_open_database_migrations_make_the_tables_of_the_metadata(
    database: Database,
) -> None:
    assert await database.read(differences) == []


async def test_migrations_may_be_idle_for_as_long_as_they_may_take(
    postgres: Postgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine imports Alembic longer than the five seconds of other transactions."""
    seen = []

    def upgrade(config: Config, _revision: str) -> None:
        connection = config.attributes["connection"]
        seen.append(connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar())

    monkeypatch.setattr(command, "upgrade", upgrade)
    async with open_database(await new_postgres_database(postgres), data_dir):
        assert seen == ["10min"]


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
            device: await database.read(is_host_contained, "acme-corp", "crowdstrike", device)
            for device in ("device", "others", "lifted")
        }
        assert contained == {"device": True, "others": False, "lifted": True}
        await database.write(settlement.fail, "entry")
        assert not await database.read(is_host_contained, "acme-corp", "crowdstrike", "device")
        lift = DeviceLease("acme-corp", "crowdstrike", "lifted", "lift", "lifted", token=0)
        await database.write(lambda c: settlement.confirm(c, lift, is_sent=None, reference=None))
        assert not await database.read(is_host_contained, "acme-corp", "crowdstrike", "lifted")


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
            await database.write(write_beat, 1.0)

    asyncio.run(open_it())


async def test_open_database_of_an_earlier_version_keeps_the_last_hours_count_contract_40(
    database_url: str | None, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of the last hour count, by the time of the chain; entries in the future do not."""
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


async def test_open_database_twice_at_once_migrates_once(
    database_url: str | None, data_dir: Path
) -> None:
    async def open_it() -> None:
        async with open_database(database_url, data_dir) as database:
            await database.write(write_beat, 1.0)

    await asyncio.gather(open_it(), open_it())
    async with open_database(database_url, data_dir) as database:
        assert await database.read(differences) == []
        assert await database.read(run, "SELECT count(*) FROM heartbeat") == 1


async def test_a_current_schema_is_not_migrated_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other of two that start at once waits with its writes until this transaction ends."""
    monkeypatch.setattr(command, "upgrade", None)
    await database.write(migrate)


async def test_a_migration_waits_for_that_of_another_process(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the first one takes longer than SQLite waits for a short write."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 20)
    with closing(sqlite3.connect(data_dir / SQLITE_FILE, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")

        async def open_it() -> None:
            async with open_database(None, data_dir) as database:
                assert await database.read(differences) == []
                # A short write waits as shortly as before.
                timeout = await database.write(run, "PRAGMA busy_timeout")
                assert timeout == 20

        opening = asyncio.create_task(open_it())
        done, _ = await asyncio.wait({opening}, timeout=0.3)  # much longer than a short write waits
        assert not done
        other.execute("COMMIT")
        await opening


@pytest.mark.long
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


async def test_open_database_of_an_earlier_version_keeps_the_child_contract_73(
    database_url: str | None, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flight Control's child was in the column of Microsoft's tenant."""
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "0018"))
        async with open_database(database_url, data_dir) as database:
            await database.write(
                run,
                "INSERT INTO edr_credentials"
                " (tenant_id, vendor, azure_tenant, base_url, secret, version) VALUES"
                " ('child', 'crowdstrike', 'cid:0123abcd', 'u', 's', '1'),"
                " ('plain', 'crowdstrike', NULL, 'u', 's', '1'),"
                " ('plain', 'defender', 'acme.com', 'u', 's', '1')",
            )
    async with open_database(database_url, data_dir) as database:
        stored = await database.read(edr_credentials.list_credentials)
    assert [(each.azure_tenant, each.member_cid) for each in stored] == [
        (None, "0123abcd"),
        (None, None),
        ("acme.com", None),
    ]


async def test_a_deadlock_with_a_running_container_begins_again_contract_104(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lock two tables in different orders. The migration must not end the start."""
    url = await new_postgres_database(postgres)
    old = await asyncpg.connect(url)
    await old.execute("CREATE TABLE one (); CREATE TABLE two ()")
    has_first, has_second = asyncio.Event(), asyncio.Event()
    attempts = []
    is_waited_for = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'two'::regclass"

    def migrate_slowly(connection: sa.Connection) -> None:
        attempts.append(1)
        connection.exec_driver_sql("SET LOCAL deadlock_timeout = '10ms'")
        connection.exec_driver_sql("LOCK TABLE two")
        has_second.set()
        while len(attempts) == 1 and not connection.exec_driver_sql(is_waited_for).scalar():
            connection.exec_driver_sql("SELECT pg_sleep(0.01)")
        connection.exec_driver_sql("LOCK TABLE one")

    async def contain() -> None:
        async with old.transaction():
            await old.execute("SET LOCAL deadlock_timeout = '1min'")
            await old.execute("LOCK TABLE one")
            has_first.set()
            await has_second.wait()
            await old.execute("LOCK TABLE two")

    monkeypatch.setattr(database, "migrate", migrate_slowly)
    containing = asyncio.create_task(contain())
    await has_first.wait()
    async with open_database(url, Path()):
        await containing
    assert len(attempts) == 2
    await old.close()
