"""What triage knows of one host: names, ids at each vendor, incidents (contract 78)."""

from typing import Final, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import NotFoundError
from vyrox.models import Vendor
from vyrox.store.tables import alerts, host_devices, host_names, incident_keys, incidents, verdicts
from vyrox.triage import rows
from vyrox.triage.hosts import DeviceRow, NameRow, clean, short_name
from vyrox.triage.incident_list import ListedIncident, listed

MAX_NAMES: Final = 50
MAX_INCIDENTS: Final = 20
MAX_USERS: Final = 20

_MAX_READ: Final = 200
"""The newest alerts of a host in which its users are searched."""

_MAX_HOSTS: Final = 20

_d: Final = host_devices.c
_n: Final = host_names.c
_k: Final = incident_keys.c
_i: Final = incidents.c
_a: Final = alerts.c
_v: Final = verdicts.c


class KnownHost(msgspec.Struct, frozen=True, kw_only=True):
    """One host of a tenant. Times are Unix seconds.

    Attributes:
        number: The tenant's own number of the host.
        names: With the newest first.
        devices: Its ids at each vendor.
        users: Of its newest alerts.
        incidents: The newest first.
    """

    tenant_id: str
    number: int
    names: tuple[NameRow, ...]
    devices: tuple[DeviceRow, ...]
    first_at: float | None
    last_at: float | None
    users: tuple[str, ...]
    incidents: tuple[ListedIncident, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        if self.names:
            return self.names[0].name
        return self.devices[0].device_id if self.devices else f"host {self.number}"


def find_hosts(connection: Connection, tenant_id: str, text: str) -> list[int]:
    """Return the numbers of the hosts that have this name or device id, or this number.

    A name may be that of several hosts. The list may be empty.
    """
    if text.isascii() and text.isdecimal() and len(text) < 18:
        number = int(text)
        own = (
            sa.select(_d.host).where(_d.tenant_id == tenant_id, _d.host == number),
            sa.select(_n.host).where(_n.tenant_id == tenant_id, _n.host == number),
        )
        if any(connection.execute(query.limit(1)).first() for query in own):
            return [number]
    name = clean(text)
    if name is None:
        return []
    by_id = sa.select(_d.host).where(
        _d.tenant_id == tenant_id, _d.source.in_(get_args(Vendor)), _d.device_id == name
    )
    by_name = sa.select(_n.host).where(
        _n.tenant_id == tenant_id,
        _n.short_name == short_name(name),
        _n.name.in_({name, short_name(name)}),
    )
    found = {*connection.execute(by_id).scalars(), *connection.execute(by_name).scalars()}
    return sorted(found)[:_MAX_HOSTS]


def find_device_ids(
    connection: Connection, tenant_id: str, name: str, limit: int
) -> tuple[str, ...]:
    """Return at most `limit` ids at vendors of the hosts that have this name."""
    hosts = find_hosts(connection, tenant_id, name)
    query = sa.select(_d.device_id).where(_d.tenant_id == tenant_id, _d.host.in_(hosts))
    return tuple(connection.execute(query.limit(limit)).scalars()) if hosts else ()


def read_host(connection: Connection, tenant_id: str, number: int) -> KnownHost:
    """Return what is known of a host.

    Raises:
        NotFoundError: The tenant has no such host.
    """
    devices = sa.select(_d.source, _d.device_id, _d.host, _d.first_at, _d.last_at).where(
        _d.tenant_id == tenant_id, _d.host == number
    )
    names = sa.select(_n.name, _n.host, _n.first_at, _n.last_at).where(
        _n.tenant_id == tenant_id, _n.host == number
    )
    by_device = [
        DeviceRow(*row)
        for row in connection.execute(devices.order_by(_d.last_at.desc()).limit(MAX_NAMES))
    ]
    by_name = [
        NameRow(*row)
        for row in connection.execute(names.order_by(_n.last_at.desc()).limit(MAX_NAMES))
    ]
    if not by_device and not by_name:
        raise NotFoundError(f"{tenant_id} has no host {number}")
    return KnownHost(
        tenant_id=tenant_id,
        number=number,
        names=tuple(by_name),
        devices=tuple(by_device),
        first_at=min(
            [*(each.first_at for each in by_device), *(each.first_at for each in by_name)]
        ),
        last_at=_last_at(connection, tenant_id, number),
        users=_users(connection, tenant_id, number),
        incidents=_incidents(connection, tenant_id, number),
    )


def _last_at(connection: Connection, tenant_id: str, number: int) -> float | None:
    last = sa.select(sa.func.max(_v.happened_at))
    found: float | None = connection.execute(
        last.where(_v.tenant_id == tenant_id, _v.host == number)
    ).scalar()
    return found


def _users(connection: Connection, tenant_id: str, number: int) -> tuple[str, ...]:
    newest = (
        sa.select(_v.alert_id)
        .where(_v.tenant_id == tenant_id, _v.host == number)
        .order_by(_v.happened_at.desc())
        .limit(_MAX_READ)
        .subquery()
    )
    query = sa.select(_a.username).join(newest, newest.c.alert_id == _a.id)
    query = query.where(_a.username.is_not(None)).distinct()
    return tuple(sorted(connection.execute(query).scalars())[:MAX_USERS])


def _incidents(connection: Connection, tenant_id: str, number: int) -> tuple[ListedIncident, ...]:
    own = (
        sa.select(_k.number)
        .where(_k.tenant_id == tenant_id, _k.key == f"host:{number}")
        .order_by(_k.number.desc())
        .limit(MAX_INCIDENTS)
    )
    numbers = list(connection.execute(own).scalars())
    query = rows.select_incidents().where(_i.tenant_id == tenant_id, _i.number.in_(numbers))
    found = [listed(rows.incident_of(row)) for row in connection.execute(query)] if numbers else []
    return tuple(sorted(found, key=lambda each: -each.number))
