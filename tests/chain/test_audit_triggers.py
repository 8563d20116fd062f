"""The audit log is append-only: the database refuses every other change, from any client."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Connection

from tests.audit import NOW, action, entries
from tests.conftest import ready_postgres_database
from tests.postgres import Postgres
from vyrox.chain.writer import append
from vyrox.store.database import Database, open_database

INSERT = "INSERT INTO audit_log VALUES ('acme-corp', 'actions', 1, 'k', 1, 'h', 'x')"
UPSERT = " ON CONFLICT (tenant_id, stream, sequence) DO UPDATE SET hash = 'h'"

CHANGES = [
    pytest.param("UPDATE audit_log SET hash = 'h'", id="reject_update"),
    pytest.param("UPDATE audit_log SET entry = entry WHERE sequence = 1", id="reject_update_alike"),
    pytest.param("DELETE FROM audit_log", id="reject_delete"),
    pytest.param("DELETE FROM audit_log WHERE sequence = 2", id="reject_delete_of_the_last"),
    pytest.param(INSERT, id="reject_second_of_its_number"),
    pytest.param(INSERT + UPSERT, id="reject_upsert"),
]
SQLITE_CHANGES = [
    pytest.param(INSERT.replace("INSERT", "INSERT OR REPLACE"), id="reject_replace"),
    pytest.param(
        "INSERT OR REPLACE INTO audit_log "
        "(rowid, tenant_id, stream, sequence, kind, timestamp, hash, entry) "
        "VALUES (1, 'acme-corp', 'actions', 9, 'k', 1, 'h', 'x')",
        id="reject_replace_of_its_row_number",
    ),
    pytest.param("UPDATE OR REPLACE audit_log SET sequence = 2", id="reject_update_or_replace"),
    pytest.param("UPDATE OR IGNORE audit_log SET hash = 'h'", id="reject_update_or_ignore"),
]
POSTGRES_CHANGES = [
    pytest.param("TRUNCATE audit_log", id="reject_truncate"),
    pytest.param("TRUNCATE audit_log, claims CASCADE", id="reject_truncate_with_another"),
    pytest.param(
        "WITH gone AS (DELETE FROM audit_log RETURNING *) SELECT count(*) FROM gone",
        id="reject_delete_within_a_query",
    ),
]


def run(connection: Connection, statement: str) -> None:
    connection.execute(sa.text(statement))


async def written(database: Database) -> list[dict[str, object]]:
    """Write two entries; return them as exported."""
    await database.write(append, (action("a"), action("b")), NOW)
    return await entries(database)


async def test_audit_log_change_is_refused_as_a_broken_constraint_and_not_as_an_outage(
    database: Database,
) -> None:
    before = await written(database)
    for change in ("UPDATE audit_log SET hash = 'h'", "DELETE FROM audit_log", INSERT):
        with pytest.raises(sa.exc.IntegrityError):
            await database.write(run, change)
    assert await entries(database) == before
    await database.write(append, (action("c"),), NOW)
    assert len(await entries(database)) == 3


@pytest.fixture
def sqlite_connection(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """A connection of another program, without the settings of the service's connections."""
    with contextlib.closing(sqlite3.connect(data_dir / "vyrox.db")) as connection:
        yield connection


@pytest.mark.parametrize("change", [*CHANGES, *SQLITE_CHANGES])
async def test_audit_log_sqlite_change_by_another_program_is_refused(
    data_dir: Path, sqlite_connection: sqlite3.Connection, change: str
) -> None:
    async with open_database(None, data_dir) as database:
        before = await written(database)
        assert sqlite_connection.execute("PRAGMA recursive_triggers").fetchone() == (0,)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            sqlite_connection.execute(change)
        sqlite_connection.rollback()
        assert await entries(database) == before


async def test_audit_log_continues_after_a_row_with_number_minus_one(
    data_dir: Path, sqlite_connection: sqlite3.Connection
) -> None:
    """In an INSERT without a row number, a trigger sees -1."""
    async with open_database(None, data_dir) as database:
        before = await written(database)
        sqlite_connection.execute(
            "INSERT INTO audit_log (rowid, tenant_id, stream, sequence, kind, timestamp, hash,"
            " entry) VALUES (-1, 'other-corp', 'actions', 1, 'k', 1, 'h', 'x')"
        )
        sqlite_connection.commit()
        await database.write(append, (action("c"),), NOW)
        assert (await entries(database))[:2] == before
        assert len(await entries(database)) == 3


async def test_audit_log_of_an_earlier_version_is_kept_and_stays_append_only(
    data_dir: Path, sqlite_connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "0003"))
        async with open_database(None, data_dir) as database:
            before = await written(database)
    async with open_database(None, data_dir) as database:
        assert await entries(database) == before
        for change in (*CHANGES, *SQLITE_CHANGES):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                sqlite_connection.execute(str(change.values[0]))
            sqlite_connection.rollback()
        await database.write(append, (action("c"),), NOW)
        assert [entry["host"] for entry in await entries(database)] == ["a", "b", "c"]


@pytest.mark.parametrize("change", [*CHANGES, *POSTGRES_CHANGES])
async def test_audit_log_postgresql_change_by_the_superuser_is_refused(
    postgres: Postgres, data_dir: Path, change: str
) -> None:
    url = await ready_postgres_database(postgres)
    async with open_database(url, data_dir) as database:
        before = await written(database)
        connection = await asyncpg.connect(url)
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await connection.execute(change)
        await connection.close()
        assert await entries(database) == before
