"""What becomes of an error of the store: the same for SQLite and PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
import sqlalchemy as sa

from vyrox.errors import DatabaseBusyError, DatabaseUnavailableError

TRANSACTION_TIMEOUT_S: Final = 5.0
"""Longest that one transaction may keep its caller; a webhook's own limit (1 s) is its route's."""

_BUSY_STATES: Final = frozenset({"40001", "40P01", "53300", "55P03", "57014", "25P03"})
"""PostgreSQL: a conflict, a deadlock, too many connections, a lock that was not available, a
transaction that was cancelled or idle for too long."""

_DATA_ERRORS: Final = frozenset({"22", "54"})
"""Classes of PostgreSQL's error codes: data exception, and program limit exceeded (a value that is
too long for an index)."""


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise DatabaseUnavailableError for a store that is away; leave mistakes as they are."""
    try:
        yield
    except Exception as exc:
        forget_values(exc)
        unavailable = isinstance(
            exc, sa.exc.DBAPIError | sa.exc.TimeoutError | asyncpg.PostgresError | OSError
        )
        mistake = isinstance(
            exc, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.DataError
        )
        cause = exc.orig if isinstance(exc, sa.exc.DBAPIError) else exc
        # To sqlite3 a mistake in a query is an operational error, like a full disk.
        mistake |= getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
        # SQLAlchemy has no DataError for asyncpg. The store is there, and one value does not fit.
        mistake |= (getattr(cause, "sqlstate", None) or "")[:2] in _DATA_ERRORS
        if mistake or not unavailable:
            raise
        reason = str(cause).partition("\n")[0]
        kind = DatabaseBusyError if _is_busy(cause) else DatabaseUnavailableError
        raise kind(f"{type(cause).__name__}: {reason}") from exc


def _is_busy(cause: BaseException | None) -> bool:
    # The extended code of SQLite has the plain one in its lowest byte.
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return True
    sqlstate = getattr(cause, "sqlstate", None)
    return sqlstate in _BUSY_STATES or isinstance(cause, TimeoutError | sa.exc.TimeoutError)


def forget_values(exc: BaseException) -> None:
    """Take the values of rows out of `exc` and of the errors that a traceback prints with it.

    PostgreSQL's DETAIL repeats them, and asyncpg the one that it cannot encode.
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
