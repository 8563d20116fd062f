"""The SQL store: transactions on SQLite or PostgreSQL, migrations.

A transaction is an ordinary function that takes a SQLAlchemy `Connection` and returns a value; it
is handed to `Database.write` or `Database.read`, which run it and commit; it neither begins nor
commits itself. So every query is written once, for both databases, and nobody outside this package
holds a connection.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar, TypeVarTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from vyrox.errors import MissingDatabaseError, OperatorError
from vyrox.store.errors import TRANSACTION_TIMEOUT_S
from vyrox.store.locks import lock
from vyrox.store.postgres import Postgres
from vyrox.store.sqlite import Sqlite
from vyrox.store.tables import heartbeat

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Transaction = Callable[[Connection], T]
"""What a caller hands in: it is given the connection, and neither begins nor commits."""

TransactionWith = Callable[[Connection, *Ts], T]
"""The same with arguments."""

SQLITE_FILE: Final = "vyrox.db"
"""In the data directory."""

MIGRATION_TIMEOUT_S: Final = 600.0
"""To bring the schema up to date; copying a table takes 10 s and more for each million rows."""


class Database(Protocol):
    """Runs transactions.

    Both methods raise DatabaseUnavailableError where the store is away, full, read-only or slower
    than `timeout_s`; the write may still have happened. An error that is no sign of an unavailable
    store (a constraint, a mistake in a query) is raised as it is.
    """

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
    ) -> T:
        """Return what `transaction(connection, *args)` returned, after a commit with fsync."""
        ...

    async def read(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
    ) -> T:
        """Return what `transaction(connection, *args)` returned; it may not write."""
        ...


@asynccontextmanager
async def open_database(
    url: str | None, data_dir: Path, *, create: bool = True, urgent: bool = False
) -> AsyncIterator[Database]:
    """Open the store, bring its schema up to date, and close it at the end.

    Args:
        url: A `postgresql+asyncpg://` URL, or None for SQLite in `data_dir`.
        create: Make the database where there is none.
        urgent: Its writes go before those of other processes (SQLite; PostgreSQL's locks queue).

    Raises:
        DatabaseUnavailableError: It cannot be reached or migrated.
        MissingDatabaseError: There is none, and none is to be made.
        OperatorError: Its schema is that of a later version.
    """
    file = data_dir / SQLITE_FILE
    if url is None and not create and not file.exists():
        raise MissingDatabaseError
    database = Sqlite(file, urgent=urgent) if url is None else Postgres(url)
    try:
        version = await database.read(_schema_version)
        if version is None and not create:
            raise MissingDatabaseError
        if version != _newest_version():
            await database.write(_migrate, timeout_s=MIGRATION_TIMEOUT_S)
        yield database
    finally:
        await database.close()


def probe(connection: Connection, now: float) -> None:
    """Write the heartbeat row: what a full disk or a read-only server refuses."""
    connection.execute(heartbeat.update().values(at=now))


def database_time(connection: Connection, now: float) -> float:
    """Return Unix seconds by a clock that all who share the database share.

    That is PostgreSQL's own; on SQLite it is the machine's, as `now`.
    """
    if connection.dialect.name != "postgresql":
        return now
    query = sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")
    return float(connection.execute(query).scalar_one())


def _schema_version(connection: Connection) -> str | None:
    """Return the last migration that was run, or None for a database that is not Vyrox's yet."""
    return MigrationContext.configure(connection).get_current_revision()


def _newest_version() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "vyrox.store:migrations")
    return config


def _migrate(connection: Connection) -> None:
    lock(connection, "schema")  # containers that start together take turns
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as exc:
        raise OperatorError(f"the database was made by a later version of vyrox: {exc}") from exc
