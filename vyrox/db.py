"""The SQL store: tables, transactions on SQLite or PostgreSQL, migrations.

A transaction is an ordinary function that takes a SQLAlchemy `Connection` and returns a value; it
is handed to `Database.write` or `Database.read`, which run it and commit; it neither begins nor
commits itself. So every query is written once, for both databases, and nobody outside this module
holds a connection.
"""

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, Protocol, TypedDict, TypeVar, TypeVarTuple, cast

import asyncpg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext.asyncio import create_async_engine

from vyrox.errors import DatabaseUnavailableError, OperatorError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TRANSACTION_TIMEOUT_S: Final = 5.0
"""Longest that one transaction may keep its caller; a webhook's own limit (1 s) is its route's."""

BUSY_TIMEOUT_MS: Final = 2000
"""How long SQLite waits for another process (a `vyrox` command) to finish its own short write."""

YIELD_S: Final = 0.002
"""How long the event loop stands still, at most, for the statements of a transaction on SQLite.

Both need the interpreter's lock: beside a running loop the statements take twice as long. The loop
does not wait for the commit, which is the disk, nor behind another write, nor longer than this for
another process's lock."""

ROWS_AT_ONCE: Final = 64
"""Inserted into SQLite by one statement. Each number of rows up to this is a statement of its own,
which is prepared once and kept."""


class _EngineOptions(TypedDict):
    hide_parameters: bool


# An error's text must not carry what the statement was given.
_ENGINE_OPTIONS: Final[_EngineOptions] = {"hide_parameters": True}

metadata = MetaData()

tenant_credentials = Table(
    "tenant_credentials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("secret", Text),  # encrypted; NULL once removed
    Column("previous_secret", Text),  # encrypted; valid until previous_expires_at
    Column("previous_expires_at", Float),
    Column("previous_used_at", Float),
    Column("field_map", Text),  # JSON
    Column("created_at", Float, nullable=False),
    Column("disabled_at", Float),  # a disabled row stays: removal must not re-open the default
    # Rises with every change in the table, in commit order, so that a reader asks for what is new.
    Column("version", Integer, nullable=False, index=True, unique=True),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    # One row holds a key at a time; it gives it up when its redelivery window is over.
    Column("dedup_key", LargeBinary, unique=True),
    Column("received_at", Float, nullable=False),
    Column("alert", LargeBinary, nullable=False),  # the normalised alert as JSON
    Column("raw", LargeBinary, nullable=False),  # the body as received
    Column("finished_at", Float),
    Column("dead_reason", Text),  # set where it was given up after too many deliveries
)
Index(
    "alerts_unfinished",
    alerts.c.received_at,
    alerts.c.id,
    sqlite_where=alerts.c.finished_at.is_(None),
    postgresql_where=alerts.c.finished_at.is_(None),
)
Index(
    "alerts_finished",
    alerts.c.finished_at,
    sqlite_where=alerts.c.finished_at.is_not(None),
    postgresql_where=alerts.c.finished_at.is_not(None),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("dedup_key", LargeBinary, nullable=False, unique=True),  # the same bytes are kept once
    Column("reason", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("first_received_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False, index=True),
    Column("deliveries", Integer, nullable=False),
    Column("replayed_at", Float),
    Column("alert_id", Text),  # the alert it became when it was replayed
)
Index("quarantine_tenant", quarantine.c.tenant_id, quarantine.c.first_received_at)

audit_log = Table(
    "audit_log",
    metadata,
    # A chain is one (tenant, stream); the key is what keeps it from forking. '' is the service.
    Column("tenant_id", Text, primary_key=True),
    Column("stream", Text, primary_key=True),  # "actions" or "events"
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("kind", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("entry", LargeBinary, nullable=False),  # as exported, byte for byte
    sqlite_with_rowid=False,
)
"""Append-only: triggers refuse UPDATE, DELETE and, in PostgreSQL, TRUNCATE."""

Index(
    "audit_log_events",
    audit_log.c.timestamp,
    audit_log.c.tenant_id,
    audit_log.c.sequence,
    sqlite_where=audit_log.c.stream == "events",
    postgresql_where=audit_log.c.stream == "events",
)

claims = Table(
    "claims",
    metadata,
    Column("request_id", LargeBinary, primary_key=True),  # UTF-8
    Column("tenant_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("action_type", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("lease_until", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("entry_hash", Text),
)
Index("claims_expire", claims.c.expires_at)

edr_credentials = Table(
    "edr_credentials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("client_id", Text),
    Column("azure_tenant", Text),
    Column("base_url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # encrypted
    Column("version", Text, nullable=False),  # random; another one after each change
)

guard_rails = Table(
    "guard_rails",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("frozen_at", Float),
    Column("per_hour", Integer, nullable=False),  # 0 is no limit
    Column("never_contain", Text, nullable=False),  # JSON
)

devices = Table(
    "devices",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("hostname", Text),
    # One action at a time: who is at it, until when. The token rises with each that gets it.
    Column("owner", Text),
    Column("lease_until", Float, nullable=False),
    Column("token", BigInteger, nullable=False),
    # The entry by which Vyrox contained it, or may have; NULL once that was lifted.
    Column("contained_entry", Text),
)

confirmations = Table(
    "confirmations",
    metadata,
    Column("entry_hash", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("vendor", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("execution", LargeBinary, nullable=False),  # the request_id, UTF-8
    Column("target", Text, nullable=False),
    Column("reference", Text),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False, index=True),
    Column("until_at", Float, nullable=False),
)

heartbeat = Table("heartbeat", metadata, Column("at", Float, nullable=False))


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
async def open_database(url: str | None, data_dir: Path) -> AsyncIterator[Database]:
    """Open the store, bring its schema up to date, and close it at the end.

    Args:
        url: A `postgresql+asyncpg://` URL, or None for SQLite in `data_dir`.

    Raises:
        DatabaseUnavailableError: It cannot be reached or migrated.
        OperatorError: Its schema is that of a later version.
    """
    database = _Sqlite(data_dir / "vyrox.db") if url is None else _Postgres(url)
    try:
        await database.write(_migrate, timeout_s=60.0)
        yield database
    finally:
        await database.close()


def probe(connection: Connection, now: float) -> None:
    """Write the heartbeat row: what a full disk or a read-only server refuses."""
    connection.execute(heartbeat.update().values(at=now))


def execute_sqlite(
    connection: Connection, statement: str, values: Sequence[object] = ()
) -> sqlite3.Cursor:
    """Execute `statement` past SQLAlchemy, which for a short one costs more than SQLite itself.

    Raises:
        sa.exc.DBAPIError: As `connection` would; the text holds none of `values`.
    """
    try:
        return _sqlite_of(connection).execute(statement, values)
    except sqlite3.Error as exc:
        hidden = "hidden"
        raise sa.exc.DBAPIError.instance(
            statement, hidden, exc, sqlite3.Error, hide_parameters=True
        ) from exc


def _sqlite_of(connection: Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def insert_sqlite(
    connection: Connection, into: str, rows: Sequence[tuple[object, ...]], on_conflict: str = ""
) -> int:
    """Insert `rows`, many with each statement; return how many went in.

    `executemany` would let go of the interpreter's lock twice for every row, and wait for the event
    loop to give it back each time.

    Args:
        into: The table and its columns, as in `INSERT INTO`.
        on_conflict: The clause for rows whose key is taken.
    """
    inserted = 0
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        statement = _insert(into, len(some), len(some[0]), on_conflict)
        values = tuple(itertools.chain.from_iterable(some))
        inserted += execute_sqlite(connection, statement, values).rowcount
    return inserted


@lru_cache(2 * ROWS_AT_ONCE)
def _insert(into: str, rows: int, columns: int, on_conflict: str) -> str:
    row = f"({', '.join('?' * columns)})"
    # What fails is rolled back with its transaction. Without OR FAIL, SQLite would keep a journal
    # of its own for each statement.
    return f"INSERT OR FAIL INTO {into} VALUES {', '.join([row] * rows)} {on_conflict}"  # noqa: S608  (our own text)


class _Asyncpg(Protocol):
    """What is used of a connection of asyncpg, which has no annotations."""

    async def execute(self, statement: str, *values: object) -> str:
        """Return the command tag, such as `INSERT 0 32`."""
        ...

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]: ...

    def is_closed(self) -> bool: ...


def execute_postgres(
    connection: Connection, statement: str, values: Sequence[object] = ()
) -> list[asyncpg.Record]:
    """Execute `statement` past SQLAlchemy, as `execute_sqlite` does; return its rows.

    Raises:
        sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DBAPIError: As `connection` would.
    """
    return _on_asyncpg(connection, statement, lambda driver: driver.fetch(statement, *values))


def insert_postgres(
    connection: Connection, statement: str, rows: Sequence[tuple[object, ...]]
) -> int:
    """Insert `rows` with one statement; return how many went in.

    Args:
        statement: It is given one array for each column, to `unnest`.

    Raises:
        sa.exc.DBAPIError: As `execute_postgres`.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    tag = _on_asyncpg(connection, statement, lambda driver: driver.execute(statement, *columns))
    return int(tag.rpartition(" ")[2])


def _on_asyncpg(
    connection: Connection, statement: str, call: Callable[[_Asyncpg], Awaitable[T]]
) -> T:
    adapted = cast(AdaptedConnection, connection.connection.dbapi_connection)
    try:
        return adapted.run_async(call)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as exc:
        _forget_values(exc)
        kind = sa.exc.DBAPIError
        if isinstance(exc, asyncpg.IntegrityConstraintViolationError):
            kind = sa.exc.IntegrityError
        elif isinstance(exc, asyncpg.SyntaxOrAccessError):
            kind = sa.exc.ProgrammingError
        raise kind(statement, None, exc) from exc


def _forget_values(exc: BaseException) -> None:
    # A traceback prints these errors too. PostgreSQL's DETAIL repeats the values of the row, and
    # asyncpg the value that it cannot encode.
    linked: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while linked:
        error = linked.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
        error.args = tuple(
            arg.partition(" for query argument")[0] if isinstance(arg, str) else arg
            for arg in error.args
        )
        linked += [error.__cause__, error.__context__]


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Containers that start together take turns. The number is arbitrary and ours alone.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7261946)"))
    config = Config()
    config.set_main_option("script_location", "vyrox:migrations")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as exc:
        raise OperatorError(f"the database was made by a later version of vyrox: {exc}") from exc


class _Sqlite:
    """SQLite: one writer thread, so that writes never wait for each other's locks."""

    def __init__(self, path: Path) -> None:
        # No busy timeout before `_configure_sqlite` sets it: it would not help the switch to WAL.
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            connect_args={"timeout": 0, "cached_statements": 4 * ROWS_AT_ONCE},
            **_ENGINE_OPTIONS,
        )
        sa.event.listen(self._engine, "connect", _configure_sqlite)
        sa.event.listen(self._engine, "begin", _begin_sqlite)
        self._writing_engine = self._engine.execution_options(vyrox_writes=True)
        self._connection: Connection | None = None  # the writer's
        self._writer = ThreadPoolExecutor(1, "sqlite-writer")
        self._under_way: set[object] = set()  # futures
        self._readers = ThreadPoolExecutor(4, "sqlite-reader")

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
    ) -> T:
        executed = threading.Event()
        idle = not self._under_way
        written = self._writer.submit(partial(self._write, executed, transaction, *args))
        self._under_way.add(written)
        written.add_done_callback(self._under_way.discard)
        if idle:
            _yield_until(executed)
        return await _result(written, timeout_s)

    def _write(
        self, executed: threading.Event, transaction: Callable[[Connection, *Ts], T], *args: *Ts
    ) -> T:
        # In the writer's thread, which keeps its connection: to take one from the pool, and to hand
        # it back, costs as much as the statements of a small transaction.
        try:
            if self._connection is None:
                self._connection = self._writing_engine.connect()
            with self._connection.begin():
                result = transaction(self._connection, *args)
                executed.set()
                return result
        except BaseException:
            executed.set()
            if self._connection is not None:
                # After a commit that failed, SQLite may still be in the transaction, and take no
                # other.
                _sqlite_of(self._connection).rollback()
            raise

    def _close_writer(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def read(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
    ) -> T:
        run = partial(_in_transaction, self._engine, transaction, *args)
        return await _result(self._readers.submit(run), timeout_s)

    async def close(self) -> None:
        self._writer.submit(self._close_writer)
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not before
    _switch_to_wal(connection)
    for pragma in (
        "synchronous = FULL",  # a commit is on disk when it returns
        "foreign_keys = ON",
        "recursive_triggers = ON",  # else INSERT OR REPLACE slips past triggers that forbid DELETE
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as exc:
            # Of two processes that switch a new file, one is refused at once, busy timeout or not.
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # in a thread of its own; no event tells when the other is done
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that upgrades from reading to writing can fail at once, busy timeout or not.
    writes = connection.get_execution_options().get("vyrox_writes", False)
    execute_sqlite(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")


def _yield_until(executed: threading.Event) -> None:
    # The one call that keeps the event loop waiting, and is meant to.
    executed.wait(YIELD_S)


def _in_transaction(
    engine: sa.Engine, transaction: Callable[[Connection, *Ts], T], *args: *Ts
) -> T:
    with engine.begin() as connection:
        return transaction(connection, *args)


async def _result(future: Future[T], timeout_s: float) -> T:
    with _translated_errors():
        async with asyncio.timeout(timeout_s):
            return await asyncio.wrap_future(future)


class _Postgres:
    """PostgreSQL: a pool of connections, each transaction in a task of its own."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(
            url,
            isolation_level="AUTOCOMMIT",  # the transaction is `_in_postgres_transaction`'s
            pool_size=5,
            pool_timeout=1,
            connect_args={
                "timeout": 2,
                "server_settings": {
                    "application_name": "vyrox",
                    "synchronous_commit": "on",
                    # A container that freezes in a transaction must not hold its locks for ever.
                    "idle_in_transaction_session_timeout": f"{TRANSACTION_TIMEOUT_S:.0f}s",
                },
            },
            **_ENGINE_OPTIONS,
        )
        sa.event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        self._running: set[asyncio.Task[object]] = set()

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
    ) -> T:
        running = asyncio.create_task(self._in_transaction(transaction, *args))
        self._running.add(running)
        running.add_done_callback(self._ended)
        # Shielded: giving up on a server that hangs takes the driver two seconds more, which are
        # not the caller's.
        try:
            with _translated_errors():
                async with asyncio.timeout(timeout_s):
                    return await asyncio.shield(running)
        finally:
            running.cancel()

    read = write

    async def _in_transaction(self, transaction: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(partial(_in_postgres_transaction, transaction), *args)

    def _ended(self, running: "asyncio.Task[object]") -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # seen: its caller has it, or has stopped waiting

    async def close(self) -> None:
        if self._running:
            await asyncio.wait(self._running)
        await self._engine.dispose()


def _in_postgres_transaction(
    transaction: Callable[[Connection, *Ts], T], connection: Connection, *args: *Ts
) -> T:
    # By hand: SQLAlchemy begins with its own first statement, so none could go past it.
    driver = cast(_Asyncpg, connection.connection.driver_connection)
    ended = False
    try:
        _tell_postgres(connection, "BEGIN")
        try:
            result = transaction(connection, *args)
        except Exception:
            if not driver.is_closed():
                _tell_postgres(connection, "ROLLBACK")
                ended = True
            raise
        tag = _tell_postgres(connection, "COMMIT")
        ended = True
    finally:
        if not ended:  # nobody knows what state it is in, so nobody gets it next
            connection.invalidate()
    if tag != "COMMIT":  # after an error that `transaction` caught
        raise DatabaseUnavailableError(f"the server answered COMMIT with {tag}")
    return result


def _tell_postgres(connection: Connection, command: str) -> str:
    return _on_asyncpg(connection, command, lambda driver: driver.execute(command))


def _refuse_closed(connection: AdaptedConnection, _record: object, _proxy: object) -> None:
    if cast(_Asyncpg, connection.driver_connection).is_closed():
        raise sa.exc.DisconnectionError  # the pool connects anew


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        _forget_values(exc)
        unavailable = isinstance(
            exc, sa.exc.DBAPIError | sa.exc.TimeoutError | asyncpg.PostgresError | OSError
        )
        mistake = isinstance(
            exc, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.DataError
        )
        cause = exc.orig if isinstance(exc, sa.exc.DBAPIError) else exc
        # To sqlite3 a mistake in a query is an operational error, like a full disk.
        mistake |= getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
        if mistake or not unavailable:
            raise
        reason = str(cause).partition("\n")[0]
        raise DatabaseUnavailableError(f"{type(cause).__name__}: {reason}") from exc
