"""Deletes finished alerts and old quarantined payloads, in small transactions (RETENTION_DAYS).

What is old enough is searched beside all other work, page by page, and checked again in the
transaction that deletes it.

An alert that triage has judged belongs to an incident: it is kept until the incident is closed, and
`retention_s` longer. The verdict of triage is deleted with its alert, and an incident with its last
alert.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

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

MAX_DELETED_ROWS: Final = 200
"""Rows that one transaction deletes. New alerts wait for the transaction."""

MAX_DELETED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of bodies that one transaction deletes: SQLite may overwrite each byte with zero."""

PAGE: Final = 1000
"""Alerts that one search reads."""

_a: Final = alerts.c
_v: Final = verdicts.c
_i: Final = incidents.c

_Key = tuple[str, int]
"""The tenant and the number of an incident."""


class _Old(NamedTuple):
    """An alert that was finished long ago."""

    finished_at: float
    id: str
    size_bytes: int
    is_kept: bool


async def delete_expired(database: Database, retention_s: float, now: float) -> int:
    """Delete rows that were finished, closed or last received `retention_s` before `now`.

    Returns the number of deleted rows. An unfinished alert is never deleted, nor is an alert whose
    incident is not closed.
    """
    cutoff = now - retention_s
    deleted = await _delete_alerts(database, cutoff)
    while batch := await database.write(
        delete_last_received_before, cutoff, MAX_DELETED_ROWS, MAX_DELETED_BYTES
    ):
        deleted += batch
    for find in (_find_closed, _find_merged):
        deleted += await _delete_incidents(database, find, cutoff)
    return deleted + await _delete_hosts(database, cutoff)


async def _delete_alerts(database: Database, cutoff: float) -> int:
    deleted = 0
    place = (-1.0, "")
    while page := await database.read(_finished_after, place, cutoff):
        place = (page[-1].finished_at, page[-1].id)
        for ids in _parts([each for each in page if not each.is_kept]):
            deleted += await database.write(_delete_these, ids, cutoff)
    return deleted


def _finished_after(connection: Connection, place: tuple[float, str], cutoff: float) -> list[_Old]:
    """Return the next alerts that were finished before `cutoff`, in order of that."""
    page = (
        sa.select(_a.finished_at, _a.id, sa.func.length(_a.raw).label("size_bytes"))
        .where(
            _a.finished_at < cutoff,
            # The first condition is for the index; the second one is exact.
            _a.finished_at >= place[0],
            sa.tuple_(_a.finished_at, _a.id) > sa.tuple_(*place),
        )
        .order_by(_a.finished_at, _a.id)
        .limit(PAGE)
        .subquery()
    )
    query = sa.select(*page.c, _is_kept(page.c.id, cutoff)).order_by(page.c.finished_at, page.c.id)
    return [_Old(*tuple(row)) for row in connection.execute(query)]


def _parts(expired: Sequence[_Old]) -> Iterator[list[str]]:
    """Yield the ids in parts that one transaction deletes."""
    ids: list[str] = []
    size_bytes = 0
    for each in expired:
        ids.append(each.id)
        size_bytes += each.size_bytes
        if len(ids) >= MAX_DELETED_ROWS or size_bytes >= MAX_DELETED_BYTES:
            yield ids
            ids, size_bytes = [], 0
    if ids:
        yield ids


def _delete_these(connection: Connection, ids: Sequence[str], cutoff: float) -> int:
    # Skip rows that another transaction has locked, and delete them next time: two transactions
    # that wait for rows of each other deadlock.
    expired = (
        sa.select(_a.id)
        .where(_a.id.in_(ids), _a.finished_at < cutoff, ~_is_kept(_a.id, cutoff))
        .with_for_update(skip_locked=True)
    )
    found = list(connection.execute(expired).scalars())
    connection.execute(verdicts.delete().where(_v.alert_id.in_(found)))
    return connection.execute(alerts.delete().where(_a.id.in_(found))).rowcount


def _is_kept(alert_id: sa.ColumnElement[str], cutoff: float) -> sa.ColumnElement[bool]:
    return (
        sa.exists()
        .where(_v.alert_id == alert_id)
        .where(_i.tenant_id == _v.tenant_id, _i.number == _v.incident)
        .where(sa.not_(sa.func.coalesce(_is_closed_before(cutoff), sa.false())))
    )


def _is_closed_before(cutoff: float) -> sa.ColumnElement[bool]:
    return sa.and_(_i.status == "closed", _i.closed_at < cutoff)


async def _delete_incidents(
    database: Database, find: Callable[[float], sa.Select[Any]], cutoff: float
) -> int:
    """Delete incidents without alerts: closed ones, and those merged into a deleted one."""
    deleted = 0
    while keys := await database.read(_keys, find(cutoff).limit(MAX_DELETED_ROWS)):
        batch = await database.write(_delete_keys, keys, find(cutoff))
        deleted += batch
        if not batch:
            break
    return deleted


def _find_closed(cutoff: float) -> sa.Select[Any]:
    query = sa.select(_i.tenant_id, _i.number)
    return query.where(_i.merged_into.is_(None), _is_closed_before(cutoff), ~_HAS_ALERTS)


def _find_merged(_cutoff: float) -> sa.Select[Any]:
    survivor = incidents.alias()
    has_survivor = sa.exists().where(
        survivor.c.tenant_id == _i.tenant_id, survivor.c.number == _i.merged_into
    )
    query = sa.select(_i.tenant_id, _i.number)
    return query.where(_i.merged_into.is_not(None), ~has_survivor, ~_HAS_ALERTS)


_HAS_ALERTS: Final = sa.exists().where(_v.tenant_id == _i.tenant_id, _v.incident == _i.number)


def _keys(connection: Connection, query: sa.Select[Any]) -> list[_Key]:
    return [(tenant_id, number) for tenant_id, number in connection.execute(query)]


def _delete_keys(connection: Connection, keys: Sequence[_Key], found: sa.Select[Any]) -> int:
    still = found.where(_is_one_of(incidents, keys)).with_for_update(skip_locked=True, of=incidents)
    if not (expired := _keys(connection, still)):
        return 0
    for table in (
        incident_keys,
        incident_notes,
        incident_proposals,
        incident_steps,
        incidents,
    ):
        connection.execute(table.delete().where(_is_one_of(table, expired)))
    return len(expired)


def _is_one_of(table: sa.Table, keys: Sequence[_Key]) -> sa.ColumnElement[bool]:
    # Not pairs in one list: for these, SQLite reads the table from its beginning to its end.
    numbers: dict[str, list[int]] = {}
    for tenant_id, number in keys:
        numbers.setdefault(tenant_id, []).append(number)
    return sa.or_(
        *(
            sa.and_(table.c.tenant_id == tenant_id, table.c.number.in_(own))
            for tenant_id, own in numbers.items()
        )
    )


async def _delete_hosts(database: Database, cutoff: float) -> int:
    """Forget devices, names and persons that no alert has named since. Incidents keep theirs."""
    deleted = 0
    for table in (host_devices, host_names, person_hosts):
        while keys := await database.read(_find_hosts, table, cutoff):
            batch = await database.write(_delete_host_rows, table, keys, cutoff)
            deleted += batch
            if not batch:
                break
    return deleted


def _find_hosts(connection: Connection, table: sa.Table, cutoff: float) -> list[dict[str, object]]:
    old = sa.select(*table.primary_key).where(table.c.last_at < cutoff).limit(MAX_DELETED_ROWS)
    return [dict(row) for row in connection.execute(old).mappings()]


def _delete_host_rows(
    connection: Connection, table: sa.Table, keys: Sequence[dict[str, object]], cutoff: float
) -> int:
    is_row = [column == sa.bindparam(f"of_{column.name}") for column in table.primary_key]
    gone = table.delete().where(*is_row, table.c.last_at < cutoff)
    deleted = 0
    for key in keys:  # each along the primary key
        values = {f"of_{name}": value for name, value in key.items()}
        deleted += connection.execute(gone, values).rowcount
    return deleted
