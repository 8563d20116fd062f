"""The first page: what waits for a person, the most pressing first (contract 77)."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals import changes
from vyrox.approvals.break_glass import Used, open_of
from vyrox.approvals.changes import PendingChange
from vyrox.approvals.contained import Contained, list_contained
from vyrox.approvals.waiting import Ended, WaitingProposal, list_ended, list_waiting
from vyrox.console import sources
from vyrox.console.changes import can_agree
from vyrox.console.pages import is_current, not_modified, page, version_of
from vyrox.console.parts import Console, console_of, signed_in, tenants_of
from vyrox.console.sessions import Person
from vyrox.console.sources import Source, Trouble
from vyrox.tenants import guard_rails
from vyrox.triage.incident_list import ListedIncident
from vyrox.triage.score import Band
from vyrox.triage.urgency import count_open, most_urgent

MAX_WAITING: Final = 50
MAX_INCIDENTS: Final = 20
MAX_CONTAINED: Final = 50
MAX_GLASSES: Final = 20
MAX_TROUBLES: Final = 30
MAX_ENDED: Final = 5

VERSION_S: Final = 60.0
"""Times of arrivals are compared to the minute: else each alert would reload the page."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the first page shows. Each list may be cut; one row more than is shown says so.

    Attributes:
        glasses: What was done without an approval and is not acknowledged.
        frozen: Since when each frozen tenant is frozen.
        all_frozen_at: Since when all tenants are frozen.
        changes: Those that the person may endorse.
        counts: Of the open incidents, by band.
    """

    glasses: Sequence[Used]
    frozen: Mapping[str, float]
    all_frozen_at: float | None
    waiting: Sequence[WaitingProposal]
    changes: Sequence[PendingChange]
    incidents: Sequence[ListedIncident]
    counts: Mapping[Band, int]
    contained: Sequence[Contained]
    troubles: Sequence[Trouble]
    sources: Sequence[Source]
    fine: Sequence[str]
    ended: Sequence[Ended]


async def home(request: Request) -> Response:
    """Show what waits for the person. Raises as `signed_in`, `tenants_of`, and UnavailableError."""
    person = await signed_in(request)
    tenant_ids = tenants_of(request, person)
    console = console_of(request)
    now = console.now()
    overview = await console.database.read(_read, console, person, tenant_ids, now)
    version = version_of(person, _seen(overview, tenant_ids))
    if is_current(request, version):
        return not_modified()
    return page("home", person, now, version, overview=overview, tenant_ids=tenant_ids)


def _read(
    connection: Connection,
    console: Console,
    person: Person,
    tenant_ids: Sequence[str],
    now: float,
) -> Overview:
    rails = guard_rails.find(connection, tenant_ids)
    found = sources.read_sources(connection, console, tenant_ids, now)
    ways = sources.read_ways(connection, tenant_ids, now)
    troubles = [*sources.troubles(console, found, ways), *sources.missing(tenant_ids, found)]
    return Overview(
        glasses=open_of(connection, tenant_ids)[: MAX_GLASSES + 1],
        frozen={name: each.frozen_at for name, each in sorted(rails.items()) if each.frozen_at},
        all_frozen_at=next((each.all_frozen_at for each in rails.values()), None),
        waiting=list_waiting(connection, tenant_ids, now, MAX_WAITING + 1),
        changes=_changes(connection, person, tenant_ids, now),
        incidents=most_urgent(connection, tenant_ids, MAX_INCIDENTS + 1),
        counts=count_open(connection, tenant_ids),
        contained=list_contained(connection, tenant_ids, MAX_CONTAINED + 1),
        troubles=troubles[: MAX_TROUBLES + 1],
        sources=found,
        fine=sources.fine(found, ways, troubles),
        ended=list_ended(connection, tenant_ids, now, MAX_ENDED),
    )


def _changes(
    connection: Connection, person: Person, tenant_ids: Sequence[str], now: float
) -> list[PendingChange]:
    acts_for = [each for each in tenant_ids if each in person.acts_for]
    return [
        each
        for tenant_id in changes.tenants_with_open(connection, acts_for, now)
        for each in changes.list_open(connection, tenant_id, now)
        if can_agree(connection, person, each, now)
    ]


def _seen(overview: Overview, tenant_ids: Sequence[str]) -> object:
    """Return what makes the page another one: times of arrivals only to the minute."""
    places = [
        (each.tenant_id, each.vendor, int((each.alert_at or 0.0) / VERSION_S))
        for each in overview.sources
    ]
    incidents = [
        msgspec.structs.replace(
            each, last_at=each.last_at // VERSION_S, updated_at=0.0, alerts=min(each.alerts, 2)
        )
        for each in overview.incidents
    ]
    troubles = [(each.tenant_id, each.what, each.where) for each in overview.troubles]
    rest = msgspec.structs.replace(overview, sources=(), incidents=incidents, troubles=())
    return tenant_ids, places, troubles, rest
