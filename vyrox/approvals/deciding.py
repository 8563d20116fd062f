"""A person's decision: every right is checked in `decide`, for every channel (contract 62, A5).

A channel brings a proof. The proof says who decided, on which text, and how; nothing else of the
request is used for that (A6).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import events, rows
from vyrox.approvals.approvers import Approver, present, standing
from vyrox.approvals.proposal import Proposal
from vyrox.approvals.rows import Decision, ProofKind, StoredDecision, StoredProposal
from vyrox.approvals.rules import FOUR_EYES, list_rules
from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.writer import append
from vyrox.errors import NotPossibleError, UnauthorizedError
from vyrox.notify.messages import clean
from vyrox.store.heads import read_heads
from vyrox.store.locks import lock, lock_chains

Means = Mapping[str, Collection[str]]
"""By approver, with what the person may decide now. See `approvers.standing`."""


class Verified(msgspec.Struct, frozen=True):
    """What a valid proof says.

    Attributes:
        approver: The name on the tenant's list.
        proposal_sha256: Of the text that the person has decided on.
        key: Identifies the proof among all: no proof counts twice.
        members: What an auditor needs to check it, for the event.
        comment: What the person has written, for those who read the proposal.
    """

    kind: ProofKind
    approver: str
    proposal_sha256: str
    decision: Decision
    key: str
    members: dict[str, Scalar]
    comment: str = ""


class Proof(Protocol):
    """What a channel brings."""

    def verify(self, connection: Connection, tenant_id: str, now: float) -> Verified:
        """Return what the proof says, in the transaction of the decision.

        Raises:
            UnauthorizedError: It is not valid. The text of the error does not reach the person.
        """
        ...


def decide(
    connection: Connection, tenant_id: str, proposal_id: str, proof: Proof, now: float
) -> StoredProposal:
    """Record a decision with its proof, and what follows from it, in this transaction.

    Raises:
        NotFoundError: The tenant has no such proposal.
        NotPossibleError: It is decided already, or the person has decided, or was reset within a
            day and two persons are needed. The text says it.
        UnauthorizedError: The proof is not valid, or the person may not decide on this.
    """
    lock(connection, "containments")
    stored = rows.require(connection, tenant_id, proposal_id)
    verified = proof.verify(connection, tenant_id, now)
    proposal = _checked_proposal(stored)
    approver = present(connection, tenant_id).get(verified.approver)
    means = standing(connection, tenant_id)
    has_four_eyes = FOUR_EYES in list_rules(connection, tenant_id)
    used = _check_right(proposal, stored, verified, approver, means, has_four_eyes=has_four_eyes)
    if rows.is_proof_used(connection, verified.key):
        raise UnauthorizedError("proof_used", tenant_id)
    decided = rows.decisions_on(connection, proposal_id)
    _check_not_decided(stored, decided, verified.approver, now)
    _check_not_reset(proposal, verified, approver, now)
    _check_recordable(connection, stored)
    [receipt] = append(connection, [_event(stored, proposal, verified)], now)
    new = StoredDecision(
        verified.approver,
        verified.decision,
        verified.kind,
        now,
        receipt.hash,
        used,
        clean(verified.comment, rows.MAX_END_REASON),
    )
    rows.insert_decision(connection, proposal_id, new, verified.key)
    if proposal.is_drill:
        return stored
    if new.decision == "reject":
        _end_rejected(connection, stored, verified, now)
    elif is_quorum(proposal, [*decided, new], means, has_four_eyes=has_four_eyes):
        rows.change_state(connection, proposal_id, "pending", "approved", now)
    return rows.require(connection, tenant_id, proposal_id)


def counting(
    proposal: Proposal,
    decided: Sequence[StoredDecision],
    means: Means,
    *,
    has_four_eyes: bool,
) -> list[StoredDecision]:
    """Return the approvals that count: of persons on the list who may decide on this (A7).

    The passkey or the account with which the person approved must still be the person's.
    """
    return [
        each
        for each in decided
        if each.decision == "approve"
        and each.means in means.get(each.approver, ())
        and may_decide(proposal, each.approver, each.proof, has_four_eyes=has_four_eyes)
    ]


def is_quorum(
    proposal: Proposal,
    decided: Sequence[StoredDecision],
    means: Means,
    *,
    has_four_eyes: bool,
) -> bool:
    """Return whether enough persons have approved, and none has rejected (A18)."""
    if proposal.is_drill or any(each.decision == "reject" for each in decided):
        return False
    found = counting(proposal, decided, means, has_four_eyes=has_four_eyes)
    has_passkey = any(each.proof == "webauthn" for each in found)
    persons = {each.approver for each in found}
    return len(persons) >= proposal.required and (proposal.required < 2 or has_passkey)


def is_requester(proposal: Proposal, approver: str) -> bool:
    """Return whether the person may be the one who asked. Case makes no difference here."""
    return approver.casefold() == proposal.requested_by.strip().casefold()


def may_decide(proposal: Proposal, approver: str, kind: ProofKind, *, has_four_eyes: bool) -> bool:
    """Return whether the person is not the one who asked, or may be (A7).

    The person who asked may approve with a passkey what needs one person, unless FOUR_EYES is set.
    """
    if proposal.is_drill or not is_requester(proposal, approver):
        return True
    return proposal.required == 1 and kind == "webauthn" and not has_four_eyes


def _checked_proposal(stored: StoredProposal) -> Proposal:
    try:
        return stored.proposal
    except ValueError as exc:
        raise NotPossibleError(f"nothing can be decided: {exc}") from exc


def _check_right(
    proposal: Proposal,
    stored: StoredProposal,
    verified: Verified,
    approver: Approver | None,
    means: Means,
    *,
    has_four_eyes: bool,
) -> str:
    """Return the passkey or the account that was used, if the person may decide with it."""
    if verified.proposal_sha256 != stored.sha256:
        raise UnauthorizedError("other_proposal", stored.tenant_id)
    if approver is None:
        raise UnauthorizedError("not_an_approver", stored.tenant_id)
    used = verified.members.get("credential_id")
    if verified.kind == "discord":
        used = approver.discord_user_id
    if not isinstance(used, str) or used not in means[approver.name]:
        raise UnauthorizedError("not_enrolled", stored.tenant_id)
    if not may_decide(proposal, approver.name, verified.kind, has_four_eyes=has_four_eyes):
        raise UnauthorizedError("requester", stored.tenant_id)
    return used


def _check_not_reset(
    proposal: Proposal, verified: Verified, approver: Approver | None, now: float
) -> None:
    """A person whose means are new since a reset is not one of two, for a day (A39)."""
    is_reset = approver is not None and approver.is_reset(now)
    if is_reset and proposal.required > 1 and verified.decision == "approve":
        raise NotPossibleError(
            f"{verified.approver} was reset within a day, and does not count yet where two persons "
            "are needed"
        )


def _check_not_decided(
    stored: StoredProposal, decided: Sequence[StoredDecision], approver: str, now: float
) -> None:
    """Decisions are final, and a late one learns what was decided (A9)."""
    state = stored.state_at(now)
    if state != "pending":
        by = ", ".join(f"{each.approver}: {each.decision}" for each in decided)
        raise NotPossibleError(f"the proposal is {state}{f' ({by})' if by else ''}")
    for each in decided:
        if each.approver == approver:
            raise NotPossibleError(f"{approver} has decided already: {each.decision}")


def _check_recordable(connection: Connection, stored: StoredProposal) -> None:
    """Refuse a decision whose event would have a time after the expiry.

    Times in a chain never decrease. An entry from a clock that was ahead would make it so, and an
    auditor would refuse the proof.
    """
    chain = [(stored.tenant_id, "events")]
    lock_chains(connection, chain)
    if any(head[4] > stored.expires_at for head in read_heads(connection, chain)):
        raise NotPossibleError("the newest event is later than the proposal's expiry")


def _event(stored: StoredProposal, proposal: Proposal, verified: Verified) -> Draft:
    members: dict[str, Scalar] = {
        **verified.members,
        "proposal_id": stored.id,
        "proposal_sha256": stored.sha256,
        "decision": verified.decision,
        "approver": verified.approver,
        "proof": verified.kind,
    }
    if is_requester(proposal, verified.approver):
        members["by_requester"] = True
    return events.draft("approval.decided", stored.tenant_id, None, **members)


def _end_rejected(
    connection: Connection, stored: StoredProposal, verified: Verified, now: float
) -> None:
    why = f": {verified.comment}" if verified.comment else ""
    by = f"by {verified.approver}{why}"
    rows.change_state(connection, stored.id, "pending", "rejected", now, by)
    append(connection, [events.ended(stored, "rejected", None, verified.approver)], now)
