"""Drills: a proposal without effect, which shows who can decide and how fast (contract 65).

It has the action DRILL on the host `none`. Each approver may answer it until it expires. No answer
ends it, and it is never carried out.
"""

from typing import Final

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import events, rows
from vyrox.approvals.approvers import standing
from vyrox.approvals.proposal import DRILL, Proposal, canonical, new_nonce
from vyrox.approvals.rows import ProofKind, StoredProposal
from vyrox.approvals.states import DECIDE_S, State
from vyrox.chain.writer import append
from vyrox.errors import NotPossibleError
from vyrox.ids import new_id
from vyrox.store.locks import lock

_REASON: Final = "A drill: whatever you answer, nothing is done to any device."


class DrillAnswer(msgspec.Struct, frozen=True):
    """Whether and how one approver has answered.

    Attributes:
        can_decide: Whether the person has a confirmed passkey or an account at Discord.
        after_s: How long after the drill began; null if there is no answer.
    """

    approver: str
    can_decide: bool
    proof: ProofKind | None
    after_s: float | None


class ShownDrill(msgspec.Struct, frozen=True):
    """A drill, and who has answered it."""

    proposal_id: str
    proposal_sha256: str
    state: State
    expires_at: int
    answers: tuple[DrillAnswer, ...]

    @property
    def is_complete(self) -> bool:
        """Whether all who can decide have answered."""
        return all(each.proof is not None for each in self.answers if each.can_decide)


def start(connection: Connection, tenant_id: str, by: str, now: float) -> ShownDrill:
    """Begin a drill, with an event, or return the one that is open.

    Raises:
        NotPossibleError: The tenant has no approvers.
    """
    lock(connection, "containments")
    if not standing(connection, tenant_id):
        raise NotPossibleError(f"{tenant_id} has no approvers; see: vyrox approver add")
    proposal = Proposal(
        id=new_id(),
        tenant_id=tenant_id,
        alert_id="none",
        vendor=None,
        action_type=DRILL,
        host="none",
        hostname=None,
        process=None,
        device_state=None,
        lease_s=0,
        requested_by=by,
        reason=_REASON,
        created_at=int(now),
        expires_at=int(now) + DECIDE_S,
        required=1,
        nonce=new_nonce(),
    )
    for earlier in rows.find_open(connection, tenant_id, rows.place_of(proposal)):
        if earlier.state_at(now) == "pending":
            return _shown(connection, earlier, now)
    stored = rows.insert(connection, proposal, canonical(proposal))
    append(connection, [events.proposed(stored, None)], now)
    return _shown(connection, stored, now)


def show_drill(connection: Connection, tenant_id: str, proposal_id: str, now: float) -> ShownDrill:
    """Return a drill, and who has answered it.

    Raises:
        NotFoundError: The tenant has no such proposal.
    """
    return _shown(connection, rows.require(connection, tenant_id, proposal_id), now)


def _shown(connection: Connection, stored: StoredProposal, now: float) -> ShownDrill:
    decided = {each.approver: each for each in rows.decisions_on(connection, stored.id)}
    began_at = stored.proposal.created_at
    means = standing(connection, stored.tenant_id)
    answers = []
    for name in sorted(means.keys() | decided.keys()):
        answer = decided.get(name)
        can_decide = bool(means.get(name))
        if answer is None:
            answers.append(DrillAnswer(name, can_decide, None, None))
        else:
            answers.append(DrillAnswer(name, can_decide, answer.proof, answer.at - began_at))
    return ShownDrill(
        stored.id, stored.sha256, stored.state_at(now), int(stored.expires_at), tuple(answers)
    )
