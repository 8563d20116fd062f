"""SQLite: one thread that writes, and statements that go to the driver without SQLAlchemy."""

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple, cast

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.committed import drop_calls, run_calls
from vyrox.store.errors import TRANSACTION_TIMEOUT_S, raise_translated
from vyrox.store.precedence import PRECEDENCE_FILE, Precedence
from vyrox.store.threads import Threads
from vyrox.store.version import refuse_newer

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BUSY_TIMEOUT_MS: Final = 2000
"""How long SQLite waits for another process (a `vyrox` command) to finish a short write."""

YIELD_S: Final = 0.002
"""How long the event loop is blocked, at most, while the statements of a transaction run.

Both need the interpreter's lock: beside a running loop the statements take twice as long. The loop
waits neither for the commit, which waits for the disk, nor behind another write."""

ROWS_PER_STATEMENT: Final = 64
"""How many rows one statement inserts or reads at most. There is one statement for each number of
rows up to this; it is prepared once and kept."""


class Sqlite:
    """One file. One thread writes, so that writes never wait for each other's locks."""

    def __init__(self, path: Path, *, urgent: bool = False) -> None:
        """Open the file. If `urgent`, its writes go before the writes of other processes."""
        self._precedence = Precedence(path.parent / PRECEDENCE_FILE, urgent=urgent)
        # No busy timeout yet: it does not help the switch to WAL. `_configure_sqlite` sets it.
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            connect_args={"timeout": 0, "cached_statements": 4 * ROWS_PER_STATEMENT},
            hide_parameters=True,  # errors must not show values
        )
        sa.event.listen(self._engine, "connect", _configure_sqlite)
        self._own = threading.local()  # each thread's connection
        self._connections: list[Connection] = []
        self._writer = Threads(1, "sqlite-writer")
        # Writes that were submitted, and that have ended: one thread counts each.
        self._submitted = self._ended = 0
        self._readers = Threads(4, "sqlite-reader")

    async def write(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
        pause: bool = False,
    ) -> T:
        """As `Database.write`.

        A transaction that may take longer than others, as a migration does, waits as long for that
        of another process, which may be the same migration.
        """
        is_idle = self._submitted == self._ended
        executed = _taken_lock() if pause and is_idle else None
        self._submitted += 1
        is_long = timeout_s > TRANSACTION_TIMEOUT_S
        busy_ms = int(timeout_s * 1000) if is_long else BUSY_TIMEOUT_MS
        written = self._writer.submit(partial(self._write, executed, busy_ms, transaction, *args))
        if executed is not None:
            _yield_until(executed)
        return await _result(written, timeout_s)

    def _write(
        self,
        executed: "threading.Lock | None",
        busy_ms: int,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
    ) -> T:
        # Runs in the thread that writes.
        try:
            connection = self._connection()
            self._precedence.begin()
            if busy_ms != BUSY_TIMEOUT_MS:
                _set_busy_timeout(connection, busy_ms)
            try:
                # IMMEDIATE: a transaction that reads first and then writes can fail at once,
                # without a busy timeout.
                return _transact(connection, "BEGIN IMMEDIATE", executed, transaction, *args)
            finally:
                if busy_ms != BUSY_TIMEOUT_MS:
                    _set_busy_timeout(connection, BUSY_TIMEOUT_MS)
                self._precedence.end()
        finally:
            _release(executed)
            self._ended += 1

    def _connection(self) -> Connection:
        """Return this thread's connection, which it keeps.

        To get one from the pool and return it costs as much as the statements of a small
        transaction.
        """
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._engine.connect()
            self._connections.append(connection)
        return connection

    async def read(
        self,
        transaction: Callable[[Connection, *Ts], T],
        *args: *Ts,
        timeout_s: float = TRANSACTION_TIMEOUT_S,
    ) -> T:
        """As `Database.read`."""
        return await _result(
            self._readers.submit(partial(self._read, transaction, *args)), timeout_s
        )

    def _read(self, transaction: Callable[[Connection, *Ts], T], *args: *Ts) -> T:
        return _transact(self._connection(), "BEGIN", None, transaction, *args)

    async def close(self) -> None:
        """Wait for the transactions in progress, and close the file."""
        self._writer.end()
        self._readers.end()
        for connection in self._connections:
            connection.close()
        self._engine.dispose()
        self._precedence.close()


def _transact(
    connection: Connection,
    begin: str,
    executed: "threading.Lock | None",
    transaction: Callable[[Connection, *Ts], T],
    *args: *Ts,
) -> T:
    """Run a transaction; release `executed` before the commit.

    SQLAlchemy begins one of its own, without a statement, when it is used within. Where it is not,
    its two steps would cost as much as the statements of a single alert.
    """
    try:
        execute_sqlite(connection, begin)
        result = transaction(connection, *args)
        _release(executed)
        # In SQL: the driver's own commit says nothing if SQLite has rolled back by itself.
        execute_sqlite(connection, "COMMIT")
        if connection.in_transaction():
            connection.commit()
    except BaseException as exc:
        drop_calls(connection)
        connection.rollback()
        # After a failed commit, SQLite may still be in the transaction and would refuse the next
        # one.
        _sqlite_of(connection).rollback()
        refuse_newer(connection, exc)
        raise
    run_calls(connection)
    return result


def _set_busy_timeout(connection: Connection, busy_ms: int) -> None:
    _sqlite_of(connection).execute(f"PRAGMA busy_timeout = {busy_ms}").close()


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_transact` begins transactions
    _switch_to_wal(connection)
    for pragma in (
        "synchronous = FULL",  # a commit is on disk when it returns
        "foreign_keys = ON",
        "recursive_triggers = ON",  # else INSERT OR REPLACE deletes without a trigger
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as exc:
            # Two processes that switch a new file: SQLite refuses one, without a busy timeout.
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            # Not in the event loop. The other process sends no event when it is done.
            time.sleep(0.01)
        else:
            return


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _release(lock: "threading.Lock | None") -> None:
    if lock is not None and lock.locked():
        lock.release()


def _yield_until(executed: threading.Lock) -> None:
    # The only function that blocks the event loop on purpose.
    executed.acquire(timeout=YIELD_S)


async def _result(future: "asyncio.Future[T]", timeout_s: float) -> T:
    # A timer of its own: `asyncio.timeout` costs as much as the whole hand-over.
    timer = asyncio.get_running_loop().call_later(timeout_s, _time_out, future)
    try:
        return await future
    except Exception as exc:  # noqa: BLE001  (raised again)
        raise_translated(exc)
    finally:
        timer.cancel()


def _time_out(future: "asyncio.Future[T]") -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def execute_sqlite(
    connection: Connection, statement: str, values: Sequence[object] = ()
) -> sqlite3.Cursor:
    """Execute `statement` without SQLAlchemy, which costs more than a short statement itself.

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
    connection: Connection,
    table: sa.Table,
    rows: Sequence[tuple[object, ...]],
    on_conflict: str = "",
) -> int:
    """Insert `rows`, many per statement. Arguments, result and errors as of `rows.insert_rows`.

    `executemany` would release the interpreter's lock twice for every row, and each time wait for
    the event loop to release it again.
    """
    inserted = 0
    for first in range(0, len(rows), ROWS_PER_STATEMENT):
        some = rows[first : first + ROWS_PER_STATEMENT]
        statement = _insert(table, len(some), len(some[0]), on_conflict)
        values = tuple(itertools.chain.from_iterable(some))
        inserted += execute_sqlite(connection, statement, values).rowcount
    return inserted


@lru_cache(4 * ROWS_PER_STATEMENT)
def _insert(table: sa.Table, rows: int, columns: int, on_conflict: str) -> str:
    names = ", ".join(column.name for column in list(table.columns)[:columns])
    row = f"({', '.join('?' * columns)})"
    rows_text = ", ".join([row] * rows)
    # OR FAIL: without it, SQLite would keep a journal for each statement. A failed statement is
    # rolled back with its transaction anyway.
    return f"INSERT OR FAIL INTO {table.name} ({names}) VALUES {rows_text} {on_conflict}"  # noqa: S608  (our own text)
