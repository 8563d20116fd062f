"""The rows of notes: which material was asked about, and what came of it.

A row is one material of one incident. The container that inserts it asks, so several ask once.
"""

from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.rows import insert_rows
from vyrox.store.tables import incident_notes, incidents
from vyrox.triage import rows
from vyrox.triage.notes.answer import Answer
from vyrox.triage.notes.material import Material, material_of

SETTLE_S: Final = 30.0
"""How long an incident must be without a change."""

DAY_S: Final = 86_400.0
HOUR_S: Final = 3600.0

ATTEMPTS: Final = 3
"""Requests about one material, if the server fails."""

LOST_S: Final = 60.0
"""Age of a request without a result from which its container counts as dead."""

SEARCHED: Final = 20
"""Incidents that one search finds."""

BETWEEN: Final = "score >= 35 AND score <= 85 AND merged_into IS NULL"
"""Incidents that a note is for. In the words of the index, so that the databases use it."""

Result = Literal["written", "dropped", "failed"]

_answer: Final = msgspec.json.Decoder(Answer)
_encoder: Final = msgspec.json.Encoder()


class Claim(msgspec.Struct, frozen=True):
    """A material that this container asks about, if it is the first.

    Attributes:
        seen_at: When the incident had last changed.
    """

    tenant_id: str
    number: int
    seen_at: float
    digest: str
    material: Material


class Note(msgspec.Struct, frozen=True):
    """A note that was written.

    Attributes:
        is_current: The incident has not changed since.
    """

    at: float
    model: str
    answer: Answer
    is_current: bool


def due(connection: Connection, now: float, per_hour: int) -> list[tuple[str, int]]:
    """Return incidents that may need a note, the one that changed first at the head.

    Args:
        per_hour: Requests for one tenant.
    """
    i, n = incidents.c, incident_notes.c
    asked = (
        sa.select(n.digest)
        .where(n.tenant_id == i.tenant_id, n.number == i.number, n.seen_at >= i.updated_at)
        .where(sa.not_(_may_retry(now)))
    )
    asked_in_hour = (
        sa.select(sa.func.coalesce(sa.func.sum(n.attempts), 0))
        .where(n.tenant_id == i.tenant_id, n.asked_at > now - HOUR_S)
        .scalar_subquery()
    )
    query = (
        sa.select(i.tenant_id, i.number)
        .where(
            sa.text(BETWEEN),
            i.updated_at > now - DAY_S,
            i.updated_at <= now - SETTLE_S,
            sa.or_(i.status != "closed", i.resolution == "below_review"),
            ~asked.exists(),
            asked_in_hour < per_hour,
        )
        .order_by(i.updated_at)
        .limit(SEARCHED)
    )
    return [(tenant_id, number) for tenant_id, number in connection.execute(query)]


def _may_retry(now: float) -> sa.ColumnElement[bool]:
    n = incident_notes.c
    lost = sa.and_(n.result.is_(None), n.asked_at < now - LOST_S)
    ended = sa.func.coalesce(n.result, "") == "failed"
    return sa.and_(n.attempts < ATTEMPTS, sa.or_(ended, lost))


def prepare(connection: Connection, tenant_id: str, number: int) -> Claim | None:
    """Return what to ask about an incident."""
    incident = rows.read_incident(connection, tenant_id, number)
    if incident is None:
        return None
    material = material_of(connection, incident)
    return Claim(tenant_id, number, incident.updated_at, material.digest(), material)


def take(connection: Connection, claim: Claim, model: str, now: float) -> bool:
    """Mark the material as asked; return whether this container is to ask."""
    row = (claim.tenant_id, claim.number, claim.digest, claim.seen_at, now, 1, model, 0)
    if insert_rows(connection, incident_notes, [row], "ON CONFLICT DO NOTHING"):
        return True
    same = _row(claim)
    # The incident has changed, but not in what the model sees.
    connection.execute(incident_notes.update().where(same).values(seen_at=claim.seen_at))
    again = incident_notes.update().where(same, _may_retry(now))
    attempts = incident_notes.c.attempts + 1
    taken = connection.execute(again.values(asked_at=now, attempts=attempts, result=None))
    return taken.rowcount == 1


def _row(claim: Claim) -> sa.ColumnElement[bool]:
    n = incident_notes.c
    return sa.and_(
        n.tenant_id == claim.tenant_id,
        n.number == claim.number,
        n.digest == claim.digest,
    )


def finish(
    connection: Connection, claim: Claim, result: Result, answer: Answer | None, tokens: int
) -> None:
    """Store what came of a request."""
    note = None if answer is None else _encoder.encode(answer)
    n = incident_notes.c
    connection.execute(
        incident_notes.update()
        .where(_row(claim))
        .values(result=result, note=note, tokens=n.tokens + tokens)
    )


def read_note(connection: Connection, tenant_id: str, number: int) -> Note | None:
    """Return the latest note on an incident."""
    i, n = incidents.c, incident_notes.c
    query = (
        sa.select(n.asked_at, n.model, n.note, n.seen_at >= i.updated_at)
        .join(incidents, sa.and_(i.tenant_id == n.tenant_id, i.number == n.number))
        .where(n.tenant_id == tenant_id, n.number == number, n.result == "written")
        .order_by(n.seen_at.desc(), n.asked_at.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    at, model, note, is_current = row
    return Note(at, model, _answer.decode(note), bool(is_current))
