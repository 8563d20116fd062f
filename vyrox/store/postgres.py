"""PostgreSQL: a pool of connections, and statements past SQLAlchemy."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar, TypeVarTuple, cast

import asyncpg
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext.asyncio import create_async_engine

from vyrox.errors import DatabaseUnavailableError
from vyrox.store.errors import TRANSACTION_TIMEOUT_S, forget_values, translated_errors

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Postgres:
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
            hide_parameters=True,  # in the text of an error
        )
        sa.event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        self._running: set[asyncio.Task[object]] = set()

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
    ) -> T:
        """As `Database.write`, and as `Database.read`."""
        running = asyncio.create_task(self._in_transaction(transaction, *args))
        self._running.add(running)
        running.add_done_callback(self._ended)
        # Shielded: giving up on a server that hangs takes the driver two seconds more, which are
        # not the caller's.
        try:
            with translated_errors():
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
        """Wait for the transactions under way, and close the connections."""
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
        # Set, not inherited: a server's default may be another, and other locks go with it.
        _tell_postgres(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")
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
        forget_values(exc)
        kind = sa.exc.DBAPIError
        if isinstance(exc, asyncpg.IntegrityConstraintViolationError):
            kind = sa.exc.IntegrityError
        elif isinstance(exc, asyncpg.SyntaxOrAccessError):
            kind = sa.exc.ProgrammingError
        raise kind(statement, None, exc) from exc
