"""The present schema, made from a copy: running the migrations costs more than most tests."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Connection

from vyrox.store import database, schema
from vyrox.store.database import SQLITE_FILE, open_database

_MADE: Final = "SELECT sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'"
_FIRST_ROWS: Final = ('INSERT INTO "alembic_version"', 'INSERT INTO "heartbeat"')


async def _migrate(directory: Path) -> None:
    async with open_database(None, directory):
        pass


def _statements() -> list[str]:
    """Return what makes the schema, with the rows that a new database holds."""
    with tempfile.TemporaryDirectory(prefix="vx-") as directory:
        asyncio.run(_migrate(Path(directory)))
        with closing(sqlite3.connect(Path(directory) / SQLITE_FILE)) as connection:
            made = [row[0] for row in connection.execute(f"{_MADE} ORDER BY rowid")]
            rows = [line for line in connection.iterdump() if line.startswith(_FIRST_ROWS)]
    return [*made, *rows]


@contextmanager
def ready_schema() -> Iterator[None]:
    """Make each new SQLite database of this process with the statements of a migrated one."""
    statements = _statements()

    def make(connection: Connection) -> None:
        if connection.dialect.name != "sqlite" or schema.read_version(connection) is not None:
            schema.migrate(connection)
            return
        for statement in statements:
            connection.exec_driver_sql(statement)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "migrate", make)
        yield
