"""Lists incidents: those that are not closed first, and the newest change first (contract 54)."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import InvalidRequestError, NotFoundError
from vyrox.store.tables import incidents
from vyrox.triage import rows
from vyrox.triage.incident_ids import IncidentKey, parse_id
from vyrox.triage.incidents import Incident, Resolution, Status
from vyrox.triage.score import Band

MAX_LISTED: Final = 200
"""Incidents on one page."""

MAX_NAMES: Final = 8
"""Hosts and users of one incident in a list."""

MAX_TEXT: Final = 160

_MAX_PLACE: Final = 256

_i: Final = incidents.c

# Literally the condition of the index `incidents_open`, so that both databases use it.
_IS_OPEN: Final = sa.text("status != 'closed'")
_IS_CLOSED: Final = sa.text("status = 'closed'")


class IncidentFilter(msgspec.Struct, frozen=True):
    """Which incidents are wanted. None, or an empty tuple, accepts all.

    Attributes:
        since: Changed then or later, in Unix seconds.
    """

    tenant_id: str | None = None
    statuses: tuple[Status, ...] = ()
    bands: tuple[Band, ...] = ()
    since: float | None = None


class IncidentPlace(NamedTuple):
    """A place in the list."""

    is_closed: bool
    updated_at: float
    tenant_id: str
    number: int


class ListedIncident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident in a list. Times are Unix seconds.

    Attributes:
        hosts: Names of hosts; at most MAX_NAMES, as are `users` and `families`.
        families: Of behaviour, the strongest first.
        merged_into: The id of the incident that has its alerts now, or None.
    """

    id: str
    tenant_id: str
    number: int
    band: Band
    score: float
    status: Status
    resolution: Resolution | None
    assignee: str | None
    hosts: tuple[str, ...]
    users: tuple[str, ...]
    families: tuple[str, ...]
    alerts: int
    opened_at: float
    first_at: float
    last_at: float
    updated_at: float
    closed_at: float | None
    merged_into: str | None


class IncidentPage(msgspec.Struct, frozen=True):
    """Incidents of a list. `before` returns the next page; None: this is the last one."""

    incidents: list[ListedIncident]
    before: str | None


def list_incidents(
    connection: Connection, wanted: IncidentFilter, before: IncidentPlace | None, limit: int
) -> IncidentPage:
    """Return at most `limit` incidents that `wanted` accepts, after a place in the list.

    Merged incidents are not listed: their alerts are in another.
    """
    found: list[Incident] = []
    for is_closed in (False, True):
        if before is not None and before.is_closed and not is_closed:
            continue
        start = before if before is not None and before.is_closed is is_closed else None
        query = _query(wanted, start, is_closed=is_closed).limit(limit + 1 - len(found))
        found += [rows.incident_of(row) for row in connection.execute(query)]
        if len(found) > limit:
            break
    page = found[:limit]
    more = place_text(place_of(page[-1])) if len(found) > limit else None
    return IncidentPage([listed(each) for each in page], more)


def listed(incident: Incident) -> ListedIncident:
    """Return an incident as lists show it."""
    story = incident.story
    by_share = sorted(story.families, key=lambda family: -story.families[family])
    into = incident.merged_into
    return ListedIncident(
        id=incident.id,
        tenant_id=incident.tenant_id,
        number=incident.number,
        band=incident.band,
        score=round(incident.score, 1),
        status=incident.status,
        resolution=incident.resolution,
        assignee=incident.assignee,
        hosts=distinct(story.names_by_weight()),
        users=distinct(story.users),
        families=tuple(by_share[:MAX_NAMES]),
        alerts=incident.alerts,
        opened_at=incident.opened_at,
        first_at=incident.first_at,
        last_at=incident.last_at,
        updated_at=incident.updated_at,
        closed_at=incident.closed_at,
        merged_into=None if into is None else IncidentKey(incident.tenant_id, into).id,
    )


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Return the first MAX_NAMES names, each once in any case."""
    by_lower = {name.casefold(): name for name in reversed(names)}
    kept = [name for name in names if by_lower[name.casefold()] is name]
    return tuple(name[:MAX_TEXT] for name in kept[:MAX_NAMES])


def place_of(incident: Incident) -> IncidentPlace:
    """Return where an incident is in the list."""
    is_closed = incident.status == "closed"
    return IncidentPlace(is_closed, incident.updated_at, incident.tenant_id, incident.number)


def place_text(place: IncidentPlace) -> str:
    """Return a place as the text that `parse_place` reads."""
    state = "closed" if place.is_closed else "open"
    return f"{state}_{place.updated_at!r}_{place.tenant_id}-{place.number}"


def parse_place(text: str) -> IncidentPlace:
    """Return the place that `place_text` has written.

    Raises:
        InvalidRequestError: The text is something else.
    """
    state, _, rest = text.partition("_")
    seconds, _, name = rest.partition("_")
    try:
        updated_at = float(seconds) if len(seconds) <= _MAX_PLACE else math.nan
        key = parse_id(name)
    except (ValueError, NotFoundError) as exc:
        raise InvalidRequestError("not a place in a list") from exc
    if state not in {"open", "closed"} or not math.isfinite(updated_at):
        raise InvalidRequestError("not a place in a list")
    return IncidentPlace(state == "closed", updated_at, *key)


def _query(
    wanted: IncidentFilter, start: IncidentPlace | None, *, is_closed: bool
) -> sa.Select[tuple[object, ...]]:
    conditions: list[sa.ColumnElement[bool] | sa.TextClause] = [
        _IS_CLOSED if is_closed else _IS_OPEN,
        _i.merged_into.is_(None),
    ]
    if wanted.tenant_id is not None:
        conditions.append(_i.tenant_id == wanted.tenant_id)
    if wanted.statuses:
        conditions.append(_i.status.in_(wanted.statuses))
    if wanted.bands:
        conditions.append(_i.band.in_(wanted.bands))
    if wanted.since is not None:
        conditions.append(_i.updated_at >= wanted.since)
    if start is not None:
        # The first condition is for the index; the second one is exact.
        order = sa.tuple_(_i.updated_at, _i.tenant_id, _i.number)
        conditions += [_i.updated_at <= start.updated_at, order < sa.tuple_(*start[1:])]
    return (
        rows.select_incidents()
        .where(*conditions)
        .order_by(_i.updated_at.desc(), _i.tenant_id.desc(), _i.number.desc())
    )
