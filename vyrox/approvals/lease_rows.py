"""The rows of containments that end by themselves (contract 68, A19).

A row is stored in the transaction that leases the device for the containment, before the vendor is
called. So no crash leaves a containment without its end. `containment.settlement` deletes the row
if the containment fails, or if a later containment of the device replaces it. A row whose device
Vyrox does not contain any more is deleted by `leases`.
"""

from collections.abc import Sequence
from typing import Final, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.proposal import Proposal
from vyrox.clock import utc_text
from vyrox.containment.attempt import DeviceLease
from vyrox.containment.contained import is_device_contained
from vyrox.containment.devices import storable_name
from vyrox.errors import NotFoundError, NotPossibleError
from vyrox.models import ActionType, Device, EdrVendor, normal_host
from vyrox.store.tables import leases

_l: Final = leases.c


class Lease(msgspec.Struct, frozen=True):
    """A containment with an end. Times are Unix seconds.

    Attributes:
        proposal_id: Of the containment.
        sha256: The `proposal_sha256`, which the audit entry of the lift names.
        entry_hash: Of the containment's audit entry.
        token: Higher than that of every earlier action on the device.
        since: When Vyrox contained the device. Extensions do not change it.
        postponed_at: When the end was postponed, which happens once.
        asked_at: When the approvers were asked about the end.
        waits_since: Since when the end is over and the tenant is frozen.
        attempts: How often the lift was begun.
        next_at: When the lift may begin again.
        last_error: Why the newest attempt has failed; None if it has not, or is in progress.
    """

    proposal_id: str
    tenant_id: str
    vendor: EdrVendor
    device_id: str
    hostname: str | None
    action_type: ActionType
    alert_id: bytes
    sha256: str
    entry_hash: str
    token: int
    lease_s: int
    since: float
    began_at: float
    ends_at: float
    postponed_at: float | None = None
    asked_at: float | None = None
    waits_since: float | None = None
    attempts: int = 0
    next_at: float = 0.0
    last_error: str | None = None

    @property
    def name(self) -> str:
        """What people call the device."""
        return self.hostname or self.device_id


_COLUMNS: Final = [_l[name] for name in Lease.__struct_fields__]


def insert(
    connection: Connection,
    proposal: Proposal,
    sha256: str,
    lease: DeviceLease,
    device: Device,
    now: float,
) -> None:
    """Store the end of a containment that is about to be sent.

    Args:
        lease: Of the device.
    """
    since = since_of_device(connection, lease.tenant_id, lease.vendor, lease.device_id)
    row = Lease(
        proposal_id=proposal.id,
        tenant_id=lease.tenant_id,
        vendor=lease.vendor,
        device_id=lease.device_id,
        hostname=storable_name(device),
        action_type=cast("ActionType", proposal.action_type),
        alert_id=proposal.alert_id.encode(),
        sha256=sha256,
        entry_hash=lease.entry_hash,
        token=lease.token,
        lease_s=proposal.lease_s,
        since=now if since is None else min(since, now),
        began_at=now,
        ends_at=now + proposal.lease_s,
    )
    connection.execute(leases.insert().values(msgspec.structs.asdict(row)))


def list_leases(connection: Connection, tenant_id: str | None) -> Sequence[Lease]:
    """Return the leases of a tenant, or of all, the first to end first."""
    return select(connection, *([] if tenant_id is None else [_l.tenant_id == tenant_id]))


def select(connection: Connection, *conditions: sa.ColumnElement[bool]) -> Sequence[Lease]:
    """Return the leases for which the conditions hold, the first to end first."""
    query = sa.select(*_COLUMNS).where(*conditions).order_by(_l.ends_at, _l.proposal_id)
    return [Lease(*row) for row in connection.execute(query)]


def utc(moment: float) -> str:
    """Return a time as people read it."""
    return f"{utc_text(moment, '%Y-%m-%d %H:%M')} UTC"


def find_ends(connection: Connection, tenant_id: str) -> dict[tuple[str, str], float]:
    """Return by vendor and device id when the tenant's containments end."""
    found = sorted(list_leases(connection, tenant_id), key=lambda each: each.token)
    return {(each.vendor, each.device_id): each.ends_at for each in found}


def find(connection: Connection, proposal_id: str) -> Lease | None:
    """Return the lease that the proposal has begun, if it is not over."""
    row = connection.execute(sa.select(*_COLUMNS).where(_l.proposal_id == proposal_id)).first()
    return None if row is None else Lease(*row)


def require_one(connection: Connection, tenant_id: str, host: str) -> Lease:
    """Return the lease of the tenant's device with this id or name, for the command line.

    Raises:
        NotFoundError: No lease is of such a device.
        NotPossibleError: Several devices have this name.
    """
    name = normal_host(host)
    found = [
        each
        for each in list_leases(connection, tenant_id)
        if name in {normal_host(each.device_id), each.hostname}
    ]
    if not found:
        raise NotFoundError(
            f"{tenant_id} has no lease of {host[:64]}; see: vyrox lease list {tenant_id}"
        )
    if len({(each.vendor, each.device_id) for each in found}) > 1:
        raise NotPossibleError(f"several devices are called {host[:64]}: give the device id")
    return max(found, key=lambda each: each.token)


def change(connection: Connection, proposal_id: str, **values: float | str | None) -> None:
    """Change columns of a lease."""
    connection.execute(leases.update().where(_l.proposal_id == proposal_id).values(**values))


def delete(connection: Connection, proposal_id: str) -> None:
    """Delete a lease that is over."""
    connection.execute(leases.delete().where(_l.proposal_id == proposal_id))


def since_of_device(
    connection: Connection,
    tenant_id: str,
    vendor: EdrVendor,
    device_id: str,
    but: str | None = None,
) -> float | None:
    """Return since when Vyrox contains a device that has a lease, or None.

    Args:
        but: The proposal whose lease does not count.
    """
    query = sa.select(sa.func.min(_l.since)).where(
        _l.tenant_id == tenant_id, _l.vendor == vendor, _l.device_id == device_id
    )
    if but is not None:
        query = query.where(_l.proposal_id != but)
    since: float | None = connection.execute(query).scalar()
    if since is None or not is_device_contained(connection, tenant_id, vendor, device_id):
        return None
    return since


def contained_since(
    connection: Connection, tenant_id: str, vendor: EdrVendor, host: str
) -> float | None:
    """Return the earliest `since_of_device` of the devices with this id or name."""
    name = normal_host(host)
    if "\0" in name:  # PostgreSQL's text cannot store it, and no device has it
        return None
    query = sa.select(_l.device_id).where(
        _l.tenant_id == tenant_id,
        _l.vendor == vendor,
        sa.or_(_l.device_id == name, _l.device_id == host, _l.hostname == name),
    )
    found = [
        since_of_device(connection, tenant_id, vendor, device_id)
        for device_id in set(connection.execute(query).scalars())
    ]
    return min((each for each in found if each is not None), default=None)
