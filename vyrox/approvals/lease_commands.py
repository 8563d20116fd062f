"""What the commands of leases do, each in one transaction (contract 68)."""

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import lease_rows
from vyrox.approvals.asking import Asked
from vyrox.approvals.by_command import propose_wanted
from vyrox.approvals.lease_rows import Lease, utc
from vyrox.approvals.leases import LIFTS
from vyrox.approvals.proposing import Wanted
from vyrox.models import ActionType, LiftType
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
    ttl_s: int,
) -> Asked:
    """Propose the same containment again, with a new end.

    Args:
        ttl_s: How long the proposal may be decided on.

    Raises:
        NotFoundError: No lease is of such a device.
        NotPossibleError: Several devices have this name.
        VyroxError: As `propose`.
    """
    lease = lease_rows.require_one(connection, tenant_id, host)
    wanted = _wanted(lease, lease.action_type, by, reason, lease_s)
    return propose_wanted(connection, wanted, wall, ttl_s)


def end(
    connection: Connection,
    tenant_id: str,
    host: str,
    by: str,
    reason: str,
    wall: float,
    ttl_s: int,
) -> Asked:
    """Propose to lift a device before its end, which was not approved. Raises as `extend`."""
    lease = lease_rows.require_one(connection, tenant_id, host)
    wanted = _wanted(lease, LIFTS[lease.action_type], by, reason)
    return propose_wanted(connection, wanted, wall, ttl_s)


def _wanted(
    lease: Lease,
    action_type: ActionType | LiftType,
    by: str,
    reason: str,
    lease_s: int | None = None,
) -> Wanted:
    return Wanted(
        tenant_id=lease.tenant_id,
        alert_id=lease.alert_id.decode(),
        action_type=action_type,
        host=lease.device_id,
        hostname=lease.hostname,
        vendor=lease.vendor,
        # What the person who decides should know of the device.
        device_state=f"contained until {utc(lease.ends_at)}",
        lease_s=lease_s,
        requested_by=by,
        reason=reason,
    )
