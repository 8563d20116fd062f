"""The SQL store: transactions on SQLite or PostgreSQL.

A transaction is an ordinary function. It takes a SQLAlchemy `Connection` and returns a value.
`Database.write` and `Database.read` begin, run it and commit; the function itself never begins or
commits. So every query is written once, for both databases, and only this package opens
connections.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import DatabaseBusyError, MissingDatabaseError
from vyrox.store.errors import TRANSACTION_TIMEOUT_S, is_deadlock
from vyrox.store.schema import MIGRATION_ATTEMPTS, MIGRATION_TIMEOUT_S, migrate
from vyrox.store.sqlite import Sqlite
from vyrox.store.version import HEAD, read_version

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Transaction = Callable[[Connection], T]
"""What a caller hands in: it is given the connection, and neither begins nor commits."""

TransactionWith = Callable[[Connection, *Ts], T]
"""The same with arguments."""

SQLITE_FILE: Final = "vyrox.db"
"""The name of the SQLite file in the data directory."""


class Database(Protocol):
    """Runs transactions.

    Both methods raise DatabaseUnavailableError if the store is unreachable, full, read-only or
    slower than `timeout_s`. The write may still have happened. Any other error (a broken
    constraint, a mistake in a query) is raised unchanged.
    """

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
        pause: bool = False,
    ) -> T:
        """Return what `transaction(connection, *args)` returned, after a commit with fsync.

        If `pause`, the event loop may pause while its statements run. That pays if they are many.
        """
        ...

    async def read(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
    ) -> T:
        """Return what `transaction(connection, *args)` returned; it may not write."""
        ...


class _Connected(Database, Protocol):
    async def close(self) -> None: ...


@asynccontextmanager
async def open_database(
    url: str | None, data_dir: Path, *, create: bool = True, urgent: bool = False
) -> AsyncIterator[Database]:
    """Open the store, bring its schema up to date, and close it at the end.

    Args:
        url: A `postgresql://` URL of libpq, or None for SQLite in `data_dir`.
        create: Create the database if it does not exist.
        urgent: Its writes go before those of other processes (SQLite; PostgreSQL's locks queue).

    Raises:
        DatabaseUnavailableError: The database cannot be reached or migrated.
        MissingDatabaseError: There is no database, and `create` is false.
        OperatorError: The schema is that of a later version of Vyrox.
    """
    if url is None and not create and not (data_dir / SQLITE_FILE).exists():
        raise MissingDatabaseError
    database = await _connect(url, data_dir, urgent=urgent)
    try:
        version = await database.read(read_version)
        if version is None and not create:
            raise MissingDatabaseError
        if version != HEAD:
            await _migrate(database)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_as_it_is(url: str | None, data_dir: Path) -> AsyncIterator[Database]:
    """Open the store at `url`, or that of `data_dir`, without a migration; close it at the end."""
    database = await _connect(url, data_dir, urgent=False)
    try:
        yield database
    finally:
        await database.close()


async def _migrate(database: Database) -> None:
    """Migrate. It locks one table after another, and so do containers of an older version."""
    for _ in range(MIGRATION_ATTEMPTS - 1):
        try:
            return await database.write(migrate, timeout_s=MIGRATION_TIMEOUT_S)
        except DatabaseBusyError as exc:
            if not isinstance(exc.__cause__, Exception) or not is_deadlock(exc.__cause__):
                raise
    return await database.write(migrate, timeout_s=MIGRATION_TIMEOUT_S)


async def _connect(url: str | None, data_dir: Path, *, urgent: bool) -> _Connected:
    if url is None:
        return Sqlite(data_dir / SQLITE_FILE, urgent=urgent)
    # Imported here: on SQLite, a command must not wait for asyncpg to be imported.
    from vyrox.store.postgres import Postgres, has_pooler

    return Postgres(url, pooled=await has_pooler(url))


def database_time(connection: Connection, now: float) -> float:
    """Return Unix seconds by one clock for all containers of this database.

    On PostgreSQL it is the server's clock. SQLite has none and serves one machine: it is `now`.
    """
    if connection.dialect.name != "postgresql":
        return now
    query = sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")
    return float(connection.execute(query).scalar_one())


def server_version(connection: Connection) -> str:
    """Return the database's own name and version."""
    if connection.dialect.name == "postgresql":
        return f"PostgreSQL {connection.execute(sa.text('SHOW server_version')).scalar_one()}"
    return f"SQLite {connection.execute(sa.text('SELECT sqlite_version()')).scalar_one()}"
