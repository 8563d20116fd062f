"""How errors of the drivers become errors of Vyrox: the same for SQLite and PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import sqlalchemy as sa

from vyrox.errors import DatabaseBusyError, DatabaseUnavailableError

TRANSACTION_TIMEOUT_S: Final = 5.0
"""Longest that a caller waits for one transaction. A webhook has a shorter limit (1 s), which its
route sets."""

_BUSY_STATES: Final = frozenset({"40001", "40P01", "53300", "55P03", "57014", "25P03"})
"""PostgreSQL: a conflict, a deadlock, too many connections, a lock that was not available, a
transaction that was cancelled or idle for too long."""

_DATA_ERRORS: Final = frozenset({"22", "54"})
"""Classes of PostgreSQL's error codes: data exception, and program limit exceeded (a value that is
too long for an index)."""


@contextmanager
def translated_errors(*driver_errors: type[Exception]) -> Iterator[None]:
    """Do with the errors of the block what `raise_translated` does."""
    try:
        yield
    except Exception as exc:  # noqa: BLE001  (raised again)
        raise_translated(exc, *driver_errors)


def raise_translated(exc: Exception, *driver_errors: type[Exception]) -> NoReturn:
    """Raise DatabaseUnavailableError if the store is unavailable; raise mistakes as they are.

    Args:
        driver_errors: What the driver raises without SQLAlchemy.
    """
    unavailable = (sa.exc.DBAPIError, sa.exc.TimeoutError, OSError, *driver_errors)
    if not isinstance(exc, unavailable) or _is_mistake(exc):
        raise exc
    cause = _cause(exc)
    reason = str(cause).partition("\n")[0]
    kind = DatabaseBusyError if _is_busy(cause) else DatabaseUnavailableError
    raise kind(f"{type(cause).__name__}: {reason}") from exc


def _cause(exc: Exception) -> BaseException | None:
    return exc.orig if isinstance(exc, sa.exc.DBAPIError) else exc


def _is_mistake(exc: Exception) -> bool:
    """Return whether the store works, and the statement or a value is wrong."""
    if isinstance(exc, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.DataError):
        return True
    cause = _cause(exc)
    # sqlite3 reports a mistake in a query as an operational error, like a full disk.
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return True
    # SQLAlchemy has no DataError for asyncpg.
    return (getattr(cause, "sqlstate", None) or "")[:2] in _DATA_ERRORS


def may_be_schema(exc: BaseException) -> bool:
    """Return whether a table that has other columns than the code knows explains `exc`."""
    cause = _cause(exc) if isinstance(exc, Exception) else None
    code, sqlstate = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    # A name that is not there, or a column that a row must have.
    if code in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT_NOTNULL}:
        return True
    return sqlstate is not None and (sqlstate[:2] == "42" or sqlstate == "23502")


def is_deadlock(exc: Exception) -> bool:
    """Return whether PostgreSQL has ended the transaction because another waited for it, too."""
    return getattr(_cause(exc), "sqlstate", None) == "40P01"


def _is_busy(cause: BaseException | None) -> bool:
    # SQLite's extended code has the plain code in its lowest byte.
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return True
    sqlstate = getattr(cause, "sqlstate", None)
    return sqlstate in _BUSY_STATES or isinstance(cause, TimeoutError | sa.exc.TimeoutError)
