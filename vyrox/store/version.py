"""The version of the schema: the one that this code knows, and the one that a database has."""

import logging
import threading
from contextlib import suppress
from typing import Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from vyrox import log
from vyrox.errors import NewerSchemaError
from vyrox.store.errors import may_be_schema

HEAD: Final = "0031"
"""The newest migration. A test compares it with the scripts in `migrations/versions`."""

_alembic_version: Final = sa.table("alembic_version", sa.column("version_num"))

_newer: Final = WeakKeyDictionary[Engine, str]()
"""Why this version cannot use an open database, once a statement has failed for that."""

_noting: Final = threading.Lock()
"""Transactions on SQLite run in several threads, and the log says it once."""


def read_version(connection: Connection) -> str | None:
    """Return the newest migration that has run, or None if Vyrox has no tables here."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(sa.select(_alembic_version)).scalar()
    return version


def refuse_newer(connection: Connection, exc: BaseException) -> None:
    """Raise NewerSchemaError if `exc` is what a newer schema does to a statement of this version.

    A rolling upgrade has old containers on a newer schema (contract 104). Most of their statements
    work there. The log says once that one does not.

    Args:
        connection: Its transaction has been rolled back, because of `exc`.
    """
    if not may_be_schema(exc):
        return
    version = None
    with suppress(sa.exc.SQLAlchemyError):  # `exc` says why; the look must not hide it
        try:
            version = read_version(connection)
        finally:
            connection.rollback()  # SQLAlchemy has begun a transaction to read it
    if version is None or version <= HEAD:
        return
    reason = (
        f"a newer version of Vyrox has moved the database to schema {version}, and this one, which "
        f"knows {HEAD}, cannot use it: stop this container, or upgrade it"
    )
    with _noting:
        is_known = _newer.get(connection.engine) == reason
        _newer[connection.engine] = reason
    if not is_known:
        found = str(exc.orig) if isinstance(exc, sa.exc.DBAPIError) else str(exc)
        found = found.partition("\n")[0]
        log.event("database.schema_newer", logging.ERROR, reason=reason, found=found)
    raise NewerSchemaError(reason) from exc


def why_newer(connection: Connection) -> str | None:
    """Return why this version cannot use the database, if a statement has failed for that."""
    return _newer.get(connection.engine)
