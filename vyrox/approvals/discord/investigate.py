"""What Investigate shows: the incident, its alerts, and what was done on the device (contract 67).

It reads and changes nothing. The texts of alerts are an attacker's, so all of it is in one block.
"""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection

from vyrox.alerts.device_history import read_history
from vyrox.approvals.discord.answers import block, counted, moment
from vyrox.approvals.discord.evidence import alert_of, incident_of
from vyrox.approvals.rows import StoredProposal
from vyrox.models import NormalizedAlert
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
    alert = alert_of(connection, stored.tenant_id, alert_id)
    key = incident_of(connection, stored.tenant_id, alert_id)
    incident = None if key is None else show_incident(connection, key)
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


def _incident(incident: ShownIncident) -> Iterator[str]:
    yield f"{incident.id}: {incident.band}, {incident.score}, {incident.status}"
    count = counted(incident.alerts, "alert", "alerts")
    yield f"{count}, {moment(incident.first_at)} to {moment(incident.last_at)}"
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
        yield f"  {moment(each.at)} {each.action_type}: {outcome}{by}"


def _alerts(incident: ShownIncident) -> Iterator[str]:
    found = [line for line in incident.timeline.lines if isinstance(line, AlertLine)]
    strongest = sorted(found, key=lambda line: -line.score)[:MAX_ALERTS]
    yield "Alerts, the strongest first:" if strongest else "Its alerts are deleted."
    for line in strongest:
        times = f" x{line.count}" if line.count > 1 else ""
        name = line.process_name or "process not known"
        yield f"  {moment(line.at)}{times} {line.score} {line.hostname or ''} {name}"
        if line.command_line:
            yield f"    {line.command_line}"
    persons = [line for line in incident.timeline.lines if isinstance(line, PersonLine)]
    if persons:
        yield "What persons have done:"
    for person in persons:
        yield f"  {moment(person.at)} {person.by}: {person.step} {person.text or ''}"
