"""What is known of the alert that a proposal names, for the person who decides (contract 66, 78).

It is the same that the page of the incident shows.
"""

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.device_history import DeviceAction, history_of
from vyrox.alerts.listing import ListedAlert, read_alerts
from vyrox.alerts.queue import decode_alert
from vyrox.console.story import MAX_HISTORY, Card, IncidentStory, card_of, read_story
from vyrox.console.wording import incident_title
from vyrox.store.tables import alerts
from vyrox.triage.incident_ids import IncidentKey

MAX_ACTIONS: Final = 5

_a: Final = alerts.c


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """An alert and its incident.

    Attributes:
        card: The alert with its verdict, if triage has judged it.
        actions: The newest things that Vyrox was asked to do on the device, oldest first.
    """

    alert: ListedAlert | None = None
    card: Card | None = None
    story: IncidentStory | None = None
    title: str = ""
    actions: tuple[DeviceAction, ...] = ()


def evidence_of(connection: Connection, tenant_id: str, alert_id: str, now: float) -> Evidence:
    """Return what is known of an alert of the tenant; nothing if there is no such alert."""
    query = sa.select(_a.alert).where(_a.id == alert_id, _a.tenant_id == tenant_id)
    row = None if "\0" in alert_id else connection.execute(query).first()
    if row is None:
        return Evidence()
    known = decode_alert(row.alert)
    hosts = [name for name in (known.device_id, known.hostname) if name]
    actions = history_of(connection, tenant_id, hosts, [alert_id], MAX_HISTORY)[-MAX_ACTIONS:]
    [alert] = read_alerts(connection, {alert_id: "unfinished"})
    if alert.incident is None:
        return Evidence(alert=alert, actions=tuple(actions))
    found = incident_evidence(connection, IncidentKey(tenant_id, alert.incident), now)
    card = card_of(connection, alert_id)
    return msgspec.structs.replace(found, alert=alert, card=card, actions=tuple(actions))


def incident_evidence(connection: Connection, key: IncidentKey, now: float) -> Evidence:
    """Return what is known of an incident, also of one that was merged into another.

    Raises:
        NotFoundError: There is no such incident.
    """
    story = read_story(connection, key, now)
    return Evidence(story=story, title=incident_title(story.shown.families, story.shown.hosts))
