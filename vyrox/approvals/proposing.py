"""Proposing an action, and taking a proposal back (contract 62, A1, A13 and A18)."""

from functools import partial
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection

from vyrox import tracing
from vyrox.approvals import events, lease_rows, rows
from vyrox.approvals.display import display
from vyrox.approvals.proposal import (
    CONTAINMENTS,
    DEFAULT_LEASE_S,
    Process,
    Proposal,
    Reason,
    Required,
    Text,
    canonical,
    new_nonce,
    parse,
)
from vyrox.approvals.rows import StoredProposal
from vyrox.approvals.rules import list_rules, needs_two
from vyrox.approvals.states import DISPATCH_S, OPEN
from vyrox.chain.writer import append
from vyrox.containment.responder import Responder, find_responders
from vyrox.edr.actions import why_unsupported
from vyrox.errors import (
    ActionNotSupportedError,
    InvalidRequestError,
    NotFoundError,
    NotPossibleError,
)
from vyrox.ids import new_id
from vyrox.models import ActionType, ContainmentRequest, Device, EdrVendor, LiftType, Words
from vyrox.store.committed import after_commit
from vyrox.store.locks import lock
from vyrox.tenants.known import is_known

MAX_OPEN: Final = 1000
"""How many proposals of a tenant may be open."""

MAX_ONE_PERSON_LEASE_S: Final = 86_400
"""A containment that lasts longer, or has no end, needs two persons (A18)."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller proposes.

    Attributes:
        vendor: If it is given, it must be the one that Vyrox would call.
        lease_s: After how many seconds a containment ends; 0 means no end. None: after 4 h.
        expires_at: Earlier than the service's setting from now; a later time has no effect.
        required: More persons than A18 asks for; fewer have no effect.
    """

    tenant_id: Text
    alert_id: Words
    action_type: ActionType | LiftType
    host: Words
    requested_by: Words
    reason: Reason
    vendor: EdrVendor | None = None
    hostname: Text | None = None
    process: Process | None = None
    device_state: Text | None = None
    lease_s: int | None = None
    expires_at: int | None = None
    required: Required = 1


class Proposed(msgspec.Struct, frozen=True):
    """The response to the caller.

    Attributes:
        state: Of the proposal, when it was made or found.
    """

    proposal_id: str
    proposal_sha256: str
    expires_at: int
    state: Literal["pending", "approved"]


def propose(
    connection: Connection,
    wanted: Wanted,
    now: float,
    ttl_s: int,
    request_id: str | None = None,
) -> Proposed:
    """Store a proposal with its event, or count a repeat of one that is open (A13).

    Args:
        now: Unix seconds.
        ttl_s: How long it may be decided on.
        request_id: Of the HTTP request, for the event.

    Raises:
        NotFoundError: The tenant is not known.
        InvalidRequestError: A value is not one that can be proposed.
        ActionNotSupportedError: The vendor cannot do the action.
        NotPossibleError: The tenant has MAX_OPEN open proposals.
    """
    began = tracing.now()
    lock(connection, "containments")
    if not is_known(connection, wanted.tenant_id):
        raise NotFoundError(f"there is no tenant {wanted.tenant_id}")
    proposal = _made(connection, wanted, now, ttl_s)
    text = _text(proposal)
    for earlier in rows.find_open(connection, proposal.tenant_id, rows.place_of(proposal)):
        if earlier.state_at(now) in OPEN:
            rows.note_repeat(connection, earlier.id)
            return _proposed(earlier, now)
    if rows.count_open(connection, proposal.tenant_id, now) >= MAX_OPEN:
        raise NotPossibleError(f"{proposal.tenant_id} has {MAX_OPEN} open proposals")
    stored = rows.insert(connection, proposal, text)
    append(connection, [events.proposed(stored, request_id)], now)
    trace = partial(
        tracing.record,
        "proposal",
        proposal.alert_id,
        began,
        vendor=proposal.vendor,
        tenant=proposal.tenant_id,
        request_id=request_id,
        action=proposal.action_type,
    )
    after_commit(connection, trace)
    return _proposed(stored, now)


def preview(connection: Connection, wanted: Wanted, now: float, ttl_s: int) -> Proposal:
    """Return the proposal that `propose` would store now. Raises as it."""
    if not is_known(connection, wanted.tenant_id):
        raise NotFoundError(f"there is no tenant {wanted.tenant_id}")
    return _made(connection, wanted, now, ttl_s)


def withdraw(
    connection: Connection, tenant_id: str, proposal_id: str, by: str, now: float
) -> StoredProposal:
    """Take back a proposal on which no decision is complete, with an event.

    Raises:
        NotFoundError: The tenant has no such proposal.
        NotPossibleError: It is not pending any more.
    """
    lock(connection, "containments")
    stored = rows.require(connection, tenant_id, proposal_id)
    state = stored.state_at(now)
    if state != "pending":
        raise NotPossibleError(f"the proposal is {state}")
    rows.change_state(connection, proposal_id, "pending", "withdrawn", now, f"by {by}")
    append(connection, [events.ended(stored, "withdrawn", None, by)], now)
    return rows.require(connection, tenant_id, proposal_id)


def supersede(connection: Connection, stored: StoredProposal, why: str, now: float) -> bool:
    """End a proposal of Vyrox that nothing suggests any more, with an event.

    Return False if it is not pending any more. The caller has the lock `containments`.
    """
    if stored.state_at(now) != "pending":
        return False
    rows.change_state(connection, stored.id, "pending", "superseded", now, why)
    append(connection, [events.ended(stored, "superseded", why)], now)
    return True


def _proposed(stored: StoredProposal, now: float) -> Proposed:
    state = stored.state_at(now)
    assert state in {"pending", "approved"}  # noqa: S101  (the callers have checked it)
    return Proposed(stored.id, stored.sha256, int(stored.expires_at), state)


def _made(connection: Connection, wanted: Wanted, now: float, ttl_s: int) -> Proposal:
    """Return the proposal that is wanted, checked."""
    proposal_id = new_id()
    request = ContainmentRequest(
        request_id=proposal_id,
        tenant_id=wanted.tenant_id,
        alert_id=wanted.alert_id,
        action_type=wanted.action_type,
        host=wanted.host,
        approved_by="",
        approved_at=0,
    )
    [responder] = find_responders(connection, [request])
    vendor = _checked_vendor(wanted, responder)
    _check_what_is_not_built(wanted)
    created_at = int(now)
    latest = created_at + ttl_s
    expires_at = min(latest, latest if wanted.expires_at is None else wanted.expires_at)
    if expires_at <= created_at:
        raise InvalidRequestError("expires_at is in the past")
    lease_s = _lease_s(wanted)
    since = lease_rows.contained_since(connection, wanted.tenant_id, vendor, wanted.host)
    # The new lease begins at the dispatch, which is not later than this.
    in_all_s = lease_s if since is None else expires_at + DISPATCH_S + lease_s - since
    rules = list_rules(connection, wanted.tenant_id)
    # Only the vendor knows the tags, so a rule about a tag applies.
    device = Device(wanted.host, wanted.hostname, None)
    return Proposal(
        id=proposal_id,
        tenant_id=wanted.tenant_id,
        alert_id=wanted.alert_id,
        vendor=vendor,
        action_type=wanted.action_type,
        host=wanted.host,
        hostname=wanted.hostname,
        process=_process(wanted, responder),
        device_state=wanted.device_state,
        lease_s=lease_s,
        requested_by=wanted.requested_by,
        reason=wanted.reason,
        created_at=created_at,
        expires_at=expires_at,
        required=max(
            wanted.required,
            2 if is_long(wanted.action_type, lease_s, in_all_s) or needs_two(rules, device) else 1,
        ),
        nonce=new_nonce(),
    )


def is_long(action_type: str, lease_s: int, in_all_s: float) -> bool:
    """Return whether a containment has no end, or lasts more than 24 h in all (A18).

    Args:
        in_all_s: From when the device was contained until the lease ends.
    """
    return action_type in CONTAINMENTS and (lease_s == 0 or in_all_s > MAX_ONE_PERSON_LEASE_S)


def _lease_s(wanted: Wanted) -> int:
    is_containment = wanted.action_type in CONTAINMENTS
    if wanted.lease_s is None:
        return DEFAULT_LEASE_S if is_containment else 0
    if wanted.lease_s != 0 and not is_containment:
        raise InvalidRequestError(
            "only a containment ends by itself: lease_s must be 0 or left out"
        )
    return wanted.lease_s


def _checked_vendor(wanted: Wanted, responder: Responder) -> EdrVendor:
    vendor = responder.vendor
    if vendor is None:
        raise InvalidRequestError("neither the alert nor the credentials name one vendor")
    if wanted.vendor not in {None, vendor}:
        raise InvalidRequestError(f"Vyrox would call {vendor}")
    if reason := why_unsupported(vendor, wanted.action_type, responder.alert):
        raise ActionNotSupportedError(reason)
    return vendor


def _check_what_is_not_built(wanted: Wanted) -> None:
    """Refuse what a person would read and approve, and Vyrox could not keep to yet."""
    process = wanted.process
    if process is not None and (process.id is not None or process.start is not None):
        raise InvalidRequestError("a process has a name only: Vyrox does not compare the rest yet")


def _process(wanted: Wanted, responder: Responder) -> Process | None:
    """Return the process that a kill will hit, as the alert names it."""
    if wanted.action_type != "PROCESS_KILL":
        if wanted.process is not None:
            raise InvalidRequestError("only a kill names a process")
        return None
    alert = responder.alert
    name = None if alert is None else alert.process_name
    if wanted.process is not None and wanted.process.name != name:
        raise InvalidRequestError("the alert names another process, or none")
    return None if not name else Process(name)


def _text(proposal: Proposal) -> bytes:
    """Return the text of a proposal that can be read back and displayed."""
    try:
        text = canonical(proposal)
        parse(text)
        display(proposal)
    except ValueError as exc:
        raise InvalidRequestError(str(exc)) from exc
    return text
