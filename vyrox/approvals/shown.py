"""A proposal as it is shown: its state now, who decided, and what became of it (contract 63)."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import rows
from vyrox.approvals.display import display
from vyrox.approvals.proposal import Proposal
from vyrox.approvals.rows import Decision, ProofKind, StoredProposal
from vyrox.approvals.states import OPEN, State
from vyrox.chain.entry import Scalar
from vyrox.store.tables import audit_log, claims

MAX_LISTED: Final = 1000

_OUTCOMES_FOR_S: Final = 7200
"""How long after the quorum an outcome of the action can be recorded, with room."""

_MAX_READ: Final = 1000
"""Outcomes that are read to find those of one action."""

# Literally the condition of the index `audit_log_outcomes`, so that both databases use it.
_IS_OUTCOME: Final = sa.text("kind IN ('execute.outcome', 'execute.refused')")
_decode: Final = msgspec.json.Decoder(dict[str, Scalar]).decode


class ShownDecision(msgspec.Struct, frozen=True):
    """What one person has decided."""

    approver: str
    decision: Decision
    proof: ProofKind
    at: float
    comment: str = ""


class ListedProposal(msgspec.Struct, frozen=True):
    """One line of a list."""

    proposal_id: str
    tenant_id: str
    state: State
    action_type: str
    host: str
    hostname: str | None
    requested_by: str
    required: int
    approvals: int
    created_at: int
    expires_at: int


class ShownProposal(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one proposal.

    Attributes:
        proposal: The text that was hashed.
        display: The text that people read.
        approved_at: When the quorum was reached.
        end_reason: Why it ended, if there is a reason.
        repeats: How often the same was proposed again while it was open.
        action_hash: Of the audit entry of the execution.
        outcome: As in the newest `execute.outcome` event of the action; null until there is one.
        outcome_reason: Why, if there is a reason.
    """

    proposal_id: str
    tenant_id: str
    proposal_sha256: str
    state: State
    required: int
    expires_at: int
    approved_at: float | None
    ended_at: float | None
    end_reason: str | None
    repeats: int
    decisions: Sequence[ShownDecision]
    action_hash: str | None
    outcome: str | None
    outcome_reason: str | None
    proposal: str
    display: str


def show(connection: Connection, tenant_id: str, proposal_id: str, now: float) -> ShownProposal:
    """Return everything about one proposal of the tenant.

    Raises:
        NotFoundError: The tenant has no such proposal.
        ValueError: Its text was changed in the database.
    """
    stored = rows.require(connection, tenant_id, proposal_id)
    proposal = stored.proposal
    action_hash, outcome, reason = _outcome(connection, stored)
    return ShownProposal(
        proposal_id=stored.id,
        tenant_id=stored.tenant_id,
        proposal_sha256=stored.sha256,
        state=stored.state_at(now),
        required=proposal.required,
        expires_at=proposal.expires_at,
        approved_at=stored.approved_at,
        ended_at=stored.ended_at,
        end_reason=stored.end_reason,
        repeats=stored.repeats,
        decisions=[
            ShownDecision(each.approver, each.decision, each.proof, each.at, each.comment)
            for each in rows.decisions_on(connection, proposal_id)
        ],
        action_hash=action_hash,
        outcome=outcome,
        outcome_reason=reason,
        proposal=stored.text.decode(),
        display=display(proposal),
    )


def list_proposals(
    connection: Connection, tenant_id: str | None, now: float, limit: int, *, only_open: bool
) -> list[ListedProposal]:
    """Return the newest proposals, of one tenant or of all. Without those of unreadable texts."""
    found = []
    for stored in rows.newest(connection, tenant_id, limit, only_open=only_open):
        state = stored.state_at(now)
        proposal = _readable(stored)
        if proposal is not None and (state in OPEN or not only_open):
            found.append(_listed(connection, stored, proposal, state))
    return found


def _readable(stored: StoredProposal) -> Proposal | None:
    try:
        return stored.proposal
    except ValueError:
        return None


def _listed(
    connection: Connection, stored: StoredProposal, proposal: Proposal, state: State
) -> ListedProposal:
    decided = rows.decisions_on(connection, stored.id)
    return ListedProposal(
        proposal_id=stored.id,
        tenant_id=stored.tenant_id,
        state=state,
        action_type=proposal.action_type,
        host=proposal.host,
        hostname=proposal.hostname,
        requested_by=proposal.requested_by,
        required=proposal.required,
        approvals=sum(each.decision == "approve" for each in decided),
        created_at=proposal.created_at,
        expires_at=proposal.expires_at,
    )


def outcome_of(connection: Connection, tenant_id: str, proposal_id: str) -> str | None:
    """Return the newest outcome of a proposal's action, or None. Raises NotFoundError."""
    return newest_outcome(connection, rows.require(connection, tenant_id, proposal_id))


def newest_outcome(connection: Connection, stored: StoredProposal) -> str | None:
    """Return the newest outcome of a proposal's action, or None."""
    return _outcome(connection, stored)[1]


def _outcome(
    connection: Connection, stored: StoredProposal
) -> tuple[str | None, str | None, str | None]:
    """Return the hash of the action's entry, its newest outcome, and the outcome's reason."""
    if stored.stored_state != "dispatched" or stored.approved_at is None:
        return None, None, None
    c = audit_log.c
    query = (
        sa.select(c.entry)
        .where(
            c.tenant_id == stored.tenant_id,
            _IS_OUTCOME,
            c.timestamp >= int(stored.approved_at) - 1,
            c.timestamp <= stored.approved_at + _OUTCOMES_FOR_S,
        )
        .order_by(c.sequence.desc())
        .limit(_MAX_READ)
    )
    for (encoded,) in connection.execute(query):
        event = _decode(encoded)
        if event.get("execution") == stored.id and event["kind"] == "execute.outcome":
            return (
                _text(event.get("entry")),
                _text(event.get("outcome")),
                _text(event.get("reason")),
            )
    claimed = sa.select(claims.c.entry_hash).where(claims.c.request_id == stored.id.encode())
    return connection.execute(claimed).scalar(), None, None


def _text(value: Scalar) -> str | None:
    return value if isinstance(value, str) else None
