"""Whether a device has a new alert that is not dealt with (contract 68)."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.models import EdrVendor
from vyrox.store.tables import alerts, host_devices, host_names, incidents, verdicts
from vyrox.triage.hosts import clean, short_name

_v: Final = verdicts.c
_i: Final = incidents.c
_d: Final = host_devices.c
_n: Final = host_names.c

# Literally the condition of the index `incidents_open`, so that both databases use it.
_IS_OPEN: Final = sa.text("status != 'closed'")


def has_recent_alert(
    connection: Connection,
    tenant_id: str,
    vendor: EdrVendor,
    device_id: str,
    hostname: str | None,
    after: float,
) -> bool:
    """Return whether an alert of the device came after this time and is in an open incident.

    Args:
        hostname: Alerts that name no device may name the host.
        after: Unix seconds.
    """
    hosts = _hosts(connection, tenant_id, vendor, device_id, hostname)
    if not hosts:
        return False
    opened = sa.select(_i.number).where(_IS_OPEN, _i.tenant_id == tenant_id, _i.updated_at > after)
    query = (
        sa.select(sa.literal(1))
        .join(alerts, alerts.c.id == _v.alert_id)
        .where(
            _v.tenant_id == tenant_id,
            _v.incident.in_(opened),
            _v.host.in_(sorted(hosts)),
            _v.judged_at > after,
            alerts.c.received_at > after,
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None


def _hosts(
    connection: Connection, tenant_id: str, vendor: EdrVendor, device_id: str, hostname: str | None
) -> set[int]:
    """Return the hosts that the device is, or may be by its name."""
    by_device = sa.select(_d.host).where(
        _d.tenant_id == tenant_id, _d.source == vendor, _d.device_id == (clean(device_id) or "")
    )
    found = set(connection.execute(by_device).scalars())
    name = clean(hostname)
    if name is not None:
        by_name = sa.select(_n.host).where(
            _n.tenant_id == tenant_id, _n.short_name == short_name(name)
        )
        found |= set(connection.execute(by_name).scalars())
    return found
