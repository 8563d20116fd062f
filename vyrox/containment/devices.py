"""Devices at the vendors: one action at a time, and whether Vyrox has contained them (contract 36).

Only one action per device runs at a time, in any container: it leases the device's row. Each lease
gets a higher fencing token, so an attempt whose lease has expired cannot write over its successor.
Before the vendor is called, the action's row in `confirmations` is stored. The row of a containment
that was sent, or may have been, stays when it is settled, until the device is lifted: these rows
say which devices Vyrox has contained. The row of any other action goes when it has ended.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.events import event
from vyrox.chain.writer import WorkResult
from vyrox.containment.lease_limit import MAX_AHEAD_S
from vyrox.edr.actions import comment_start
from vyrox.edr.client import Target
from vyrox.models import Device, EdrVendor, normal_host
from vyrox.store.locks import lock
from vyrox.store.tables import confirmations, devices
from vyrox.tenants import device_names
from vyrox.tenants.device_names import MAX_NAME_LENGTH
from vyrox.tenants.freezes import frozen_since

CONFIRM_FIRST_S: Final = 1.0
CONFIRM_FOR_S: Final = 900.0
"""After an action was sent, its effect is looked for: first so soon, and at most for so long."""

Ended = Literal["confirmed", "requested", "failed", "outcome_unknown"]

_d: Final = devices.c
_c: Final = confirmations.c

_IS_CONTAINMENT: Final = sa.and_(_c.target == "contained", _c.is_sent.is_not(False))
"""For the rows of actions that have contained their device, or may have, or are doing it now."""

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
_IS_HELD: Final = sa.select(sa.literal(1)).where(
    _d.tenant_id == sa.bindparam("tenant"),
    _d.vendor == sa.bindparam("of_vendor"),
    _d.device_id == sa.bindparam("device"),
    _d.token == sa.bindparam("its_token"),
    _d.owner == sa.bindparam("its_owner"),
)


class LeaseRequest(msgspec.Struct, frozen=True):
    """What wants to act on a device.

    Attributes:
        owner: The attempt's own, as in its claim.
        entry_hash: Of the audit entry of the attempt.
        lease_until: Unix seconds, as `now`.
        lift_any: Lift it even where Vyrox has not contained it.
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


class Blocked(msgspec.Struct, frozen=True):
    """The device is not given, and will not be: the vendor must not be called."""

    why: str


class DeviceLease(msgspec.Struct, frozen=True):
    """A device in the hands of one attempt, until it ends or its lease does."""

    tenant_id: str
    vendor: EdrVendor
    device_id: str
    entry_hash: str
    target: Target
    token: int


def acquire(
    connection: Connection, holds: Sequence[LeaseRequest]
) -> list[WorkResult[DeviceLease | Blocked | None]]:
    """Give each device to who wants it, with what it may leave behind; None where it is held."""
    lock(connection, "containments")
    return [_acquire(connection, hold) for hold in holds]


def _acquire(
    connection: Connection, hold: LeaseRequest
) -> WorkResult[DeviceLease | Blocked | None]:
    if barred := _blocked(connection, hold):
        return WorkResult(barred)
    parameters = {
        "tenant_id": hold.tenant_id,
        "vendor": hold.vendor,
        "device_id": hold.device.id,
        "hostname": _stored_name(hold.device),
        "owner": hold.owner,
        "lease_until": hold.lease_until,
        "now": hold.now,
        "latest": hold.now + MAX_AHEAD_S,
    }
    token: int | None = connection.execute(sa.text(_ACQUIRE), parameters).scalar()
    if token is None:
        return WorkResult(None)
    device_names.remember(
        connection, hold.tenant_id, hold.vendor, hold.device.id, hold.device.hostname
    )
    held = DeviceLease(
        hold.tenant_id, hold.vendor, hold.device.id, hold.entry_hash, hold.target, token
    )
    connection.execute(
        confirmations.insert().values(
            entry_hash=hold.entry_hash,
            tenant_id=hold.tenant_id,
            vendor=hold.vendor,
            device_id=hold.device.id,
            execution=hold.request_id.encode(),
            target=hold.target,
            reference=None,
            attempts=0,
            # Should nobody tell how it ended, it is looked for when the lease is over.
            next_at=hold.lease_until,
            until_at=hold.lease_until + CONFIRM_FOR_S,
            token=token,
            is_sent=None,
            is_settled=False,
        )
    )
    return WorkResult(held)


def is_held(connection: Connection, held: DeviceLease, owner: str) -> bool:
    """Return whether the device is still the attempt's, and no later one has taken it."""
    parameters = {
        "tenant": held.tenant_id,
        "of_vendor": held.vendor,
        "device": held.device_id,
        "its_token": held.token,
        "its_owner": owner,
    }
    return connection.execute(_IS_HELD, parameters).first() is not None


def _blocked(connection: Connection, hold: LeaseRequest) -> Blocked | None:
    """Return what has come to stand against it since it was claimed."""
    if frozen_since(connection, hold.tenant_id) is not None:
        return Blocked("the tenant has been frozen")
    if hold.target != "lifted" or hold.lift_any:
        return None
    # It was claimed by a name, which may have become another device's.
    contained = sa.select(sa.literal(1)).where(
        _c.tenant_id == hold.tenant_id,
        _c.vendor == hold.vendor,
        _c.device_id == hold.device.id,
        _IS_CONTAINMENT,
    )
    found = connection.execute(contained).first()
    return Blocked("Vyrox has not contained this device") if found is None else None


def _stored_name(device: Device) -> str | None:
    # PostgreSQL's text cannot hold a NUL, and a vendor's answer can. No request names a host by
    # more characters than these.
    name = device.hostname or ""
    return normal_host(name) if name and "\0" not in name and len(name) <= MAX_NAME_LENGTH else None


def release(
    connection: Connection,
    held: DeviceLease,
    ended: Ended,
    reference: str | None,
    changed: bool,
    now: float,
) -> None:
    """Let the device go, and keep of the action what is still to be known.

    Args:
        reference: What the vendor calls the action.
        changed: Whether anything was sent; a device that others have contained is not Vyrox's.
        now: Unix seconds.
    """
    values: dict[str, object] = {"owner": None, "lease_until": 0.0}
    release = devices.update().where(_is(held), _d.token == held.token).values(**values)
    connection.execute(release)
    if not changed:
        # A check may have taken it for the action that contained the device.
        mine = sa.and_(_c.entry_hash == held.entry_hash, _c.is_settled)
        connection.execute(confirmations.delete().where(mine))
    if ended == "failed":
        fail(connection, held.entry_hash)
    elif ended != "confirmed":
        connection.execute(
            confirmations.update()
            .where(_c.entry_hash == held.entry_hash, ~_c.is_settled)
            .values(
                reference=reference,
                next_at=now + CONFIRM_FIRST_S,
                until_at=now + CONFIRM_FOR_S,
                is_sent=changed,
            )
        )
    else:
        confirm(connection, held, is_sent=changed, reference=reference)


def abandon(connection: Connection, tenant_id: str, owner: str, entry_hash: str) -> None:
    """Undo what a `take` left behind whose commit was not seen: its attempt sent nothing."""
    fail(connection, entry_hash)
    connection.execute(
        devices.update()
        .where(_d.tenant_id == tenant_id, _d.owner == owner)
        .values(owner=None, lease_until=0.0)
    )


def confirm(
    connection: Connection, held: DeviceLease, *, is_sent: bool | None, reference: str | None
) -> None:
    """Store that the device is in the target state, and stop checking.

    Nothing is changed if the action is settled: it was confirmed before, or a later action was.

    Args:
        is_sent: Whether this action was sent; None if that is not known, as its attempt has not
            ended. An action that was certainly sent ends the checks of the earlier ones.
        reference: What the vendor calls the action.
    """
    if not _settle(connection, held, is_sent, reference) or held.target == "killed":
        return
    earlier = sa.and_(
        _c.tenant_id == held.tenant_id,
        _c.vendor == held.vendor,
        _c.device_id == held.device_id,
        _c.target != "killed",
        _c.token < held.token,
    )
    if held.target == "lifted":
        # An earlier containment that is pending may yet arrive, unless this lift came after it.
        gone = earlier if is_sent else sa.and_(earlier, _c.is_settled)
        connection.execute(confirmations.delete().where(gone))
    elif is_sent:
        # The device may be contained by the earlier containments too.
        connection.execute(confirmations.delete().where(earlier, ~_IS_CONTAINMENT))
        kept = confirmations.update().where(earlier, ~_c.is_settled)
        connection.execute(kept.values(is_settled=True))


def stop_checking(
    connection: Connection, held: DeviceLease, *, is_sent: bool | None, reference: str | None
) -> None:
    """Stop checking. A containment that was sent, or may have been, may have succeeded."""
    _settle(connection, held, is_sent, reference)


def _settle(
    connection: Connection, held: DeviceLease, is_sent: bool | None, reference: str | None
) -> bool:
    """Stop checking an action; return False if it is settled already."""
    is_pending = sa.and_(_c.entry_hash == held.entry_hash, ~_c.is_settled)
    if held.target == "contained" and is_sent is not False:
        values = {"is_settled": True, "is_sent": is_sent, "reference": reference}
        keep = confirmations.update().where(is_pending).values(**values)
        return connection.execute(keep).rowcount == 1
    return connection.execute(confirmations.delete().where(is_pending)).rowcount == 1


def fail(connection: Connection, entry_hash: str) -> None:
    """Delete the row of an action that has changed nothing, even if a check has settled it."""
    connection.execute(confirmations.delete().where(_c.entry_hash == entry_hash))


def is_latest() -> sa.ColumnElement[bool]:
    """Return the condition for pending actions without a later pending one on the device.

    While the later action is in progress or pending, the state of the device says nothing about the
    earlier one. If the later one fails, the earlier one is checked again.
    """
    later = confirmations.alias("later")
    has_later = sa.exists().where(
        later.c.tenant_id == _c.tenant_id,
        later.c.vendor == _c.vendor,
        later.c.device_id == _c.device_id,
        later.c.target != "killed",
        later.c.token > _c.token,
        ~later.c.is_settled,
    )
    return sa.and_(~_c.is_settled, sa.or_(_c.target == "killed", ~has_later))


def is_contained(
    connection: Connection, tenant_id: str, vendor: EdrVendor | None, host: str
) -> bool:
    """Return whether Vyrox has contained, or may have, the device that `host` names."""
    name = normal_host(host)
    query = sa.select(sa.literal(1)).where(
        _d.tenant_id == tenant_id,
        _d.vendor == vendor,
        sa.or_(_d.device_id == name, _d.hostname == name),
        _has_containment(),
    )
    # PostgreSQL's text cannot hold a NUL, and no vendor's identifier has one.
    return "\0" not in host and connection.execute(query).first() is not None


def list_contained(connection: Connection, tenant_id: str) -> list[tuple[str, str, str | None]]:
    """Return (vendor, device id, host name) of all that Vyrox has contained, or may have."""
    query = (
        sa.select(_d.vendor, _d.device_id, _d.hostname)
        .where(_d.tenant_id == tenant_id, _has_containment())
        .order_by(_d.vendor, _d.device_id)
    )
    return [(row.vendor, row.device_id, row.hostname) for row in connection.execute(query)]


def _has_containment() -> sa.ColumnElement[bool]:
    return sa.exists().where(
        _c.tenant_id == _d.tenant_id,
        _c.vendor == _d.vendor,
        _c.device_id == _d.device_id,
        _IS_CONTAINMENT,
    )


def is_others(
    connection: Connection, tenant_id: str, vendor: EdrVendor | None, device: Device
) -> bool:
    """Return whether the vendor's record shows that others contain a device that Vyrox contained.

    Vyrox's own containments are known by their references. If the vendor's response was lost there
    is none, and the comment that Vyrox sent tells. A row that was a mark has no request either.
    """
    query = sa.select(_c.reference, _c.execution).where(
        _c.tenant_id == tenant_id,
        _c.vendor == vendor,
        _c.device_id == device.id,
        _IS_CONTAINMENT,
    )
    rows = connection.execute(query).all()
    references = {row.reference for row in rows}
    comments = tuple(comment_start(row.execution.decode()) for row in rows if row.reference is None)
    return bool(rows) and any(
        each.reference not in references and not (each.comment or "").startswith(comments)
        for each in device.contained_by
    )


def outcome_event(
    tenant_id: str,
    trace_id: str | None,
    request_id: str,
    entry_hash: str | None,
    outcome: str,
    reason: str | None,
    **members: Scalar,
) -> Draft:
    """Return the event that tells what became of an entry's action."""
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


def _is(held: DeviceLease) -> sa.ColumnElement[bool]:
    return sa.and_(
        _d.tenant_id == held.tenant_id,
        _d.vendor == held.vendor,
        _d.device_id == held.device_id,
    )
