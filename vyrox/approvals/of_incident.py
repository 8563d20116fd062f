"""The action that an incident suggests, as something to propose (contract 57 and 62)."""

from sqlalchemy import Connection

from vyrox.approvals.proposing import Wanted
from vyrox.errors import NotPossibleError
from vyrox.notify.messages import Band
from vyrox.tenants import guard_rails
from vyrox.triage.incident_ids import IncidentKey, find_survivor
from vyrox.triage.proposal import propose


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
