"""The names under which Vyrox has seen a device (contract 35).

Whoever controls a host can rename it, to be covered by a rule for host names, or by none any more.
The earlier names tell an operator which host it is.
"""

import logging
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.store.tables import device_names

MAX_NAMES: Final = 16
"""Of one device. The oldest stay: a host that is renamed again and again cannot push them out."""

MAX_NAME: Final = 256
"""Characters of a name, as of a request's `host`; the rest is cut off."""

_n: Final = device_names.c


class Named(msgspec.Struct, frozen=True):
    """A device against which there is a rule for host names.

    Attributes:
        name: As the vendor has it now; None if it does not tell.
        names_seen: The oldest first.
    """

    device_id: str
    name: str | None
    names_seen: tuple[str, ...]


def remember(
    connection: Connection, tenant_id: str, vendor: str, device_id: str, name: str | None
) -> None:
    """Store that the device has this name now. The caller holds the lock `containments`."""
    # PostgreSQL's text cannot hold a NUL, and a vendor's answer can.
    name = (name or "").replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_NAME]
    seen = find(connection, tenant_id, vendor, device_id)
    if not name or name in seen:
        return
    if len(seen) >= MAX_NAMES:
        newest = device_names.delete().where(_is(tenant_id, vendor, device_id), _n.name == seen[-1])
        connection.execute(newest)
    # Not the number of names: after the deletion, it would be the number of the next one too.
    number = sa.select(sa.func.coalesce(sa.func.max(_n.number), 0) + 1).where(
        _is(tenant_id, vendor, device_id)
    )
    connection.execute(
        device_names.insert().values(
            tenant_id=tenant_id,
            vendor=vendor,
            device_id=device_id,
            name=name,
            number=number.scalar_subquery(),
        )
    )


def find(connection: Connection, tenant_id: str, vendor: str, device_id: str) -> tuple[str, ...]:
    """Return the names under which the device was seen, the oldest first."""
    query = sa.select(_n.name).where(_is(tenant_id, vendor, device_id)).order_by(_n.number)
    return tuple(connection.execute(query).scalars())


def warn(tenant_id: str, rule: str, named: Named) -> None:
    """Log that a rule for host names has refused a containment."""
    log.event(
        "execute.refused_by_name",
        logging.WARNING,
        tenant=tenant_id,
        rule=rule,
        device=named.device_id,
        hostname=named.name,
        names_seen=", ".join(named.names_seen),
    )


def _is(tenant_id: str, vendor: str, device_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_n.tenant_id == tenant_id, _n.vendor == vendor, _n.device_id == device_id)
