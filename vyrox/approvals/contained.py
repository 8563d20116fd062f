"""The devices that Vyrox has contained, with the ends of their leases (contract 77)."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import lease_rows
from vyrox.containment.contained import IS_CONTAINMENT
from vyrox.store.tables import confirmations, devices, leases

_c: Final = confirmations.c
_d: Final = devices.c
_l: Final = leases.c

_DEVICE: Final = ("tenant_id", "vendor", "device_id")
"""The columns that identify a device."""


class Contained(msgspec.Struct, frozen=True):
    """A device that Vyrox has contained, or may have.

    Attributes:
        ends_at: The end of its lease; None: it has no end.
        trouble: Why the end did not work, or waits.
    """

    tenant_id: str
    vendor: str
    device_id: str
    hostname: str | None
    ends_at: float | None
    trouble: str | None

    @property
    def name(self) -> str:
        """What people call the device."""
        return self.hostname or self.device_id


def list_contained(
    connection: Connection, tenant_ids: Sequence[str], limit: int
) -> list[Contained]:
    """Return the contained devices of some tenants, the first to end first."""
    own = leases.alias("own").c
    newest = (
        sa.select(own.proposal_id)
        .where(*(own[name] == _d[name] for name in _DEVICE))
        .order_by(own.token.desc())
        .limit(1)
        .correlate(devices)
        .scalar_subquery()
    )
    contained = (
        sa.select(*(_c[name] for name in _DEVICE))
        .where(_c.tenant_id.in_(tenant_ids), IS_CONTAINMENT)
        .group_by(*(_c[name] for name in _DEVICE))
        .subquery()
    )
    is_it = sa.and_(*(_d[name] == contained.c[name] for name in _DEVICE))
    query = (
        sa.select(_d.tenant_id, _d.vendor, _d.device_id, _d.hostname, _l.proposal_id)
        .select_from(contained)
        .join(devices, is_it)
        .outerjoin(leases, _l.proposal_id == newest)
        .order_by(_l.ends_at.is_(None), _l.ends_at, _d.tenant_id, _d.vendor, _d.device_id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    ids = [row.proposal_id for row in rows if row.proposal_id is not None]
    by_id = {
        each.proposal_id: each for each in lease_rows.select(connection, _l.proposal_id.in_(ids))
    }
    return [
        Contained(
            tenant_id=row.tenant_id,
            vendor=row.vendor,
            device_id=row.device_id,
            hostname=row.hostname,
            ends_at=None if row.proposal_id not in by_id else by_id[row.proposal_id].ends_at,
            trouble=_trouble(by_id.get(row.proposal_id)),
        )
        for row in rows
    ]


def _trouble(lease: lease_rows.Lease | None) -> str | None:
    if lease is None:
        return None
    if lease.waits_since is not None:
        return "its time is over, but the tenant is frozen: it stays contained"
    if lease.last_error is not None:
        return f"lifting it has failed, and is tried again: {lease.last_error}"
    return None
