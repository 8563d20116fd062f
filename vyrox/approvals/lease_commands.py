"""What the commands of leases do, each in one transaction (contract 68)."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import lease_rows, rows
from vyrox.approvals.approvers import standing
from vyrox.approvals.deciding import may_decide
from vyrox.approvals.display import length
from vyrox.approvals.lease_rows import Lease, utc
from vyrox.approvals.leases import LIFTS
from vyrox.approvals.proposal import CONTAINMENTS, Proposal
from vyrox.approvals.proposing import Wanted, propose
from vyrox.approvals.rules import FOUR_EYES, list_rules
from vyrox.approvals.states import State
from vyrox.store.database import database_time
from vyrox.tenants.freezes import frozen_since


class ListedLease(msgspec.Struct, frozen=True):
    """A containment with an end, as it is listed. Times are Unix seconds.

    Attributes:
        state: What happens at its end, or why that has not happened.
    """

    tenant_id: str
    vendor: str
    device_id: str
    hostname: str | None
    action_type: str
    since: float
    ends_at: float
    state: str
    proposal_id: str


class Asked(msgspec.Struct, frozen=True):
    """A proposal that a command has made, or has found open.

    Attributes:
        ends: When the containment would end, in words; None for a lift.
        required: How many persons must approve.
        approvers: Who may approve it.
    """

    proposal_id: str
    state: State
    action_type: str
    ends: str | None
    required: int
    approvers: Sequence[str]


def list_leases(connection: Connection, tenant_id: str | None, wall: float) -> list[ListedLease]:
    """Return the leases of a tenant, or of all, the first to end first."""
    now = database_time(connection, wall)
    return [
        ListedLease(
            tenant_id=each.tenant_id,
            vendor=each.vendor,
            device_id=each.device_id,
            hostname=each.hostname,
            action_type=each.action_type,
            since=each.since,
            ends_at=each.ends_at,
            state=_state(connection, each, now),
            proposal_id=each.proposal_id,
        )
        for each in lease_rows.list_leases(connection, tenant_id)
    ]


def _state(connection: Connection, lease: Lease, now: float) -> str:
    if now < lease.ends_at:
        return "in force" if lease.postponed_at is None else "in force, postponed once"
    if frozen_since(connection, lease.tenant_id) is not None:
        return "over, waits: the tenant is frozen"
    if lease.last_error is not None:
        return f"over, not lifted yet: {lease.last_error}"
    return "over, to be lifted"


def extend(
    connection: Connection,
    tenant_id: str,
    host: str,
    lease_s: int | None,
    by: str,
    reason: str,
    wall: float,
) -> Asked:
    """Propose the same containment again, with a new end.

    Raises:
        NotFoundError: No lease is of such a device.
        NotPossibleError: Several devices have this name.
        VyroxError: As `propose`.
    """
    lease = lease_rows.require_one(connection, tenant_id, host)
    wanted = Wanted(
        tenant_id=tenant_id,
        alert_id=lease.alert_id.decode(),
        action_type=lease.action_type,
        host=lease.device_id,
        hostname=lease.hostname,
        vendor=lease.vendor,
        device_state=_contained_until(lease),
        lease_s=lease_s,
        requested_by=by,
        reason=reason,
    )
    return _asked(connection, wanted, wall)


def end(
    connection: Connection, tenant_id: str, host: str, by: str, reason: str, wall: float
) -> Asked:
    """Propose to lift a device before its end, which was not approved. Raises as `extend`."""
    lease = lease_rows.require_one(connection, tenant_id, host)
    wanted = Wanted(
        tenant_id=tenant_id,
        alert_id=lease.alert_id.decode(),
        action_type=LIFTS[lease.action_type],
        host=lease.device_id,
        hostname=lease.hostname,
        vendor=lease.vendor,
        device_state=_contained_until(lease),
        requested_by=by,
        reason=reason,
    )
    return _asked(connection, wanted, wall)


def _contained_until(lease: Lease) -> str:
    """Return what the person who decides should know of the device."""
    return f"contained until {utc(lease.ends_at)}"


def _asked(connection: Connection, wanted: Wanted, wall: float) -> Asked:
    proposed = propose(connection, wanted, database_time(connection, wall))
    proposal = rows.require(connection, wanted.tenant_id, proposed.proposal_id).proposal
    return Asked(
        proposal_id=proposal.id,
        state=proposed.state,
        action_type=proposal.action_type,
        ends=_ends(proposal),
        required=proposal.required,
        approvers=_who(connection, proposal),
    )


def _ends(proposal: Proposal) -> str | None:
    if proposal.action_type not in CONTAINMENTS:
        return None
    return f"after {length(proposal.lease_s)}" if proposal.lease_s else "never"


def _who(connection: Connection, proposal: Proposal) -> Sequence[str]:
    has_four_eyes = FOUR_EYES in list_rules(connection, proposal.tenant_id)
    return [
        name
        for name, means in sorted(standing(connection, proposal.tenant_id).items())
        if means and may_decide(proposal, name, "webauthn", has_four_eyes=has_four_eyes)
    ]
