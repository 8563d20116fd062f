"""What a person who proposes by a command reads: who must approve, and what is proposed already."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import rows
from vyrox.approvals.approvers import standing, with_passkeys
from vyrox.approvals.deciding import may_decide
from vyrox.approvals.display import length
from vyrox.approvals.proposal import CONTAINMENTS, Proposal
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.rows import ProofKind
from vyrox.approvals.rules import FOUR_EYES, list_rules
from vyrox.approvals.states import State


class Asked(msgspec.Struct, frozen=True):
    """A proposal that a command has made, or has found open.

    Attributes:
        ends: When the containment would end, in words; None for a lift or a kill.
        required: How many persons must approve.
        approvers: Who may approve it.
        is_repeat: Whether it was open before, so that it is as somebody else has asked for it.
        requested_by: Who has asked for it first.
    """

    proposal_id: str
    proposal_sha256: str
    expires_at: int
    state: State
    action_type: str
    ends: str | None
    required: int
    approvers: Sequence[str]
    is_repeat: bool
    requested_by: str


def ask(connection: Connection, proposed: Proposed, tenant_id: str) -> Asked:
    """Return what the person reads who has just proposed something."""
    stored = rows.require(connection, tenant_id, proposed.proposal_id)
    proposal = stored.proposal
    return Asked(
        proposal_id=proposal.id,
        proposal_sha256=proposed.proposal_sha256,
        expires_at=proposed.expires_at,
        state=proposed.state,
        action_type=proposal.action_type,
        ends=_ends(proposal),
        required=proposal.required,
        approvers=who_may_decide(connection, proposal),
        is_repeat=stored.repeats > 0,
        requested_by=proposal.requested_by,
    )


def _ends(proposal: Proposal) -> str | None:
    if proposal.action_type not in CONTAINMENTS:
        return None
    return f"after {length(proposal.lease_s)}" if proposal.lease_s else "never"


def who_may_decide(connection: Connection, proposal: Proposal) -> Sequence[str]:
    """Return who may approve or reject.

    A person with a passkey and an account is taken to use the first.
    """
    tenant_id = proposal.tenant_id
    has_four_eyes = FOUR_EYES in list_rules(connection, tenant_id)
    signers = with_passkeys(connection, tenant_id)
    kinds: dict[str, ProofKind] = {
        name: "webauthn" if name in signers else "discord"
        for name, means in sorted(standing(connection, tenant_id).items())
        if means
    }
    return [
        name
        for name, kind in kinds.items()
        if may_decide(proposal, name, kind, has_four_eyes=has_four_eyes)
    ]
