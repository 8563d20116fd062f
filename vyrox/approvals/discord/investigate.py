"""What Investigate shows: the incident, its alerts, and what was done on the device (contract 67).

It reads and changes nothing. The texts of alerts are an attacker's, so all of it is in one block.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.device_history import read_history
from vyrox.alerts.queue import decode_alert
from vyrox.approvals.discord.answers import block
from vyrox.approvals.rows import StoredProposal
from vyrox.errors import NotFoundError
from vyrox.models import NormalizedAlert
from vyrox.store.tables import alerts, verdicts
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.shown_incident import ShownIncident, show_incident
from vyrox.triage.timeline import AlertLine, PersonLine

MAX_ALERTS: Final = 5
MAX_ACTIONS: Final = 4
MAX_REASONS: Final = 4


def investigate(connection: Connection, stored: StoredProposal) -> str:
    """Return what is known of a proposal's alert and device, in one message.

    Raises:
        ValueError: The proposal's text was changed in the database.
    """
    alert_id = stored.proposal.alert_id
    alert = _find_alert(connection, stored.tenant_id, alert_id)
    incident = _find_incident(connection, stored.tenant_id, alert_id)
    lines: list[str] = []
    if incident is not None:
        lines += _incident(incident)
    if alert is None:
        lines.append(f"The alert {alert_id} is not stored, so nothing is known of it.")
    else:
        if incident is None:
            lines += _alert(alert)
        lines += _actions(connection, alert)
    if incident is None:
        return block(lines)
    lines += _alerts(incident)
    return block(lines, f"All of it: `vyrox incident show {incident.id}`")


def _find_alert(connection: Connection, tenant_id: str, alert_id: str) -> NormalizedAlert | None:
    c = alerts.c
    query = sa.select(c.alert).where(c.id == alert_id, c.tenant_id == tenant_id)
    # PostgreSQL takes no text with a NUL, and no alert has such an id.
    encoded = None if "\0" in alert_id else connection.execute(query).scalar()
    return None if encoded is None else decode_alert(encoded)


def _find_incident(connection: Connection, tenant_id: str, alert_id: str) -> ShownIncident | None:
    c = verdicts.c
    query = sa.select(c.incident).where(c.alert_id == alert_id, c.tenant_id == tenant_id)
    number = None if "\0" in alert_id else connection.execute(query).scalar()
    if number is None:
        return None
    try:
        return show_incident(connection, IncidentKey(tenant_id, number))
    except NotFoundError:
        return None


def _incident(incident: ShownIncident) -> Iterator[str]:
    yield f"{incident.id}: {incident.band}, {incident.score}, {incident.status}"
    yield f"{incident.alerts} alerts, {_moment(incident.first_at)} to {_moment(incident.last_at)}"
    yield f"Hosts: {', '.join(incident.hosts) or 'not known'}"
    yield f"Users: {', '.join(incident.users) or 'not known'}"
    yield "Why:"
    for each in incident.own_signals[:MAX_REASONS]:
        yield f"  {each.text}"
    for reason in incident.reasons[:MAX_REASONS]:
        yield f"  {reason.family}: {reason.text}"
    if incident.earlier is not None:
        yield f"Earlier on this host: {incident.earlier}"


def _alert(alert: NormalizedAlert) -> Iterator[str]:
    yield f"Alert {alert.id}: {alert.severity}. Triage has not judged it."
    yield f"Host: {alert.hostname or 'not known'}"
    yield f"User: {alert.username or 'not known'}"
    yield f"Process: {alert.process_name or 'not known'}"
    yield f"  {alert.process_cmdline or ''}"


def _actions(connection: Connection, alert: NormalizedAlert) -> Iterator[str]:
    done = read_history(connection, alert)
    yield "Done on this device before:" if done else "Nothing was done on this device before."
    for each in reversed(done[-MAX_ACTIONS:]):
        outcome = "dry run" if each.dry_run else each.outcome or "outcome not known"
        by = "" if each.approved_by is None else f", {each.approved_by.partition(' sha256:')[0]}"
        yield f"  {_moment(each.at)} {each.action_type}: {outcome}{by}"


def _alerts(incident: ShownIncident) -> Iterator[str]:
    found = [line for line in incident.timeline.lines if isinstance(line, AlertLine)]
    strongest = sorted(found, key=lambda line: -line.score)[:MAX_ALERTS]
    yield "Alerts, the strongest first:" if strongest else "Its alerts are deleted."
    for line in strongest:
        times = f" x{line.count}" if line.count > 1 else ""
        name = line.process_name or "process not known"
        yield f"  {_moment(line.at)}{times} {line.score} {line.hostname or ''} {name}"
        if line.command_line:
            yield f"    {line.command_line}"
    for person in incident.timeline.lines:
        if isinstance(person, PersonLine):
            yield f"  {_moment(person.at)} {person.by}: {person.step} {person.text or ''}"


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
