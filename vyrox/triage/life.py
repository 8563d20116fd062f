"""What people do with incidents (contract 54). Each function is one transaction.

It locks the tenant's triage first, so that no alert joins meanwhile. The change, a row in
`incident_steps`, an audit event and the time of the next announcement are committed together.
"""

from typing import Final, Literal

import msgspec
from sqlalchemy import Connection

from vyrox.alerts.intake import storable
from vyrox.chain.entry import Draft
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import InvalidRequestError, NotPossibleError
from vyrox.ids import new_id
from vyrox.store.rows import insert_rows
from vyrox.store.tables import incident_steps
from vyrox.triage import rows
from vyrox.triage.announcement import next_due
from vyrox.triage.incident_ids import IncidentKey, find
from vyrox.triage.incidents import BENIGN, Incident
from vyrox.triage.score import Band
from vyrox.triage.story import BANDS
from vyrox.triage.suppressing import end_hiding

MAX_NOTE: Final = 1000
"""Characters of a note or a comment. The event has the first 256."""

PersonResolution = Literal["malicious", "benign_expected", "false_positive", "unclear"]
"""How a person closes an incident."""

MAX_STEP: Final = 1300
"""Characters of a step's text: a note, and what is written before it."""

Step = Literal["acknowledged", "assigned", "closed", "reopened", "commented", "merged", "moved"]


class Actor(msgspec.Struct, frozen=True):
    """Who changes an incident, and when.

    Attributes:
        now: Unix seconds.
        request_id: Of the HTTP request, for the events.
    """

    by: str
    now: float
    request_id: str | None = None


def acknowledge(
    connection: Connection, key: IncidentKey, actor: Actor, note: str | None = None
) -> Incident:
    """Make the actor the assignee.

    Raises:
        NotFoundError: There is no such incident.
        NotPossibleError: It is closed or merged, or the actor has it already.
    """
    incident = lock_incident(connection, key)
    by = storable(actor.by)
    if incident.status == "closed":
        raise NotPossibleError(f"{key.id} is closed{_as(incident)}: reopen it first")
    if incident.status == "acknowledged" and incident.assignee == by:
        raise NotPossibleError(f"{by} has acknowledged {key.id} already")
    step: Step = "assigned" if incident.status == "acknowledged" else "acknowledged"
    previous = incident.assignee
    incident.status, incident.assignee = "acknowledged", by
    draft = step_event(incident, actor, step, assignee=by, previous=previous, note=note)
    return _store(connection, incident, actor, step, note, draft)


def close(
    connection: Connection,
    key: IncidentKey,
    actor: Actor,
    resolution: PersonResolution,
    note: str | None = None,
) -> Incident:
    """Close an incident as the actor has decided. The actor may confirm what triage has closed.

    A malicious one ends the suppressions that have hidden alerts of it.

    Raises:
        NotFoundError: There is no such incident.
        NotPossibleError: It is decided already, or merged.
        InvalidRequestError: A benign one has no note.
    """
    if resolution in BENIGN and not (note or "").strip():
        raise InvalidRequestError("a harmless incident needs a note: say why it is harmless")
    incident = lock_incident(connection, key)
    if incident.is_decided:
        raise NotPossibleError(f"{key.id} is already closed{_as(incident)}: reopen it first")
    incident.status, incident.resolution, incident.closed_at = "closed", resolution, actor.now
    if resolution == "malicious":
        end_hiding(
            connection, key.tenant_id, incident.number, actor.by, actor.now, actor.request_id
        )
    draft = step_event(incident, actor, "closed", resolution=resolution, note=note)
    return _store(connection, incident, actor, "closed", with_note(resolution, note), draft)


def reopen(
    connection: Connection, key: IncidentKey, actor: Actor, note: str | None = None
) -> Incident:
    """Open a closed incident again. Its assignee stays.

    Raises:
        NotFoundError: There is no such incident.
        NotPossibleError: It is not closed, or merged.
    """
    incident = lock_incident(connection, key)
    if incident.status != "closed":
        raise NotPossibleError(f"{key.id} is not closed: it is {incident.status}")
    previous = incident.resolution
    incident.status, incident.resolution, incident.closed_at = "open", None, None
    draft = step_event(incident, actor, "reopened", previous=previous, note=note)
    text = with_note(f"it was {previous}", note)
    return _store(connection, incident, actor, "reopened", text, draft)


def comment(connection: Connection, key: IncidentKey, actor: Actor, text: str) -> Incident:
    """Add a note for the next person who reads the incident.

    Raises:
        NotFoundError: There is no such incident.
        NotPossibleError: It was merged.
        InvalidRequestError: The text is empty.
    """
    if not text.strip():
        raise InvalidRequestError("the comment is empty")
    incident = lock_incident(connection, key)
    draft = step_event(incident, actor, "commented", note=text)
    return _store(connection, incident, actor, "commented", text, draft)


def lock_incident(connection: Connection, key: IncidentKey) -> Incident:
    """Return an incident that this transaction alone may change.

    Raises:
        NotFoundError: There is no such incident.
        NotPossibleError: It was merged into another.
    """
    rows.lock(connection, key.tenant_id)
    return unmerged(connection, key)


def unmerged(connection: Connection, key: IncidentKey) -> Incident:
    """Return an incident that was not merged. Raises as `lock_incident`."""
    incident = find(connection, key)
    if incident.merged_into is not None:
        into = IncidentKey(key.tenant_id, incident.merged_into)
        raise NotPossibleError(f"{key.id} was merged into {into.id}: use that id")
    return incident


def settle(incident: Incident, before: Band, actor: Actor) -> list[Draft]:
    """Open a closed incident if what it has now calls for a person; return the event of that.

    Args:
        before: Its band before the change.
    """
    is_raised = BANDS.index(incident.band) > BANDS.index(before)
    if incident.status != "closed" or incident.band == "close":
        return []
    if incident.is_decided and not is_raised:
        return []
    kind = "incident.reopened" if incident.is_decided else "incident.opened"
    if not incident.is_decided:
        incident.opened_at = actor.now
    incident.status, incident.resolution, incident.closed_at = "open", None, None
    members = {"incident": incident.id, "why": f"band {incident.band}", "band": incident.band}
    return [event(kind, incident.tenant_id, actor.request_id, **members)]


def write_step(
    connection: Connection, incident: Incident, actor: Actor, step: Step, text: str | None
) -> None:
    """Store what a person did, for the timeline of the incident."""
    shown = None if text is None else storable(text)[:MAX_STEP]
    by = storable(actor.by)
    row = (new_id(), incident.tenant_id, incident.number, actor.now, by, step, shown)
    insert_rows(connection, incident_steps, [row])


def step_event(incident: Incident, actor: Actor, step: Step, **members: str | None) -> Draft:
    """Return the audit event of what a person did."""
    return event(
        f"incident.{step}",
        incident.tenant_id,
        actor.request_id,
        incident=incident.id,
        by=storable(actor.by),
        **{name: value and storable(value) for name, value in members.items()},
    )


def store_changed(connection: Connection, incident: Incident, actor: Actor) -> None:
    """Store an incident that the actor has changed, with the time of its next announcement."""
    incident.updated_at = max(incident.updated_at, actor.now)
    incident.due_at = next_due(incident, actor.now)
    rows.store_incident(connection, incident)


def with_note(text: str, note: str | None) -> str:
    """Return a step's text with the person's note after it."""
    return text if note is None else f"{text}: {note}"


def _store(
    connection: Connection,
    incident: Incident,
    actor: Actor,
    step: Step,
    text: str | None,
    draft: Draft,
) -> Incident:
    write_step(connection, incident, actor, step, text)
    append(connection, [draft], actor.now)
    store_changed(connection, incident, actor)
    return incident


def _as(incident: Incident) -> str:
    return "" if incident.resolution is None else f" as {incident.resolution}"
