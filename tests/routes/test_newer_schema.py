"""A newer version has migrated the database in a way that this one cannot use (contract 104)."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.conftest import ready_postgres_database
from tests.ingestion import Application, running, webhook
from tests.polling import until
from tests.postgres import Postgres
from vyrox.settings import Settings
from vyrox.store import version
from vyrox.store.database import Database
from vyrox.tenants.containers import forget_all, newest

NEWER = "UPDATE alembic_version SET version_num = '9999'"

Execute = Callable[[str], Awaitable[object]]


@asynccontextmanager
async def sqlite(
    settings: Settings, _postgres: Postgres
) -> AsyncIterator[tuple[Settings, Execute]]:
    """Give a way to change tables beside the service, as a newer version does."""

    async def execute(statement: str) -> None:
        with closing(sqlite3.connect(settings.data_dir / "vyrox.db")) as connection, connection:
            connection.execute(statement)

    yield settings, execute


@asynccontextmanager
async def postgresql(
    settings: Settings, postgres: Postgres
) -> AsyncIterator[tuple[Settings, Execute]]:
    """The same on PostgreSQL."""
    url = await ready_postgres_database(postgres)
    connection = await asyncpg.connect(url)
    try:
        yield replace(settings, database_url=url), connection.execute
    finally:
        await connection.close()


COLUMN_GONE = "ALTER TABLE alerts RENAME COLUMN dedup_key TO of_a_newer_version"
TABLE_GONE = "ALTER TABLE audit_log RENAME TO of_a_newer_version"
COLUMN_REQUIRED = (
    "ALTER TABLE alerts ADD newer TEXT NOT NULL DEFAULT ''; "
    "ALTER TABLE alerts ALTER newer DROP DEFAULT"
)


@pytest.mark.parametrize(
    ("opened", "change"),
    [(sqlite, COLUMN_GONE), (postgresql, TABLE_GONE), (postgresql, COLUMN_REQUIRED)],
)
async def test_an_old_container_that_cannot_go_on_says_so_contract_104(
    opened: Callable[[Settings, Postgres], AbstractAsyncContextManager[tuple[Settings, Execute]]],
    change: str,
    settings: Settings,
    postgres: Postgres,
    redis_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """503 for alerts, never a false 202; 503 for `/health`; one line of the log says why."""
    async with (
        opened(settings, postgres) as (stored_there, execute),
        running(stored_there, redis_url) as application,
    ):
        await application.onboard_documented()
        await execute(NEWER)
        first = await application.post(webhook("crowdstrike"))
        assert first.status_code == 202  # a newer schema alone is no reason to refuse
        await until(lambda: is_healthy(application, True))
        await execute(change)
        for number in range(3):
            body = b'{"detect_id":"later:%d","customer_id":"acme-corp"}' % number
            answer = await application.post(webhook("crowdstrike", body))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        await until(lambda: is_healthy(application, False))
        # It runs: a freeze has to wait for it, and `vyrox status` has to show it.
        await application.database.write(forget_all)
        await until(lambda: has_reported(application))
        entries = await application.entries("acme-corp")
    assert len(entries) == 1
    [line] = [each for each in caplog.records if each.getMessage() == "database.schema_newer"]
    fields = line.__dict__["fields"]
    assert "to schema 9999" in fields["reason"]
    assert "stop this container, or upgrade it" in fields["reason"]
    assert [each for each in caplog.records if each.getMessage() == "request.failed"] == []


async def test_a_look_that_fails_hides_no_error_contract_104(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the connection can be used afterwards."""

    def fail(connection: Connection) -> str:
        connection.execute(sa.text("SELECT * FROM nowhere"))
        return "9999"

    monkeypatch.setattr(version, "read_version", fail)
    with pytest.raises(sa.exc.DBAPIError, match="missing"):
        await database.read(run, "SELECT * FROM missing")
    await database.write(run, "CREATE TABLE missing (id TEXT)")
    await database.read(run, "SELECT * FROM missing")


def run(connection: Connection, statement: str) -> None:
    connection.execute(sa.text(statement))


async def is_healthy(application: Application, expected: bool) -> bool:
    return ((await application.client.get("/health")).status_code == 200) == expected


async def has_reported(application: Application) -> bool:
    return len(await application.database.read(newest, 0.0)) == 1
