"""What is known of the alert that a proposal names, for the person who decides (contract 66)."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.device_history import DeviceAction, read_history
from vyrox.alerts.listing import ListedAlert, read_alerts
from vyrox.alerts.queue import decode_alert
from vyrox.store.tables import alerts
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.shown_incident import FamilyReason, show_incident
from vyrox.triage.timeline import AlertLine

MAX_LINES: Final = 8
"""Lines of alerts that a page shows."""

MAX_ACTIONS: Final = 5

_a: Final = alerts.c


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """An alert and its incident.

    Attributes:
        incident: The incident's id, or None.
        lines: The incident's alerts, as the timeline has them.
        left_out: Alerts that are not here.
        actions: The newest things that Vyrox was asked to do on the device, oldest first.
    """

    alert: ListedAlert | None = None
    incident: str | None = None
    score: float | None = None
    reasons: Sequence[FamilyReason] = ()
    lines: Sequence[AlertLine] = ()
    left_out: int = 0
    actions: Sequence[DeviceAction] = ()


def evidence_of(connection: Connection, tenant_id: str, alert_id: str) -> Evidence:
    """Return what is known of an alert of the tenant; nothing if there is no such alert."""
    query = sa.select(_a.alert).where(_a.id == alert_id, _a.tenant_id == tenant_id)
    row = None if "\0" in alert_id else connection.execute(query).first()
    if row is None:
        return Evidence()
    actions = read_history(connection, decode_alert(row.alert))[-MAX_ACTIONS:]
    [alert] = read_alerts(connection, {alert_id: "unfinished"})
    evidence = Evidence(alert=alert, actions=actions)
    if alert.incident is None:
        return evidence
    found = incident_evidence(connection, IncidentKey(tenant_id, alert.incident))
    return msgspec.structs.replace(found, alert=alert, actions=actions)


def incident_evidence(connection: Connection, key: IncidentKey) -> Evidence:
    """Return what is known of an incident, also of one that was merged into another.

    Raises:
        NotFoundError: There is no such incident.
    """
    shown = show_incident(connection, key)
    lines = [each for each in shown.timeline.lines if isinstance(each, AlertLine)][:MAX_LINES]
    return Evidence(
        incident=shown.id,
        score=shown.score,
        reasons=shown.reasons,
        lines=lines,
        left_out=shown.alerts - sum(each.count for each in lines),
    )
