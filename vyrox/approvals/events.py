"""The events of approvals (contract 62, A34).

They are written in the transaction of what they record. Their texts are whole: an auditor hashes
them, so they do not take the way of events that are shortened or only counted.
"""

from vyrox.approvals.rows import StoredDecision, StoredProposal
from vyrox.approvals.states import State
from vyrox.chain.entry import Draft, Scalar


def draft(kind: str, tenant_id: str, request_id: str | None, **members: Scalar) -> Draft:
    """Return the draft of an event whose texts are not shortened."""
    whole = {"kind": kind, "request_id": request_id, **members}
    return Draft(tenant_id, "events", kind, whole)


def proposed(stored: StoredProposal, request_id: str | None) -> Draft:
    """Return the event of a new proposal."""
    return draft(
        "approval.proposed",
        stored.tenant_id,
        request_id,
        proposal_id=stored.id,
        proposal_sha256=stored.sha256,
        proposal=stored.text.decode(),
    )


def ended(stored: StoredProposal, state: State, reason: str | None, by: str | None = None) -> Draft:
    """Return the event of a proposal that ended without an execution."""
    members: dict[str, Scalar] = {"reason": reason, "by": by}
    return draft(
        "approval.ended",
        stored.tenant_id,
        None,
        proposal_id=stored.id,
        state=state,
        **{name: value for name, value in members.items() if value is not None},
    )


def dispatched(stored: StoredProposal, decided: list[StoredDecision]) -> Draft:
    """Return the event of the execution. It follows the action's entry, whose hash it names."""
    event = draft(
        "approval.dispatched",
        stored.tenant_id,
        None,
        proposal_id=stored.id,
        decisions=",".join(each.entry_hash for each in decided),
    )
    return Draft(event.tenant_id, event.stream, event.kind, event.members, "action_hash")
