"""Deletes finished alerts and old quarantined payloads, in small transactions (RETENTION_DAYS)."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.quarantine import delete_last_received_before
from vyrox.store.database import Database
from vyrox.store.tables import alerts

MAX_DELETED_ROWS: Final = 1000
"""Rows that one transaction deletes. New alerts wait for the transaction."""

MAX_DELETED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of bodies that one transaction deletes: SQLite may overwrite each byte with zero."""


async def delete_expired(database: Database, retention_s: float, now: float) -> int:
    """Delete rows that were finished, or last received, more than `retention_s` before `now`.

    Returns the number of deleted rows. An unfinished alert is never deleted.
    """
    deleted = 0
    while batch := await database.write(_delete_some, now - retention_s):
        deleted += batch
    return deleted


def _delete_some(connection: Connection, cutoff: float) -> int:
    return _delete_alerts(connection, cutoff) + delete_last_received_before(
        connection, cutoff, MAX_DELETED_ROWS, MAX_DELETED_BYTES
    )


def _delete_alerts(connection: Connection, cutoff: float) -> int:
    c = alerts.c
    # Skip rows that another transaction has locked, and delete them next time: two transactions
    # that wait for rows of each other deadlock.
    expired = (
        sa.select(c.id, sa.func.length(c.raw))
        .where(c.finished_at < cutoff)
        .limit(MAX_DELETED_ROWS)
        .with_for_update(skip_locked=True)
    )
    ids: list[str] = []
    deleted_bytes = 0
    for row_id, size_bytes in connection.execute(expired):
        if deleted_bytes >= MAX_DELETED_BYTES:
            break
        ids.append(row_id)
        deleted_bytes += size_bytes
    if not ids:
        return 0
    return connection.execute(alerts.delete().where(c.id.in_(ids))).rowcount
