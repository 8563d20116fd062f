"""PostgreSQL: a pool of connections, and statements that go to asyncpg without SQLAlchemy.

Imported only for a PostgreSQL URL: asyncpg takes longer to import than a command on SQLite runs.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Final, Protocol, TypeVar, TypeVarTuple, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import AdaptedConnection, Dialect
from sqlalchemy.ext.asyncio import create_async_engine

from vyrox import log
from vyrox.errors import DatabaseUnavailableError
from vyrox.models import SYSTEM_AUTHORITIES
from vyrox.store.committed import run_calls
from vyrox.store.errors import TRANSACTION_TIMEOUT_S, translated_errors
from vyrox.store.version import refuse_newer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_DIALECT: Final[Dialect] = postgresql.dialect()  # type: ignore[no-untyped-call]

CONNECT_TIMEOUT_S: Final = 2.0

POOL_TIMEOUT_S: Final = 1.0
"""Longest that a transaction waits for a connection of the pool."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
"""The server's default may be another level, at which concurrent writers fail."""

_SESSION: Final = {
    "synchronous_commit": "on",
    # A container that freezes in a transaction must not keep its locks for ever.
    "idle_in_transaction_session_timeout": f"{TRANSACTION_TIMEOUT_S:.0f}s",
}
"""What each transaction relies on."""

_ARGS: Final[dict[str, object]] = {"server_settings": {"application_name": "vyrox", **_SESSION}}

# A pooler may give each transaction another session, and takes few parameters of a session: so each
# transaction sets them for itself, and no statement is prepared for later.
_POOLED_BEGIN: Final = "; ".join(
    [_BEGIN, *(f"SET LOCAL {name} = '{value}'" for name, value in _SESSION.items())]
)


async def _begin_set_up(**args: object) -> asyncpg.Connection:
    # SQLAlchemy asks a new connection several things; they must all reach one session.
    connection = await asyncpg.connect(**args)
    await connection.execute("BEGIN")
    return connection


def _end_set_up(connection: AdaptedConnection, _record: object) -> None:
    connection.run_async(lambda driver: driver.execute("COMMIT"))


_POOLED_ARGS: Final[dict[str, object]] = {
    "async_creator_fn": _begin_set_up,
    "server_settings": {"application_name": "vyrox"},
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
}


def _connect_args(url: str) -> dict[str, object]:
    """Return what asyncpg takes for the URL, which names files that it reads itself."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    args: dict[str, object] = {"dsn": url, "timeout": CONNECT_TIMEOUT_S}
    if query.get("sslrootcert") == SYSTEM_AUTHORITIES:  # which asyncpg does not know
        context = ssl.create_default_context()
        context.check_hostname = query.get("sslmode") != "verify-ca"
        if certificate := query.pop("sslcert", None):
            context.load_cert_chain(certificate, query.pop("sslkey", None))
        del query["sslrootcert"], query["sslmode"]
        args["dsn"] = parts._replace(query=urlencode(query)).geturl()
        args["ssl"] = context
    return args


async def has_pooler(url: str) -> bool:
    """Whether a pooler such as PgBouncer is on the way to the server.

    A pooler gives its clients a process number of its own making.

    Raises:
        DatabaseUnavailableError: The server cannot be reached.
    """
    with translated_errors(asyncpg.PostgresError, asyncpg.InterfaceError), _without_values():
        connection = await asyncpg.connect(**_connect_args(url), statement_cache_size=0)
        try:
            given = connection.get_server_pid()
            # Its tag is the answer: rows would take two messages, which could reach two servers.
            tag = await connection.execute(f"SELECT 1 WHERE pg_backend_pid() = {given}")
        finally:
            await connection.close()
    return bool(tag != "SELECT 1")


class Postgres:
    """A pool of connections. Each transaction runs in a task of its own."""

    def __init__(self, url: str, *, pooled: bool = False) -> None:
        """Take the URL as libpq has it. `pooled`: a pooler is on the way (contract 102)."""
        self._begin = _POOLED_BEGIN if pooled else _BEGIN
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            isolation_level="AUTOCOMMIT",  # `_run_transaction` begins and commits
            pool_size=5,
            pool_timeout=POOL_TIMEOUT_S,
            connect_args=_connect_args(url) | (_POOLED_ARGS if pooled else _ARGS),
            hide_parameters=True,  # errors must not show values
        )
        if pooled:
            log.event("database.pooled", logging.INFO)
            sa.event.listen(self._engine.sync_engine, "connect", _end_set_up)
        sa.event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        self._running: set[asyncio.Task[object]] = set()

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
        pause: bool = False,  # noqa: ARG002  (its statements run on the server)
    ) -> T:
        """As `Database.write` and `Database.read`."""
        running = asyncio.create_task(self._in_transaction(transaction, *args))
        self._running.add(running)
        running.add_done_callback(self._ended)
        # Shielded: cancelling a statement on a server that hangs takes the driver two seconds. The
        # caller does not wait for that.
        try:
            with translated_errors(asyncpg.PostgresError), _without_values():
                async with asyncio.timeout(timeout_s):
                    return await asyncio.shield(running)
        finally:
            running.cancel()

    read = write

    async def _in_transaction(self, transaction: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(
                partial(_run_transaction, self._begin, transaction), *args
            )

    def _ended(self, running: "asyncio.Task[object]") -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # marked as seen: its caller has it, or has stopped waiting

    async def close(self) -> None:
        """Wait for the transactions in progress, and close the connections."""
        if self._running:
            await asyncio.wait(self._running)
        await self._engine.dispose()


def _run_transaction(
    begin: str, transaction: Callable[[Connection, *Ts], T], connection: Connection, *args: *Ts
) -> T:
    # SQLAlchemy would begin with the first statement that it executes itself. Here some statements
    # go to the driver directly, so BEGIN and COMMIT do too.
    driver = cast(_Asyncpg, connection.connection.driver_connection)
    ended = False
    try:
        _execute(connection, begin)
        try:
            result = transaction(connection, *args)
        except Exception as exc:
            if not driver.is_closed():
                _execute(connection, "ROLLBACK")
                ended = True
                refuse_newer(connection, exc)
            raise
        tag = _execute(connection, "COMMIT")
        ended = True
    finally:
        if not ended:  # its state is unknown, so it does not go back to the pool
            connection.invalidate()
    if tag != "COMMIT":  # `transaction` caught an error, which the server has not forgotten
        raise DatabaseUnavailableError(f"the server replied to COMMIT with {tag}")
    run_calls(connection)
    return result


def _execute(connection: Connection, command: str) -> str:
    return _on_asyncpg(connection, command, lambda driver: driver.execute(command))


def _refuse_closed(connection: AdaptedConnection, _record: object, _proxy: object) -> None:
    if cast(_Asyncpg, connection.driver_connection).is_closed():
        raise sa.exc.DisconnectionError  # so that the pool makes a new connection


class _Asyncpg(Protocol):
    """The part of asyncpg's connection that is used here; asyncpg has no annotations."""

    async def execute(self, statement: str, *values: object) -> str:
        """Return the command tag, such as `INSERT 0 32`."""
        ...

    async def fetch(self, statement: str, *values: object) -> list[asyncpg.Record]: ...

    def is_closed(self) -> bool: ...


def execute_postgres(
    connection: Connection, statement: str, values: Sequence[object] = ()
) -> list[asyncpg.Record]:
    """Execute `statement` without SQLAlchemy, as `execute_sqlite` does; return its rows.

    Raises:
        sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DBAPIError: As `connection` would.
    """
    return _on_asyncpg(connection, statement, lambda driver: driver.fetch(statement, *values))


def insert_postgres(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[tuple[object, ...]],
    on_conflict: str = "",
) -> int:
    """Insert `rows` with one statement. Arguments, result and errors as of `rows.insert_rows`."""
    statement = _insert(table, len(rows[0]), on_conflict)
    columns = [list(column) for column in zip(*rows, strict=True)]
    tag = _on_asyncpg(connection, statement, lambda driver: driver.execute(statement, *columns))
    return int(tag.rpartition(" ")[2])


@lru_cache(64)
def _insert(table: sa.Table, columns: int, on_conflict: str) -> str:
    """Return a statement that takes one array for each column."""
    first = list(table.columns)[:columns]
    names = ", ".join(column.name for column in first)
    compiled = [column.type.compile(dialect=_DIALECT) for column in first]
    types = [each.partition(" COLLATE ")[0] for each in compiled]
    arrays = ", ".join(f"${number}::{name}[]" for number, name in enumerate(types, start=1))
    return f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays}) {on_conflict}"  # noqa: S608  (our own text)


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


@contextmanager
def _without_values() -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        _forget_values(exc)
        raise


def _forget_values(exc: BaseException) -> None:
    """Remove the values of rows from `exc` and from the errors that a traceback prints with it.

    PostgreSQL's DETAIL repeats them. asyncpg's text repeats a value that it cannot encode.
    """
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
