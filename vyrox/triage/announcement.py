"""When and how an incident is announced to the people of its tenant (contract 58).

The worker and people change an incident and set its `due_at`. The announcer makes the message when
that time has come, in the same transaction in which it notes what was announced.
"""

import asyncio
import logging
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.clock import Clock
from vyrox.errors import UnavailableError
from vyrox.notify.messages import KINDS, Announcement, Kind, ProposedAction
from vyrox.notify.outbox import enqueue
from vyrox.notify.timers import (
    MIN_INTERVAL_S,
    Announced,
    Intervals,
    NextAnnouncement,
    next_announcement,
)
from vyrox.store.agenda import Moment
from vyrox.store.database import Database
from vyrox.store.tables import incidents
from vyrox.tenants.guard_rails import NONE, Rails, find
from vyrox.triage import rows
from vyrox.triage.incidents import Incident
from vyrox.triage.judged import STRONG
from vyrox.triage.proposal import propose

SHORTEST: Final = Intervals(
    group_wait_s=MIN_INTERVAL_S, group_interval_s=MIN_INTERVAL_S, repeat_s=MIN_INTERVAL_S
)

MAX_AT_ONCE: Final = 100
"""Incidents of one tenant that one transaction announces."""


class Announcer:
    """Announces what is due."""

    def __init__(
        self, database: Database, intervals: Intervals, per_hour: int, clock: Clock
    ) -> None:
        """`clock` decides what is due, alike in all containers."""
        self._database = database
        self._intervals = intervals
        self._per_hour = per_hour
        self._clock = clock
        self.news = asyncio.Event()
        """Set when a notification was put into the outbox."""

    async def run(self) -> None:
        """Announce every incident that is due.

        Raises:
            UnavailableError: The database is unavailable; what is due stays due.
        """
        now = self._clock()
        for tenant_id in await self._database.read(_due_tenants, now):
            try:
                await self._database.write(
                    announce, tenant_id, now, self._intervals, self._per_hour
                )
                self.news.set()
            except UnavailableError:
                raise
            except Exception:  # noqa: BLE001  (logged; the other tenants go on)
                log.event("triage.failed", logging.ERROR, tenant=tenant_id)


def announce(
    connection: Connection, tenant_id: str, now: float, intervals: Intervals, per_hour: int
) -> None:
    """Put the tenant's due announcements into the outbox, and note what was announced."""
    rows.lock(connection, tenant_id)
    rails = find(connection, [tenant_id])[tenant_id]
    c = incidents.c
    # Joined with nothing, as in `_due_tenants`: else SQLite may read all incidents of the tenant.
    query = (
        rows.select_incidents()
        .where(c.tenant_id.concat("") == tenant_id, c.due_at <= now)
        .order_by(c.due_at)
        .limit(MAX_AT_ONCE)
    )
    for row in connection.execute(query).all():
        incident = rows.incident_of(row)
        following = _next(incident, now, intervals)
        if following is not None and following.at <= now:
            key = f"{incident.announced_at}:{incident.band}"
            message = message_of(incident, following.kind, now, rails)
            enqueue(
                connection,
                tenant_id,
                incident.number,
                incident.band,
                message,
                now,
                key=key,
                per_hour=per_hour,
            )
            incident.announced_band, incident.announced_at = incident.band, now
            incident.story.announced = _digest(incident)
            following = _next(incident, now, intervals)
        incident.due_at = None if following is None else following.at
        rows.store_incident(connection, incident)


def next_due(incident: Incident, now: float) -> float | None:
    """Return the earliest time at which the incident, which may have changed, can be announced.

    None: not again. The announcer knows the operator's intervals; at that time it announces the
    incident or sets the right time.
    """
    following = _next(incident, now, SHORTEST)
    return None if following is None else following.at


def message_of(incident: Incident, kind: Kind, now: float, rails: Rails = NONE) -> Announcement:
    """Return the announcement of an incident. The outbox bounds and cleans its texts."""
    story = incident.story
    proposal = propose(incident, rails)
    device = proposal.device
    signs = sorted(story.signs.items(), key=lambda pair: -story.families.get(pair[0], 0.0))
    reasons = [f"{sign.signal} {sign.weight:.2f} “{sign.text}”" for _, sign in signs]
    reasons += [f"{name} {weight:.2f}" for name, weight in story.own_signals().items()]
    names = story.names_by_weight()
    where = ", ".join(names[:3]) or "an unknown host"
    what = ", ".join(family for family, _ in signs[:2]) or "no family"
    return KINDS[kind](
        tenant_id=incident.tenant_id,
        incident=incident.number,
        band=incident.band,
        score=round(incident.score, 1),
        status=incident.status,
        title=f"{what} on {where}",
        at=now,
        hosts=tuple(names),
        user=next(iter(story.users), None),
        first_at=incident.first_at,
        last_at=incident.last_at,
        alerts=incident.alerts,
        reasons=tuple(reasons),
        proposed_action=ProposedAction(
            action_type=proposal.action,
            host=None if device is None else device.hostname,
            device_id=None if device is None else device.device_id,
            reason=proposal.reason,
        ),
        open_with=f"vyrox incident show {incident.id}",
    )


def _next(incident: Incident, now: float, intervals: Intervals) -> NextAnnouncement | None:
    facts = Announced(
        status=incident.status,
        band=incident.band,
        opened_at=incident.opened_at,
        announced_band=incident.announced_band,
        announced_at=incident.announced_at,
        changed=incident.story.announced != _digest(incident),
    )
    return next_announcement(facts, now, intervals)


def _digest(incident: Incident) -> str:
    """Return what a reader would want to know of a change: more alerts alone are none."""
    story, proposal = incident.story, propose(incident)
    strong = sorted(family for family, share in story.families.items() if share >= STRONG)
    facts = (
        incident.status,
        round(incident.score),
        sorted(story.names),
        strong,
        proposal.action,
        None if proposal.device is None else proposal.device.device_id,
    )
    return sha256(msgspec.json.encode(facts)).hexdigest()[:16]


def is_any_due(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that an incident is to be announced."""
    return sa.exists().where(incidents.c.due_at <= now)


def _due_tenants(connection: Connection, now: float) -> list[str]:
    c = incidents.c
    # Joined with nothing: else SQLite may read all incidents in order of their tenants.
    tenant_id = c.tenant_id.concat("")
    query = sa.select(tenant_id).where(c.due_at <= now).distinct().limit(MAX_AT_ONCE)
    return list(connection.execute(query).scalars())
