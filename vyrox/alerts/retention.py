"""Deletes rows that are done with, in small transactions (RETENTION_DAYS)."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.quarantine import delete_last_received_before
from vyrox.store.database import Database
from vyrox.store.tables import alerts

DELETED_AT_ONCE: Final = 1000
DELETED_BYTES: Final = 8 * 1024 * 1024
"""Limits of one transaction: rows, and the bytes of their bodies. Alerts wait behind it, and SQLite
may write zeros over each byte."""


async def delete_expired(database: Database, retention_s: float, now: float) -> int:
    """Delete what was finished, or last quarantined, more than `retention_s` before `now`.

    Returns how many rows were deleted. An alert that no consumer has finished stays.
    """
    deleted = 0
    while batch := await database.write(_delete_some, now - retention_s):
        deleted += batch
    return deleted


def _delete_some(connection: Connection, cutoff: float) -> int:
    return _delete_alerts(connection, cutoff) + delete_last_received_before(
        connection, cutoff, DELETED_AT_ONCE, DELETED_BYTES
    )


def _delete_alerts(connection: Connection, cutoff: float) -> int:
    c = alerts.c
    # A row that another container deletes, or a redelivery releases, at this moment is left for the
    # next time: two transactions that wait for each other's rows would deadlock.
    expired = (
        sa.select(c.id, sa.func.length(c.raw))
        .where(c.finished_at < cutoff)
        .limit(DELETED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    ids: list[str] = []
    room = DELETED_BYTES
    for row_id, size_bytes in connection.execute(expired):
        if room <= 0:
            break
        ids.append(row_id)
        room -= size_bytes
    if not ids:
        return 0
    return connection.execute(alerts.delete().where(c.id.in_(ids))).rowcount
