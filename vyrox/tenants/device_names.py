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
_IS_DEVICE: Final = sa.and_(
    _n.tenant_id == sa.bindparam("tenant"),
    _n.vendor == sa.bindparam("of_vendor"),
    _n.device_id == sa.bindparam("device"),
)
# Made once: making a statement costs more than running it.
_FIND: Final = sa.select(_n.name).where(_IS_DEVICE).order_by(_n.number)
_LAST: Final = sa.select(sa.func.max(_n.number)).where(_IS_DEVICE)
_FORGET: Final = device_names.delete().where(_IS_DEVICE, _n.name == sa.bindparam("forgotten"))


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
    device = _parameters(tenant_id, vendor, device_id)
    if len(seen) >= MAX_NAMES:
        connection.execute(_FORGET, {**device, "forgotten": seen[-1]})
    last: int | None = connection.execute(_LAST, device).scalar()
    row = {"tenant_id": tenant_id, "vendor": vendor, "device_id": device_id, "name": name}
    connection.execute(device_names.insert(), {**row, "number": (last or 0) + 1})


def find(connection: Connection, tenant_id: str, vendor: str, device_id: str) -> tuple[str, ...]:
    """Return the names under which the device was seen, the oldest first."""
    device = _parameters(tenant_id, vendor, device_id)
    return tuple(connection.execute(_FIND, device).scalars())


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


def _parameters(tenant_id: str, vendor: str, device_id: str) -> dict[str, object]:
    return {"tenant": tenant_id, "of_vendor": vendor, "device": device_id}
