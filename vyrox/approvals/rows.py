"""The rows of proposals and decisions (contract 62)."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, Literal, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.proposal import Proposal, digest, parse
from vyrox.approvals.states import State, state_at
from vyrox.errors import NotFoundError
from vyrox.models import normal_host
from vyrox.notify.messages import clean
from vyrox.store.agenda import Moment
from vyrox.store.tables import decisions, proposals

Decision = Literal["approve", "reject"]
ProofKind = Literal["webauthn", "discord"]

MAX_END_REASON: Final = 1_200
"""Characters of why a proposal ended: a comment, with the name of the person."""

_p: Final = proposals.c
_d: Final = decisions.c

# Literally the condition of the index `proposals_open`, so that both databases use it.
_IS_OPEN: Final = sa.text("state IN ('pending', 'approved')")


class StoredDecision(msgspec.Struct, frozen=True):
    """What one person has decided.

    Attributes:
        entry_hash: Of the event that holds the proof.
        means: The passkey's credential id, or the account at Discord.
        comment: What the person wrote beside it, cleaned and shortened; the proof has it whole.
    """

    approver: str
    decision: Decision
    proof: ProofKind
    at: float
    entry_hash: str
    means: str | None
    comment: str = ""


class StoredProposal(msgspec.Struct, frozen=True):
    """A proposal as it is stored.

    Attributes:
        text: What `sha256` was made from.
        stored_state: What the database holds; `state_at` returns what it is worth.
        approved_at: When the quorum was reached.
    """

    id: str
    tenant_id: str
    sha256: str
    text: bytes
    stored_state: State
    expires_at: float
    approved_at: float | None
    ended_at: float | None
    end_reason: str | None
    repeats: int

    @property
    def proposal(self) -> Proposal:
        """The proposal itself. Raises ValueError if its text is not what was hashed."""
        if digest(self.text) != self.sha256:
            raise ValueError("the proposal is not what was hashed")
        return parse(self.text)

    def state_at(self, now: float) -> State:
        """Return the state at `now`."""
        return state_at(self.stored_state, self.expires_at, self.approved_at, now)


_COLUMNS: Final[tuple[sa.ColumnElement[Any], ...]] = (
    _p.id,
    _p.tenant_id,
    _p.sha256,
    _p.text,
    _p.state,
    _p.expires_at,
    _p.approved_at,
    _p.ended_at,
    _p.end_reason,
    _p.repeats,
)


def place_of(proposal: Proposal) -> bytes:
    """Return 32 bytes that are equal for proposals of one action on one device (A13)."""
    action = (proposal.vendor, normal_host(proposal.host), proposal.action_type)
    return sha256(msgspec.json.encode(action)).digest()


def insert(connection: Connection, proposal: Proposal, text: bytes) -> StoredProposal:
    """Store a new proposal, which is pending."""
    connection.execute(
        proposals.insert().values(
            id=proposal.id,
            tenant_id=proposal.tenant_id,
            sha256=digest(text),
            text=text,
            place=place_of(proposal),
            state="pending",
            created_at=proposal.created_at,
            expires_at=proposal.expires_at,
            repeats=0,
        )
    )
    return require(connection, proposal.tenant_id, proposal.id)


def require(connection: Connection, tenant_id: str, proposal_id: str) -> StoredProposal:
    """Return the tenant's proposal.

    Raises:
        NotFoundError: The tenant has no proposal with this id.
    """
    query = sa.select(*_COLUMNS).where(_p.id == proposal_id, _p.tenant_id == tenant_id)
    row = None if "\0" in proposal_id else connection.execute(query).first()
    if row is None:
        raise NotFoundError(f"{tenant_id} has no proposal {proposal_id[:64]}")
    return StoredProposal(*row)


def find_tenant(connection: Connection, proposal_id: str) -> str:
    """Return the tenant of a proposal, for the command line.

    Raises:
        NotFoundError: There is no such proposal.
    """
    tenant_id = connection.execute(sa.select(_p.tenant_id).where(_p.id == proposal_id)).scalar()
    if tenant_id is None:
        raise NotFoundError(f"there is no proposal {proposal_id[:64]}; see: vyrox approval list")
    return cast("str", tenant_id)


def find_by_digest(connection: Connection, tenant_id: str, sha256: str) -> StoredProposal | None:
    """Return the tenant's proposal with this digest, or None."""
    query = sa.select(*_COLUMNS).where(_p.sha256 == sha256, _p.tenant_id == tenant_id)
    row = connection.execute(query).first()
    return None if row is None else StoredProposal(*row)


def find_open(connection: Connection, tenant_id: str, place: bytes) -> Sequence[StoredProposal]:
    """Return the proposals of one action on one device that are stored as open."""
    query = sa.select(*_COLUMNS).where(_IS_OPEN, _p.tenant_id == tenant_id, _p.place == place)
    return [StoredProposal(*row) for row in connection.execute(query)]


def count_open(connection: Connection, tenant_id: str, now: float) -> int:
    """Return how many proposals of the tenant may still be decided on or dispatched."""
    query = sa.select(*_COLUMNS).where(_IS_OPEN, _p.tenant_id == tenant_id)
    found = (StoredProposal(*row) for row in connection.execute(query))
    return sum(each.state_at(now) in {"pending", "approved"} for each in found)


def find_approved_or_over(connection: Connection, now: float) -> Sequence[StoredProposal]:
    """Return what is stored as approved, and what is stored as pending but has expired."""
    query = sa.select(*_COLUMNS).where(_is_approved_or_over(now)).order_by(_p.expires_at, _p.id)
    return [StoredProposal(*row) for row in connection.execute(query)]


def is_any_approved_or_over(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that `find_approved_or_over` would find something."""
    return sa.exists().where(_is_approved_or_over(now))


def _is_approved_or_over(now: Moment) -> sa.ColumnElement[bool]:
    return sa.and_(_IS_OPEN, sa.or_(_p.state == "approved", _p.expires_at <= now))


def newest(
    connection: Connection, tenant_id: str | None, limit: int, *, only_open: bool
) -> Sequence[StoredProposal]:
    """Return the newest proposals, of one tenant or of all, perhaps only those stored as open."""
    query = sa.select(*_COLUMNS).order_by(_p.created_at.desc(), _p.id).limit(limit)
    if tenant_id is not None:
        query = query.where(_p.tenant_id == tenant_id)
    if only_open:
        query = query.where(_IS_OPEN)
    return [StoredProposal(*row) for row in connection.execute(query)]


def oldest_open(
    connection: Connection, tenant_ids: Sequence[str], limit: int
) -> Sequence[StoredProposal]:
    """Return the oldest proposals of some tenants that are stored as open."""
    query = (
        sa.select(*_COLUMNS)
        .where(_IS_OPEN, _p.tenant_id.in_(tenant_ids))
        .order_by(_p.created_at, _p.id)
        .limit(limit)
    )
    return [StoredProposal(*row) for row in connection.execute(query)]


def newest_ended(
    connection: Connection, tenant_ids: Sequence[str], since: float, limit: int
) -> Sequence[StoredProposal]:
    """Return the newest proposals of some tenants that were made after `since` and are over."""
    query = (
        sa.select(*_COLUMNS)
        .where(
            _p.tenant_id.in_(tenant_ids),
            _p.created_at > since,
            _p.state.not_in(("pending", "approved")),
        )
        .order_by(_p.created_at.desc(), _p.id)
        .limit(limit)
    )
    return [StoredProposal(*row) for row in connection.execute(query)]


def note_repeat(connection: Connection, proposal_id: str) -> None:
    """Count that the same action was proposed again."""
    repeat = proposals.update().where(_p.id == proposal_id)
    connection.execute(repeat.values(repeats=_p.repeats + 1))


def change_state(
    connection: Connection,
    proposal_id: str,
    before: State,
    after: State,
    now: float,
    reason: str | None = None,
) -> bool:
    """Change a stored state, once. Return False if it was not `before`.

    Args:
        reason: May be a person's or a vendor's text, with what PostgreSQL cannot store.
    """
    at = {"approved_at": now} if after == "approved" else {"ended_at": now}
    change = proposals.update().where(_p.id == proposal_id, _p.state == before)
    seen = None if reason is None else clean(reason, MAX_END_REASON)
    values = {"state": after, "end_reason": seen, **at}
    return connection.execute(change.values(values)).rowcount == 1


def decisions_on(connection: Connection, proposal_id: str) -> list[StoredDecision]:
    """Return what was decided, in order."""
    query = (
        sa.select(_d.approver, _d.decision, _d.proof, _d.at, _d.entry_hash, _d.means, _d.comment)
        .where(_d.proposal_id == proposal_id)
        .order_by(_d.at, _d.approver)
    )
    return [StoredDecision(*row) for row in connection.execute(query)]


def is_proof_used(connection: Connection, proof_key: str) -> bool:
    """Return whether a proof has been counted already."""
    query = sa.select(_d.approver).where(_d.proof_key == proof_key)
    return connection.execute(query).first() is not None


def insert_decision(
    connection: Connection, proposal_id: str, decided: StoredDecision, proof_key: str
) -> None:
    """Store what one person has decided."""
    values = msgspec.structs.asdict(decided)
    connection.execute(
        decisions.insert().values(proposal_id=proposal_id, proof_key=proof_key, **values)
    )
