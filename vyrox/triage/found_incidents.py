"""Finds incidents of some tenants, the newest change first, however many there are (contract 78).

Each tenant's rows are read in order of an index, at most as many as MAX_SEARCHED allows. If few of
them match, the list says from where on it was not read; the next page begins there.
"""

from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import incidents
from vyrox.triage import rows
from vyrox.triage.incident_list import ListedIncident, listed
from vyrox.triage.score import Band

MAX_SEARCHED: Final = 10_000
"""Rows that are searched for one page."""

_LEAST: Final = 100
"""Rows of each tenant that are searched, however many tenants there are."""

State = Literal["open", "acknowledged", "closed", "all"]
"""`open`: not closed."""

_i: Final = incidents.c

# Literally the condition of the index `incidents_open_tenant`, so that both databases use it.
_IS_OPEN: Final = sa.text("status != 'closed'")


class Place(NamedTuple):
    """A place in the list: rows are in this order, the highest first."""

    updated_at: float
    tenant_id: str
    number: int


class Found(msgspec.Struct, frozen=True):
    """A page of the list. `after` returns the next one; None: this is the last.

    Attributes:
        is_cut: Rows after the last one may match: MAX_SEARCHED did not allow to search them.
    """

    incidents: list[ListedIncident]
    after: Place | None
    is_cut: bool


def find_incidents(
    connection: Connection,
    tenant_ids: Sequence[str],
    state: State,
    band: Band | None,
    before: Place | None,
    limit: int,
) -> Found:
    """Return at most `limit` incidents of these tenants from a place on. Merged ones are not."""
    room = max(MAX_SEARCHED // max(len(tenant_ids), 1), _LEAST)
    lists: list[list[Place]] = []
    ends: list[Place] = []
    for tenant_id in tenant_ids:
        places, end = _tenants(
            connection, _searched(tenant_id, state, before), (state, band), limit, room
        )
        lists.append(places)
        ends += [] if end is None else [end]
    horizon = max(ends, default=None)
    newest = list(islice(merge(*lists, reverse=True), limit + 1))
    if horizon is not None:
        newest = [each for each in newest if each >= horizon]
    shown = newest[:limit]
    has_more = len(newest) > limit
    after = shown[-1] if has_more else horizon
    return Found(_read(connection, shown), after, not has_more and horizon is not None)


def _tenants(
    connection: Connection,
    searched: sa.Select[Any],
    wanted: tuple[State, Band | None],
    limit: int,
    room: int,
) -> tuple[list[Place], Place | None]:
    """Return one more than `limit` of a tenant's places, and the last one that was searched.

    The second is None if there are enough, or no row after it.
    """
    first = min(4 * limit, room)
    places, end = _part(connection, searched, wanted, limit, first)
    if end is not None and first < room:
        return _part(connection, searched, wanted, limit, room)
    return places, end


def _part(
    connection: Connection,
    searched: sa.Select[Any],
    wanted: tuple[State, Band | None],
    limit: int,
    room: int,
) -> tuple[list[Place], Place | None]:
    places = _places(connection, searched.limit(room).subquery(), *wanted, limit + 1)
    if len(places) > limit:
        return places, None
    last = connection.execute(searched.offset(room - 1).limit(1)).first()
    return places, None if last is None else Place(*last[:3])


def _searched(tenant_id: str, state: State, before: Place | None) -> sa.Select[Any]:
    conditions: list[sa.ColumnElement[bool] | sa.TextClause] = [_i.tenant_id == tenant_id]
    if state in {"open", "acknowledged"}:
        conditions.append(_IS_OPEN)
    if before is not None:
        conditions.append(_i.updated_at <= before.updated_at)  # for the index; the next is exact
        conditions.append(_is_after(tenant_id, before))
    return (
        sa.select(_i.updated_at, _i.tenant_id, _i.number, _i.status, _i.band, _i.merged_into)
        .where(*conditions)
        .order_by(_i.updated_at.desc(), _i.number.desc())
    )


def _is_after(tenant_id: str, before: Place) -> sa.ColumnElement[bool]:
    """Return the condition of a tenant's rows after a place.

    The tenants are compared here: databases may sort names differently.
    """
    if tenant_id == before.tenant_id:
        order = sa.tuple_(_i.updated_at, _i.number)
        return order < sa.tuple_(before.updated_at, before.number)
    if tenant_id < before.tenant_id:
        return _i.updated_at <= before.updated_at
    return _i.updated_at < before.updated_at


def _places(
    connection: Connection, searched: sa.Subquery, state: State, band: Band | None, limit: int
) -> list[Place]:
    c = searched.c
    query = sa.select(c.updated_at, c.tenant_id, c.number).where(c.merged_into.is_(None))
    if state in {"acknowledged", "closed"}:
        query = query.where(c.status == state)
    if band is not None:
        query = query.where(c.band == band)
    query = query.order_by(c.updated_at.desc(), c.number.desc()).limit(limit)
    return [Place(*row) for row in connection.execute(query)]


def _read(connection: Connection, places: Sequence[Place]) -> list[ListedIncident]:
    query = rows.select_incidents().where(
        sa.tuple_(_i.tenant_id, _i.number).in_([each[1:] for each in places])
    )
    found: dict[tuple[str, int], Any] = {}
    for row in connection.execute(query) if places else ():
        incident = rows.incident_of(row)
        found[incident.tenant_id, incident.number] = incident
    return [listed(found[each[1:]]) for each in places if each[1:] in found]
