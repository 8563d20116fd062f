"""Deletes finished alerts and old quarantined payloads, in small transactions (RETENTION_DAYS).

An alert that triage has judged belongs to an incident: it is kept until the incident is closed, and
`retention_s` longer. The verdict of triage is deleted with its alert, and an incident with its last
alert.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.quarantine import delete_last_received_before
from vyrox.store.database import Database
from vyrox.store.tables import (
    alerts,
    host_devices,
    host_names,
    incident_keys,
    incident_notes,
    incident_proposals,
    incident_steps,
    incidents,
    person_hosts,
    verdicts,
)

MAX_DELETED_ROWS: Final = 1000
"""Rows that one transaction deletes. New alerts wait for the transaction."""

MAX_DELETED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of bodies that one transaction deletes: SQLite may overwrite each byte with zero."""

_a: Final = alerts.c
_v: Final = verdicts.c
_i: Final = incidents.c


async def delete_expired(database: Database, retention_s: float, now: float) -> int:
    """Delete rows that were finished, closed or last received `retention_s` before `now`.

    Returns the number of deleted rows. An unfinished alert is never deleted, nor is an alert whose
    incident is not closed.
    """
    deleted = 0
    while batch := await database.write(_delete_some, now - retention_s):
        deleted += batch
    return deleted


def _delete_some(connection: Connection, cutoff: float) -> int:
    deleted = _delete_alerts(connection, cutoff) + delete_last_received_before(
        connection, cutoff, MAX_DELETED_ROWS, MAX_DELETED_BYTES
    )
    # Last: these read whole tables.
    return deleted or _delete_incidents(connection, cutoff) or _delete_hosts(connection, cutoff)


def _is_closed_before(cutoff: float) -> sa.ColumnElement[bool]:
    return sa.and_(_i.status == "closed", _i.closed_at < cutoff)


def _delete_alerts(connection: Connection, cutoff: float) -> int:
    is_kept = (
        sa.exists()
        .where(_v.alert_id == _a.id)
        .where(_i.tenant_id == _v.tenant_id, _i.number == _v.incident)
        .where(sa.not_(sa.func.coalesce(_is_closed_before(cutoff), sa.false())))
    )
    # Skip rows that another transaction has locked, and delete them next time: two transactions
    # that wait for rows of each other deadlock.
    expired = (
        sa.select(_a.id, sa.func.length(_a.raw))
        .where(_a.finished_at < cutoff, ~is_kept)
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
    connection.execute(verdicts.delete().where(_v.alert_id.in_(ids)))
    return connection.execute(alerts.delete().where(_a.id.in_(ids))).rowcount


def _delete_hosts(connection: Connection, cutoff: float) -> int:
    """Forget devices, names and persons that no alert has named since. Incidents keep theirs."""
    deleted = 0
    for table in (host_devices, host_names, person_hosts):
        primary = list(table.primary_key)
        old = sa.select(*primary).where(table.c.last_at < cutoff).limit(MAX_DELETED_ROWS)
        if keys := [tuple(row) for row in connection.execute(old)]:
            gone = table.delete().where(sa.tuple_(*primary).in_(keys))
            deleted += connection.execute(gone).rowcount
    return deleted


def _delete_incidents(connection: Connection, cutoff: float) -> int:
    """Delete incidents without alerts: closed ones, and those merged into a deleted one."""
    survivor = incidents.alias()
    has_alerts = sa.exists().where(_v.tenant_id == _i.tenant_id, _v.incident == _i.number)
    has_survivor = sa.exists().where(
        survivor.c.tenant_id == _i.tenant_id, survivor.c.number == _i.merged_into
    )
    is_over = sa.or_(
        sa.and_(_i.merged_into.is_(None), _is_closed_before(cutoff)),
        sa.and_(_i.merged_into.is_not(None), ~has_survivor),
    )
    expired = (
        sa.select(_i.tenant_id, _i.number)
        .where(is_over, ~has_alerts)
        .limit(MAX_DELETED_ROWS)
        .with_for_update(skip_locked=True)
    )
    keys = [tuple(row) for row in connection.execute(expired)]
    if not keys:
        return 0
    for table in (
        incident_keys,
        incident_notes,
        incident_proposals,
        incident_steps,
        incidents,
    ):
        key = sa.tuple_(table.c.tenant_id, table.c.number)
        connection.execute(table.delete().where(key.in_(keys)))
    return len(keys)
