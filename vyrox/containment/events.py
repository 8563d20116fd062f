"""The audit entries and events of a containment (contract 27, 35, 37 and 43)."""

import msgspec

from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.events import event
from vyrox.containment.attempt import Attempt, AttemptResult, Known, Outcome
from vyrox.errors import RefusedByPolicyError


def action_entry(attempt: Attempt) -> Draft:
    """Return the audit entry that is committed before the vendor is called."""
    request = attempt.request
    return Draft(
        tenant_id=request.tenant_id,
        stream="actions",
        kind=request.action_type,
        members={
            "action_type": request.action_type,
            "host": request.host,
            "approved_by": request.approved_by,
            "dry_run": attempt.dry_run,
        },
    )


def refusal_event(attempt: Attempt, rule: str, known: Known | None) -> Draft:
    """Return the event of a request that a guard rail refuses.

    Args:
        known: For a dry run.
    """
    request = attempt.request
    return event(
        "execute.refused",
        request.tenant_id,
        attempt.trace_id,
        execution=request.request_id,
        status=RefusedByPolicyError.status,
        reason=RefusedByPolicyError.detail,
        rule=rule,
        action_type=request.action_type,
        host=request.host,
        alert_id=request.alert_id,
        force=request.force,
        **_members(known),
    )


def result_event(result: AttemptResult, entry_hash: str) -> Draft:
    """Return the event of an attempt that has ended."""
    request = result.attempt.request
    return outcome_event(
        request.tenant_id,
        result.attempt.trace_id,
        request.request_id,
        entry_hash,
        result.outcome,
        result.reason,
        alert_id=request.alert_id,
        force=request.force,
        **_members(result.known),
    )


def outcome_event(
    tenant_id: str,
    trace_id: str | None,
    request_id: str,
    entry_hash: str | None,
    outcome: Outcome,
    reason: str | None,
    **members: Scalar,
) -> Draft:
    """Return the event with the outcome of an entry's action."""
    return event(
        "execute.outcome",
        tenant_id,
        trace_id,
        execution=request_id,
        entry=entry_hash,
        outcome=outcome,
        reason=reason,
        **members,
    )


def _members(known: Known | None) -> dict[str, Scalar]:
    """Return the members of an event for `known`. A member without a value is left out."""
    if known is None:
        return {}
    members: dict[str, Scalar] = msgspec.structs.asdict(known)
    return {name: value for name, value in members.items() if value is not None}
