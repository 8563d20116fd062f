"""Inserting many rows with few statements, the same on SQLite and PostgreSQL."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.sqlite import insert_sqlite


def insert_rows(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[tuple[object, ...]],
    on_conflict: str = "",
) -> int:
    """Insert `rows`; return how many were inserted or updated.

    The statement goes to the driver without SQLAlchemy: for a large batch, building it costs
    SQLAlchemy more than running it costs the database.

    Args:
        rows: Of each row the values of the table's first columns, in order. The other columns get
            their default, or NULL.
        on_conflict: An `ON CONFLICT` clause for rows whose key exists, valid on both databases.

    Raises:
        sa.exc.DBAPIError: As `connection` would. The text holds no value of a row.
    """
    if not rows:
        return 0
    if connection.dialect.name == "postgresql":
        from vyrox.store.postgres import insert_postgres  # imports asyncpg

        return insert_postgres(connection, table, rows, on_conflict)
    return insert_sqlite(connection, table, rows, on_conflict)
