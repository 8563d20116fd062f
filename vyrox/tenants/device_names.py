"""The names that each device has had so far (contract 35).

An attacker who controls a host can rename it, so that a rule for host names applies or no longer
applies. With the earlier names, the operator can identify the host.
"""

import logging
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.models import Device, EdrVendor
from vyrox.store.tables import device_names

MAX_NAMES: Final = 16
"""Names stored for one device. The oldest stay: renaming the host many times does not delete them.
"""

MAX_NAME_LENGTH: Final = 256
"""Characters of a name that are stored, as many as the `host` of a request may have."""

_n: Final = device_names.c
_IS_DEVICE: Final = sa.and_(
    _n.tenant_id == sa.bindparam("tenant"),
    _n.vendor == sa.bindparam("of_vendor"),
    _n.device_id == sa.bindparam("device"),
)
# Built once: building a statement takes longer than running it.
_FIND: Final = sa.select(_n.name).where(_IS_DEVICE).order_by(_n.number)
_LAST: Final = sa.select(sa.func.max(_n.number)).where(_IS_DEVICE)
_FORGET: Final = device_names.delete().where(_IS_DEVICE, _n.name == sa.bindparam("forgotten"))


class Named(msgspec.Struct, frozen=True):
    """A device that a rule for host names refuses to contain.

    Attributes:
        name: The vendor's current name of the device, or None.
        names_seen: All names so far, oldest first.
    """

    device_id: str
    name: str | None
    names_seen: tuple[str, ...]


def remember(
    connection: Connection, tenant_id: str, vendor: str, device_id: str, name: str | None
) -> None:
    """Store the device's current name. The caller has the lock `containments`."""
    # PostgreSQL cannot store a NUL in text; a vendor's response may contain one.
    name = (name or "").replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_NAME_LENGTH]
    seen = find(connection, tenant_id, vendor, device_id)
    if not name or name in seen:
        return
    device = _parameters(tenant_id, vendor, device_id)
    if len(seen) >= MAX_NAMES:
        connection.execute(_FORGET, {**device, "forgotten": seen[-1]})
    # The highest number, not the number of names: numbers of deleted names must not repeat.
    last: int | None = connection.execute(_LAST, device).scalar()
    row = {"tenant_id": tenant_id, "vendor": vendor, "device_id": device_id, "name": name}
    connection.execute(device_names.insert(), {**row, "number": (last or 0) + 1})


def find(connection: Connection, tenant_id: str, vendor: str, device_id: str) -> tuple[str, ...]:
    """Return all names that the device has had so far, oldest first."""
    device = _parameters(tenant_id, vendor, device_id)
    return tuple(connection.execute(_FIND, device).scalars())


def find_named(
    connection: Connection, rule: str, tenant_id: str, vendor: EdrVendor | None, device: Device
) -> Named | None:
    """Return the names of a device that `rule` refuses; None if the rule is not for host names."""
    if not rule.startswith("never_contain host:"):
        return None
    seen = () if vendor is None else find(connection, tenant_id, vendor, device.id)
    return Named(device.id, device.hostname, seen)


def warn(tenant_id: str, rule: str, named: Named) -> None:
    """Log that a rule for host names refused a containment."""
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
