"""SQLite: one writer, and statements past SQLAlchemy."""

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.errors import TRANSACTION_TIMEOUT_S, translated_errors
from vyrox.store.precedence import PRECEDENCE_FILE, Precedence

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

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


class Sqlite:
    """SQLite: one writer thread, so that writes never wait for each other's locks."""

    def __init__(self, path: Path, *, urgent: bool = False) -> None:
        """Open the file; the writes of one that is `urgent` go before other processes' writes."""
        self._precedence = Precedence(path.parent / PRECEDENCE_FILE, urgent=urgent)
        # No busy timeout before `_configure_sqlite` sets it: it would not help the switch to WAL.
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            connect_args={"timeout": 0, "cached_statements": 4 * ROWS_AT_ONCE},
            hide_parameters=True,  # in the text of an error
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
        """As `Database.write`."""
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
            with self._precedence.turn(), self._connection.begin():
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
        """As `Database.read`."""
        run = partial(_in_transaction, self._engine, transaction, *args)
        return await _result(self._readers.submit(run), timeout_s)

    async def close(self) -> None:
        """Wait for the transactions under way, and close the file."""
        self._writer.submit(self._close_writer)
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
        self._precedence.close()


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
    with translated_errors():
        async with asyncio.timeout(timeout_s):
            return await asyncio.wrap_future(future)


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
