"""The evidence beside a proposal, as its message shows it (contract 67, A31)."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.queue import decode_alert
from vyrox.approvals.discord.configured import Channel
from vyrox.approvals.discord.message import Evidence
from vyrox.models import NormalizedAlert
from vyrox.notify.messages import MAX_REASONS, Announcement, cleaned
from vyrox.store.tables import alerts, discord_messages, incidents, verdicts
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.shown_incident import incident_message

PROPOSE_S: Final = 60.0
"""How long triage has to propose an action for an urgent incident."""

RECENT_S: Final = 3600.0
"""Incidents without a change for longer get no message any more."""

MAX_PER_HOUR: Final = 30
"""Messages about incidents in one channel. `/vyrox incidents` lists all."""

_i: Final = incidents.c

# Literally the condition of the index `incidents_open`, so that both databases use it.
_IS_NOT_CLOSED: Final = sa.text("incidents.status != 'closed'")


def evidence_of(
    connection: Connection, tenant_id: str, alert_id: str, now: float
) -> Evidence | None:
    """Return what is known about an alert and its incident, or None."""
    alert = alert_of(connection, tenant_id, alert_id)
    key = incident_of(connection, tenant_id, alert_id)
    told = None if key is None else cleaned(incident_message(connection, key, now))
    if alert is None and told is None:
        return None
    return Evidence(
        title="Evidence" if told is None else f"{told.tenant_id}-{told.incident}: {told.title}",
        fields=() if told is None else fields_of(told),
        code=() if alert is None else _code_of(alert),
    )


def evidence_of_incident(connection: Connection, key: IncidentKey, now: float) -> Evidence:
    """Return what is known about an incident. Raises NotFoundError."""
    told = cleaned(incident_message(connection, key, now))
    proposed = told.proposed_action
    why = ("Proposed", (proposed.action_type or f"nothing: {proposed.reason}",))
    fields = (*fields_of(told), why)
    return Evidence(f"{key.id}: {told.title}", fields, is_urgent=told.band == "urgent")


def new_incidents(connection: Connection, channel: Channel, now: float) -> list[str]:
    """Return the ids of incidents that should have a message without buttons, and have none.

    These are the urgent ones for which no action was proposed (see `incident_of`), and those in
    review if the tenant wants them. What triage has closed gets nothing.
    """
    is_wanted = sa.and_(_i.band == "urgent", _i.opened_at < now - PROPOSE_S)
    if channel.shows_review:
        is_wanted = sa.or_(is_wanted, _i.band == "review")
    message_id = _i.tenant_id + "-" + sa.cast(_i.number, sa.Text)
    query = (
        sa.select(_i.number)
        .outerjoin(discord_messages, discord_messages.c.id == message_id)
        .where(
            _IS_NOT_CLOSED,
            _i.tenant_id == channel.tenant_id,
            _i.updated_at > now - RECENT_S,
            _i.opened_at >= channel.configured_at,
            _i.merged_into.is_(None),
            discord_messages.c.id.is_(None),
            is_wanted,
        )
        .order_by(_i.updated_at)
        .limit(MAX_PER_HOUR)
    )
    numbers = connection.execute(query).scalars().all()
    room = MAX_PER_HOUR - (_sent(connection, channel.tenant_id, now) if numbers else 0)
    return [f"{channel.tenant_id}-{number}" for number in numbers[: max(room, 0)]]


def _sent(connection: Connection, tenant_id: str, now: float) -> int:
    m = discord_messages.c
    query = sa.select(sa.func.count()).where(
        m.tenant_id == tenant_id,
        m.kind == "incident",
        m.created_at > now - RECENT_S,
        sa.or_(m.next_at.is_not(None), m.message_id.is_not(None)),
    )
    return connection.execute(query).scalar_one()


def fields_of(told: Announcement) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return what an announcement of an incident says."""
    count = "1 alert" if told.alerts == 1 else f"{told.alerts} alerts"
    return (
        ("Score", (f"{told.score} ({told.band}), {count}",)),
        ("Hosts", told.hosts[:5]),
        ("User", () if told.user is None else (told.user,)),
        ("Why", told.reasons[:MAX_REASONS]),
        ("Read more", (told.open_with,)),
    )


def _code_of(alert: NormalizedAlert) -> tuple[tuple[str, str], ...]:
    return (("Process", alert.process_name or ""), ("Command line", alert.process_cmdline or ""))


def alert_of(connection: Connection, tenant_id: str, alert_id: str) -> NormalizedAlert | None:
    """Return an alert of the tenant, or None."""
    if "\0" in alert_id:  # PostgreSQL takes no such text, and no alert has such an id
        return None
    query = sa.select(alerts.c.alert).where(
        alerts.c.id == alert_id, alerts.c.tenant_id == tenant_id
    )
    encoded = connection.execute(query).scalar()
    return None if encoded is None else decode_alert(encoded)


def incident_of(connection: Connection, tenant_id: str, alert_id: str) -> IncidentKey | None:
    """Return the incident of an alert of the tenant, or None."""
    if "\0" in alert_id:
        return None
    query = sa.select(verdicts.c.incident).where(
        verdicts.c.alert_id == alert_id, verdicts.c.tenant_id == tenant_id
    )
    number = connection.execute(query).scalar()
    return None if number is None else IncidentKey(tenant_id, number)
