"""A PostgreSQL database that is used again is as a new one, or is not used again."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import drop_postgres_database, ready_postgres_database
from tests.postgres import Postgres


@pytest.fixture
async def url(postgres: Postgres) -> AsyncIterator[str]:
    made = await ready_postgres_database(postgres)
    yield made
    await drop_postgres_database(postgres, made)


async def run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def contents(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = {
        name: await connection.fetchval(f"SELECT json_agg(t) FROM {name} t")  # noqa: S608
        for (name,) in tables
    }
    await connection.close()
    return found


async def test_rows_are_as_in_a_new_database_and_sessions_are_ended(
    postgres: Postgres, url: str
) -> None:
    assert postgres.clean is not None
    before = await contents(url)
    left = await asyncpg.connect(url)
    await left.execute("BEGIN")
    await left.execute("UPDATE heartbeat SET at = 1")
    await run(url, "INSERT INTO audit_identity VALUES ('another')", "DELETE FROM alembic_version")
    assert await contents(url) != before
    assert await postgres.clean.restore(url)
    assert await contents(url) == before
    with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresError)):
        await left.execute("COMMIT")


@pytest.mark.parametrize(
    "change",
    [
        "ANALYZE alerts",
        "CREATE INDEX another ON alerts (id)",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "CREATE SEQUENCE another",
        "GRANT SELECT ON alerts TO pg_monitor",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = off', current_database()); END $$",
    ],
)
async def test_what_is_more_than_rows_is_not_used_again(
    postgres: Postgres, url: str, change: str
) -> None:
    assert postgres.clean is not None
    await run(url, change)
    assert not await postgres.clean.restore(url)
