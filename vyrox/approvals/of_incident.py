"""The action that an incident suggests, as something to propose (contract 57 and 62)."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import is_possible_id, unknown_alert
from vyrox.alerts.queue import decode_alert
from vyrox.approvals.proposing import Wanted
from vyrox.errors import NotPossibleError
from vyrox.models import ActionType, LiftType
from vyrox.notify.messages import Band
from vyrox.store.tables import alerts, verdicts
from vyrox.tenants import guard_rails
from vyrox.triage.incident_ids import IncidentKey, find_survivor
from vyrox.triage.proposal import propose

_a: Final = alerts.c
_v: Final = verdicts.c


def wanted_of(
    connection: Connection,
    key: IncidentKey,
    by: str,
    reason: str | None = None,
    least: Band = "urgent",
) -> Wanted:
    """Return what the incident, or the one that it was merged into, suggests now.

    Args:
        by: The person who asks.
        reason: In place of triage's reason.
        least: The lowest band in which an incident suggests an action.

    Raises:
        NotFoundError: There is no such incident.
        NotPossibleError: It suggests no action; the text says why.
    """
    incident = find_survivor(connection, key)
    rails = guard_rails.find(connection, [incident.tenant_id])[incident.tenant_id]
    suggested = propose(incident, rails, least)
    device = suggested.device
    if suggested.action is None or device is None:
        raise NotPossibleError(f"{key.id} suggests no action: {suggested.reason}")
    return Wanted(
        tenant_id=incident.tenant_id,
        alert_id=device.alert_id,
        action_type=suggested.action,
        host=device.device_id,
        hostname=device.hostname,
        requested_by=by,
        reason=reason or f"{key.id}: {suggested.reason}",
    )


def chosen(
    connection: Connection,
    key: IncidentKey,
    alert_id: str,
    action: ActionType | LiftType,
    by: str,
    reason: str | None = None,
    lease_s: int | None = None,
) -> Wanted:
    """Return an action that a person has chosen, on the device of one alert of an incident.

    Raises:
        NotFoundError: There is no such incident, or it has no such alert.
        NotPossibleError: The alert names no device.
    """
    incident = find_survivor(connection, key)
    query = (
        sa.select(_a.alert)
        .join(verdicts, _v.alert_id == _a.id)
        .where(
            _a.id == alert_id,
            _a.tenant_id == incident.tenant_id,
            _v.incident == incident.number,
        )
    )
    row = connection.execute(query).first() if is_possible_id(alert_id) else None
    if row is None:
        raise unknown_alert(alert_id)
    alert = decode_alert(row.alert)
    if not alert.device_id:
        raise NotPossibleError(f"alert {alert_id} names no device, so nothing can act on one")
    return Wanted(
        tenant_id=incident.tenant_id,
        alert_id=alert_id,
        action_type=action,
        host=alert.device_id,
        hostname=alert.hostname or None,
        requested_by=by,
        reason=reason or f"{incident.id}: {by} has chosen this",
        lease_s=lease_s,
    )
