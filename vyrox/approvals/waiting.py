"""The proposals of some tenants that wait, as people see them first (contract 77)."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import rows
from vyrox.approvals.proposal import Proposal
from vyrox.approvals.rows import StoredProposal
from vyrox.approvals.shown import newest_outcome
from vyrox.approvals.states import OPEN, State
from vyrox.store.tables import decisions, incidents, verdicts

ENDED_S: Final = 86_400.0
"""How long a proposal that is over stays on the first page."""

_d: Final = decisions.c
_i: Final = incidents.c
_v: Final = verdicts.c


class WaitingProposal(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal that may be decided on, or is approved and not begun.

    Attributes:
        reason: Why it was proposed.
        approved_by: Who has approved.
        incident: The id of the incident of its alert, with its score; None: not known.
    """

    proposal_id: str
    tenant_id: str
    state: State
    action_type: str
    host: str
    reason: str
    requested_by: str
    required: int
    approved_by: tuple[str, ...]
    created_at: int
    expires_at: int
    is_drill: bool
    incident: str | None = None
    score: float | None = None


class Ended(msgspec.Struct, frozen=True):
    """A proposal that is over, and the newest outcome of its action."""

    proposal_id: str
    tenant_id: str
    state: State
    action_type: str
    host: str
    created_at: int
    is_drill: bool
    outcome: str | None


def list_ended(
    connection: Connection, tenant_ids: Sequence[str], now: float, limit: int
) -> list[Ended]:
    """Return the newest proposals of the tenants that are over and no older than ENDED_S."""
    found = []
    for stored in rows.newest_ended(connection, tenant_ids, now - ENDED_S, limit):
        proposal = _readable(stored)
        if proposal is not None:
            found.append(
                Ended(
                    proposal_id=stored.id,
                    tenant_id=stored.tenant_id,
                    state=stored.state_at(now),
                    action_type=proposal.action_type,
                    host=proposal.hostname or proposal.host,
                    created_at=proposal.created_at,
                    is_drill=proposal.is_drill,
                    outcome=newest_outcome(connection, stored),
                )
            )
    return found


def list_waiting(
    connection: Connection, tenant_ids: Sequence[str], now: float, limit: int
) -> list[WaitingProposal]:
    """Return the open proposals of the tenants, oldest first, and drills last.

    Not those whose text was changed in the database, which no person can decide on.
    """
    found = [
        (stored, proposal)
        for stored in rows.oldest_open(connection, tenant_ids, limit)
        if stored.state_at(now) in OPEN and (proposal := _readable(stored)) is not None
    ]
    approved = _approved_by(connection, [stored.id for stored, _ in found])
    scores = _scores(connection, [proposal for _, proposal in found])
    waiting = []
    for stored, proposal in found:
        incident, score = scores.get((proposal.tenant_id, proposal.alert_id), (None, None))
        waiting.append(
            WaitingProposal(
                proposal_id=stored.id,
                tenant_id=stored.tenant_id,
                state=stored.state_at(now),
                action_type=proposal.action_type,
                host=proposal.hostname or proposal.host,
                reason=proposal.reason,
                requested_by=proposal.requested_by,
                required=proposal.required,
                approved_by=tuple(approved.get(stored.id, ())),
                created_at=proposal.created_at,
                expires_at=proposal.expires_at,
                is_drill=proposal.is_drill,
                incident=incident,
                score=score,
            )
        )
    return sorted(waiting, key=lambda each: (each.is_drill, each.created_at, each.proposal_id))


def _readable(stored: StoredProposal) -> Proposal | None:
    try:
        return stored.proposal
    except ValueError:
        return None


def _approved_by(connection: Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    query = sa.select(_d.proposal_id, _d.approver).where(
        _d.proposal_id.in_(ids), _d.decision == "approve"
    )
    found: dict[str, list[str]] = {}
    for proposal_id, approver in connection.execute(query.order_by(_d.at, _d.approver)):
        found.setdefault(proposal_id, []).append(approver)
    return found


def _scores(
    connection: Connection, proposals: Sequence[Proposal]
) -> dict[tuple[str, str], tuple[str, float]]:
    """Return by tenant and alert the id and the score of the alert's incident."""
    ids = [each.alert_id for each in proposals if "\0" not in each.alert_id]
    joined = sa.and_(_i.tenant_id == _v.tenant_id, _i.number == _v.incident)
    query = (
        sa.select(_v.tenant_id, _v.alert_id, _i.number, _i.score)
        .join(incidents, joined)
        .where(_v.alert_id.in_(ids))
    )
    return {
        (tenant_id, alert_id): (f"{tenant_id}-{number}", score)
        for tenant_id, alert_id, number, score in connection.execute(query)
    }
