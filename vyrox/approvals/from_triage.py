"""What Vyrox proposes by itself: the action that an incident suggests (contract 69, A13).

Only for tenants with an approver. An incident is read again when it has changed; for each incident
the same action is proposed once. A proposal that nothing suggests any more is `superseded`.
"""

import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.approvals import rows
from vyrox.approvals.approvers import SERVICE_NAME, present
from vyrox.approvals.of_incident import wanted_of
from vyrox.approvals.proposing import Wanted, propose, supersede
from vyrox.errors import NotPossibleError, VyroxError
from vyrox.models import normal_host
from vyrox.store.agenda import Moment
from vyrox.store.locks import lock
from vyrox.store.tables import approvers, guard_rails, incident_proposals, incidents, proposals
from vyrox.tenants.guard_rails import Propose, find
from vyrox.triage.incident_ids import IncidentKey, find_survivor, key_of
from vyrox.triage.incidents import Incident

MAX_AT_ONCE: Final = 100
"""Incidents that one run reads."""

FRESH_S: Final = 86_400.0
"""Nothing is proposed for an incident that has not changed for longer. So the first approver of a
tenant does not find proposals for all its old incidents."""

_i: Final = incidents.c
_p: Final = incident_proposals.c

# Literally the conditions of the partial indexes, so that both databases use them.
_IS_OPEN: Final = sa.text("incidents.status != 'closed'")
_MAY_BE_PENDING: Final = sa.text("proposals.state IN ('pending', 'approved')")

_IS_ROW: Final = sa.and_(_p.tenant_id == _i.tenant_id, _p.number == _i.number)
_HAS_CHANGED: Final = sa.or_(
    _p.seen_at.is_(None), _p.seen_at != _i.updated_at, _p.seen_alerts != _i.alerts
)


class Noted(NamedTuple):
    """What was proposed for an incident, as it is stored.

    Attributes:
        suggestion: The action that was proposed last, or could not be.
        proposal_id: Of the proposal, if there is one.
    """

    seen_at: float
    seen_alerts: int
    suggestion: str | None
    proposal_id: str | None


def find_changed(connection: Connection, now: float) -> list[IncidentKey]:
    """Return incidents that must be read again, at most MAX_AT_ONCE of each kind."""
    new = _new(now).order_by(_i.updated_at)
    # In two steps: SQLite would read every proposal there ever was.
    ids = list(connection.execute(sa.select(proposals.c.id).where(_MAY_BE_PENDING)).scalars())
    pending = (
        sa.select(_i.tenant_id, _i.number)
        .select_from(incident_proposals.join(incidents, _IS_ROW))
        .where(_p.proposal_id.in_(ids), sa.or_(_HAS_CHANGED, _i.status == "closed"))
    )
    found = [
        IncidentKey(*row)
        for query in (new, pending)
        for row in connection.execute(query.limit(MAX_AT_ONCE))
    ]
    return list(dict.fromkeys(found))


def may_change(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that `find_changed` may find something, or that a proposal is open."""
    is_open = sa.exists().where(_MAY_BE_PENDING).select_from(proposals)
    return sa.or_(is_open, _new(now).exists())


def _new(now: Moment) -> sa.Select[tuple[str, int]]:
    """Return the query for open incidents that have changed since they were read."""
    has_approver = _i.tenant_id.in_(
        sa.select(approvers.c.tenant_id).where(approvers.c.removed_at.is_(None))
    )
    settings = sa.select(guard_rails.c.tenant_id)
    only_urgent = _i.tenant_id.not_in(settings.where(guard_rails.c.propose == "none"))
    review_too = _i.tenant_id.in_(settings.where(guard_rails.c.propose == "review"))
    wanted = sa.or_(
        sa.and_(_i.band == "urgent", only_urgent), sa.and_(_i.band == "review", review_too)
    )
    return (
        sa.select(_i.tenant_id, _i.number)
        .select_from(incidents.outerjoin(incident_proposals, _IS_ROW))
        .where(_IS_OPEN, _i.updated_at > now - FRESH_S, has_approver, wanted, _HAS_CHANGED)
    )


def consider_each(
    connection: Connection, keys: Sequence[IncidentKey], now: float, ttl_s: int
) -> bool:
    """Do the same as `consider` for some incidents; return whether it did anything for any."""
    is_news = [consider(connection, key, now, ttl_s) for key in keys]
    return any(is_news)


def consider(connection: Connection, key: IncidentKey, now: float, ttl_s: int) -> bool:
    """Propose what the incident suggests now, or end what it suggests no more.

    Returns:
        Whether a proposal was made or ended.
    """
    lock(connection, "containments")
    survivor = find_survivor(connection, key)
    noted = _noted(connection, key)
    wanted = _wanted(connection, survivor)
    suggestion = None if wanted is None else suggestion_of(wanted)
    if survivor.number != key.number:
        return _pass_on(connection, key, survivor, noted, suggestion, now)
    if noted is not None and _is_decided(connection, key, noted, suggestion):
        _store(connection, survivor, noted.suggestion, noted.proposal_id)
        return False
    ended = _end(connection, key, noted, now)
    proposal_id = None
    if wanted is not None and present(connection, key.tenant_id):
        proposal_id = _propose(connection, key, wanted, now, ttl_s)
    _store(connection, survivor, suggestion, proposal_id)
    return ended or proposal_id is not None


def mark_seen(connection: Connection, key: IncidentKey) -> None:
    """Do not read the incident again before it changes."""
    lock(connection, "containments")
    noted = _noted(connection, key)
    query = sa.select(_i.updated_at, _i.alerts).where(
        _i.tenant_id == key.tenant_id, _i.number == key.number
    )
    row = connection.execute(query).one_or_none()
    if row is not None:
        kept = (None, None) if noted is None else (noted.suggestion, noted.proposal_id)
        _write(connection, key, Noted(*row, *kept))


def suggestion_of(wanted: Wanted) -> str:
    """Return a text that is equal for the same action on the same device."""
    parts = [wanted.action_type, normal_host(wanted.host)]
    # The process is that of the alert.
    return "\n".join([*parts, wanted.alert_id] if wanted.action_type == "PROCESS_KILL" else parts)


def _wanted(connection: Connection, incident: Incident) -> Wanted | None:
    """Return what the incident suggests, if Vyrox may propose that by itself."""
    wish: Propose = find(connection, [incident.tenant_id])[incident.tenant_id].propose
    if wish == "none" or incident.status == "closed":
        return None
    try:
        return wanted_of(connection, key_of(incident), SERVICE_NAME, least=wish)
    except NotPossibleError:
        return None


def _is_decided(
    connection: Connection, key: IncidentKey, noted: Noted, suggestion: str | None
) -> bool:
    """Return whether the same was proposed before, or a person has rejected it and nothing is new.

    So an incident that is closed and opened again does not bring a rejected proposal back.
    """
    if suggestion is not None or noted.proposal_id is None:
        return suggestion is not None and suggestion == noted.suggestion
    return rows.require(connection, key.tenant_id, noted.proposal_id).stored_state == "rejected"


def _propose(
    connection: Connection, key: IncidentKey, wanted: Wanted, now: float, ttl_s: int
) -> str | None:
    try:
        return propose(connection, wanted, now, ttl_s=ttl_s).proposal_id
    except VyroxError as exc:
        log.event(
            "approval.not_proposed",
            logging.WARNING,
            tenant=key.tenant_id,
            incident=key.number,
            reason=str(exc),
        )
        return None


def _pass_on(
    connection: Connection,
    key: IncidentKey,
    survivor: Incident,
    noted: Noted | None,
    suggestion: str | None,
    now: float,
) -> bool:
    """Give the proposal of an incident that was merged to the one that took its alerts."""
    if noted is None or noted.proposal_id is None:
        return False
    taker = key_of(survivor)
    ended = False
    if noted.suggestion != suggestion:
        ended = _end(connection, key, noted, now)
    elif _noted(connection, taker) is None:
        _store(connection, survivor, noted.suggestion, noted.proposal_id)
    _write(connection, key, Noted(noted.seen_at, noted.seen_alerts, None, None))
    return ended


def _end(connection: Connection, key: IncidentKey, noted: Noted | None, now: float) -> bool:
    """End the pending proposal of Vyrox for the incident, unless another suggests it too."""
    if noted is None or noted.proposal_id is None:
        return False
    others = sa.select(_p.number).where(
        _p.proposal_id == noted.proposal_id,
        sa.not_(sa.and_(_p.tenant_id == key.tenant_id, _p.number == key.number)),
    )
    if connection.execute(others.limit(1)).first() is not None:
        return False
    stored = rows.require(connection, key.tenant_id, noted.proposal_id)
    if stored.proposal.requested_by != SERVICE_NAME:
        return False
    return supersede(connection, stored, f"Vyrox does not propose this for {key.id} any more", now)


def _noted(connection: Connection, key: IncidentKey) -> Noted | None:
    query = sa.select(_p.seen_at, _p.seen_alerts, _p.suggestion, _p.proposal_id).where(
        _p.tenant_id == key.tenant_id, _p.number == key.number
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Noted(*row)


def _store(
    connection: Connection, incident: Incident, suggestion: str | None, proposal_id: str | None
) -> None:
    noted = Noted(incident.updated_at, incident.alerts, suggestion, proposal_id)
    _write(connection, key_of(incident), noted)


def _write(connection: Connection, key: IncidentKey, noted: Noted) -> None:
    is_row = sa.and_(_p.tenant_id == key.tenant_id, _p.number == key.number)
    changed = connection.execute(incident_proposals.update().where(is_row).values(noted._asdict()))
    if not changed.rowcount:
        values = {**key._asdict(), **noted._asdict()}
        connection.execute(incident_proposals.insert().values(values))
