"""Leases of devices (contract 36).

Only one action per device runs at a time, in any container: it leases the device's row. Each lease
gets a higher fencing token, so an attempt whose lease has expired cannot change what a later
attempt has stored.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.writer import WorkResult
from vyrox.containment import contained, settlement
from vyrox.containment.attempt import Approval, DeviceLease, Outcome, Sent
from vyrox.containment.lease_limit import MAX_AHEAD_S
from vyrox.edr.client import Target
from vyrox.models import Device, EdrVendor, normal_host
from vyrox.store.locks import lock
from vyrox.store.tables import devices
from vyrox.tenants import device_names
from vyrox.tenants.device_names import MAX_NAME_LENGTH
from vyrox.tenants.freezes import frozen_since

CONFIRM_FIRST_S: Final = 1.0
"""Time from the end of an attempt to the first check of its action."""

CONFIRM_FOR_S: Final = 900.0
"""Time from the end of an attempt to the last check of its action."""

_d: Final = devices.c

_ACQUIRE: Final = """
INSERT INTO devices (tenant_id, vendor, device_id, hostname, owner, lease_until, token)
VALUES (:tenant_id, :vendor, :device_id, :hostname, :owner, :lease_until, 1)
ON CONFLICT (tenant_id, vendor, device_id) DO UPDATE
SET owner = excluded.owner, lease_until = excluded.lease_until, hostname = excluded.hostname,
    token = devices.token + 1
WHERE devices.owner IS NULL OR devices.lease_until <= :now OR devices.lease_until > :latest
RETURNING token
"""

# Made once: making a statement costs more than running it.
_IS_LEASED: Final = sa.select(sa.literal(1)).where(
    _d.tenant_id == sa.bindparam("tenant"),
    _d.vendor == sa.bindparam("of_vendor"),
    _d.device_id == sa.bindparam("device"),
    _d.token == sa.bindparam("its_token"),
    _d.owner == sa.bindparam("its_owner"),
)


class LeaseRequest(msgspec.Struct, frozen=True):
    """The wish of an attempt to act on a device.

    Attributes:
        owner: The token of the attempt, as in its claim.
        entry_hash: Of the attempt's audit entry.
        lease_until: Unix seconds, like `now`.
        lift_any: Whether to lift a device that Vyrox has not contained.
        approved: What would be sent, and the proposal that approves it, if there is one.
    """

    tenant_id: str
    vendor: EdrVendor
    device: Device
    request_id: str
    owner: str
    entry_hash: str
    target: Target
    lease_until: float
    now: float
    lift_any: bool = False
    approved: tuple[Approval, Sent] | None = None


class Blocked(msgspec.Struct, frozen=True):
    """The lease is refused for good: the vendor must not be called."""

    why: str


def acquire(
    connection: Connection, requests: Sequence[LeaseRequest]
) -> list[WorkResult[DeviceLease | Blocked | None]]:
    """Lease each device and store its action. Return None for a device that is leased already."""
    lock(connection, "containments")
    return [WorkResult(_acquire(connection, request)) for request in requests]


def _acquire(connection: Connection, request: LeaseRequest) -> DeviceLease | Blocked | None:
    if blocked := _blocked(connection, request):
        return blocked
    tenant_id, vendor, device = request.tenant_id, request.vendor, request.device
    parameters = {
        "tenant_id": tenant_id,
        "vendor": vendor,
        "device_id": device.id,
        "hostname": storable_name(device),
        "owner": request.owner,
        "lease_until": request.lease_until,
        "now": request.now,
        "latest": request.now + MAX_AHEAD_S,
    }
    token: int | None = connection.execute(sa.text(_ACQUIRE), parameters).scalar()
    if token is None:
        return None
    device_names.remember(connection, tenant_id, vendor, device.id, device.hostname)
    lease = DeviceLease(tenant_id, vendor, device.id, request.entry_hash, request.target, token)
    if request.approved is not None:
        request.approved[0].note_device(connection, lease, device, request.now)
    # If the attempt never ends, its action is checked when the lease has expired.
    settlement.add_pending(
        connection,
        lease,
        request.request_id,
        next_at=request.lease_until,
        until_at=request.lease_until + CONFIRM_FOR_S,
    )
    return lease


def is_leased(connection: Connection, lease: DeviceLease, owner: str) -> bool:
    """Return whether no later attempt has leased the device."""
    parameters = {
        "tenant": lease.tenant_id,
        "of_vendor": lease.vendor,
        "device": lease.device_id,
        "its_token": lease.token,
        "its_owner": owner,
    }
    return connection.execute(_IS_LEASED, parameters).first() is not None


def _blocked(connection: Connection, request: LeaseRequest) -> Blocked | None:
    """Return why the action is not allowed any more, or None."""
    if frozen_since(connection, request.tenant_id) is not None:
        return Blocked("the tenant has been frozen")
    if request.approved is not None:
        # A device that is in the target state already gets no call, so this is its only check.
        approval, sent = request.approved
        reason = approval.find_objection(connection, sent, request.now, is_begun=True)
        if reason is not None:
            return Blocked(reason)
    if request.target != "lifted" or request.lift_any:
        return None
    # The claim checked the host name. Since then, another device may have got this name.
    if contained.is_device_contained(
        connection, request.tenant_id, request.vendor, request.device.id
    ):
        return None
    return Blocked("Vyrox has not contained this device")


def storable_name(device: Device) -> str | None:
    """Return the device's name in the form that is stored, or None if it has none."""
    # A vendor's response can contain a NUL, which PostgreSQL's text cannot store. A longer name
    # than this cannot be in a request.
    name = device.hostname or ""
    return normal_host(name) if name and "\0" not in name and len(name) <= MAX_NAME_LENGTH else None


def release(
    connection: Connection,
    lease: DeviceLease,
    outcome: Outcome,
    reference: str | None,
    changed: bool,
    now: float,
) -> None:
    """Release the device, and settle its action or schedule its checks.

    Args:
        reference: The vendor's id of the action.
        changed: Whether the action was sent. If not, Vyrox has not contained the device.
        now: Unix seconds.
    """
    _release(connection, _is(lease), _d.token == lease.token)
    if not changed:
        settlement.delete_settled(connection, lease.entry_hash)
    if outcome == "failed":
        settlement.fail(connection, lease.entry_hash)
    elif outcome == "confirmed":
        settlement.confirm(connection, lease, is_sent=changed, reference=reference)
    else:
        settlement.schedule_checks(
            connection,
            lease,
            is_sent=changed,
            reference=reference,
            next_at=now + CONFIRM_FIRST_S,
            until_at=now + CONFIRM_FOR_S,
        )


def abandon(connection: Connection, tenant_id: str, owner: str, entry_hash: str) -> None:
    """Undo an `acquire` whose commit the attempt has not seen. The attempt has sent nothing."""
    settlement.fail(connection, entry_hash)
    _release(connection, _d.tenant_id == tenant_id, _d.owner == owner)


def _release(connection: Connection, *conditions: sa.ColumnElement[bool]) -> None:
    connection.execute(devices.update().where(*conditions).values(owner=None, lease_until=0.0))


def _is(lease: DeviceLease) -> sa.ColumnElement[bool]:
    return sa.and_(
        _d.tenant_id == lease.tenant_id,
        _d.vendor == lease.vendor,
        _d.device_id == lease.device_id,
    )
