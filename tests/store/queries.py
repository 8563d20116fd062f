"""Transactions and checks that the tests of the store share."""

import traceback
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from vyrox.errors import DatabaseUnavailableError
from vyrox.store.tables import tenant_credentials

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
    """Run one statement. Return the first value of the first row, or None without rows."""
    result = connection.execute(sa.text(statement))
    return result.scalar() if result.returns_rows else None


def sqlalchemy_url(url: str) -> str:
    """Return a PostgreSQL URL as SQLAlchemy takes it, for asyncpg."""
    return url.replace("postgresql://", "postgresql+asyncpg://")


@asynccontextmanager
async def raw_connection(url: str) -> AsyncIterator[AsyncConnection]:
    """Connect without the store."""
    engine = create_async_engine(sqlalchemy_url(url))
    async with engine.connect() as connection:
        yield connection
    await engine.dispose()


async def refused(write: Awaitable[object]) -> str:
    """Return the text of the error. Neither it nor its traceback may show a value."""
    with pytest.raises(DatabaseUnavailableError) as caught:
        await write
    assert CANARY not in as_logged(caught.value)
    return str(caught.value)


def as_logged(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))


def break_a_promise(connection: Connection) -> None:
    """Break a constraint that is checked at the commit. Each database then recovers differently."""
    run(connection, "CREATE TABLE promised (id INTEGER PRIMARY KEY)")
    run(
        connection,
        "CREATE TABLE promise (id INTEGER REFERENCES promised (id) DEFERRABLE INITIALLY DEFERRED)",
    )
    run(connection, "INSERT INTO promise VALUES (1)")
