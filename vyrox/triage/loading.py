"""Loads the part of a tenant's hosts and incidents that a batch of alerts can touch.

Its statements are made once. To make them for each batch would cost SQLAlchemy more than they cost
the database.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store import tables as t
from vyrox.triage.hosts import DeviceRow, Hosts, NameRow, clean, short_name
from vyrox.triage.incidents import Grouping
from vyrox.triage.judged import Judged
from vyrox.triage.linking import DAY_S, all_searched, named_hosts
from vyrox.triage.rows import Newest, incident_of, parts, select_incidents
from vyrox.triage.users import person

Ts = TypeVarTuple("Ts")

MAX_PERSON_HOSTS: Final = 16
"""Hosts of a person that are read: more than MAX_HOSTS_OF_A_PERSON, which is all that counts."""

_d: Final = t.host_devices.c
_n: Final = t.host_names.c
_p: Final = t.person_hosts.c
_k: Final = t.incident_keys.c
_i: Final = t.incidents.c

_TENANT: Final[sa.BindParameter[str]] = sa.bindparam("tenant_id")
_SOME: Final[sa.BindParameter[object]] = sa.bindparam("some", expanding=True)

_HOSTS_OF_DEVICES: Final = sa.select(_d.host).where(
    _d.tenant_id == _TENANT, _d.device_id.in_(_SOME)
)
_HOSTS_OF_NAMES: Final = (
    sa.select(_n.host).where(_n.tenant_id == _TENANT, _n.short_name.in_(_SOME)).distinct()
)
_DEVICES: Final = sa.select(_d.source, _d.device_id, _d.host, _d.first_at, _d.last_at).where(
    _d.tenant_id == _TENANT, _d.host.in_(_SOME)
)
_NAMES: Final = sa.select(_n.name, _n.host, _n.first_at, _n.last_at).where(
    _n.tenant_id == _TENANT, _n.host.in_(_SOME)
)
_PLACES: Final = (
    sa.select(
        *(_p.person, _p.host, _p.last_at),
        sa.func.row_number()
        .over(partition_by=_p.person, order_by=_p.last_at.desc())
        .label("place"),
    )
    .where(_p.tenant_id == _TENANT, _p.person.in_(_SOME))
    .subquery()
)
_HOSTS_OF_PERSONS: Final = sa.select(_PLACES.c.person, _PLACES.c.host, _PLACES.c.last_at).where(
    _PLACES.c.place <= MAX_PERSON_HOSTS
)
_NEWEST_OF_KEYS: Final = (
    sa.select(_k.key, sa.func.max(_k.number))
    .where(_k.tenant_id == _TENANT, _k.key.in_(_SOME))
    .group_by(_k.key)
)
_INCIDENTS: Final = select_incidents().where(_i.tenant_id == _TENANT, _i.number.in_(_SOME))


def load(
    connection: Connection, tenant_id: str, newest: Newest, batch: Sequence[Judged]
) -> Grouping:
    """Return what `batch` (not empty) can touch of the tenant's hosts and incidents."""
    hosts = _load_hosts(connection, tenant_id, batch, newest.host)
    grouping = Grouping(tenant_id, hosts, newest.incident)
    for some in parts({who for each in batch if (who := person(each.alert.username)) is not None}):
        for row in _read(connection, _HOSTS_OF_PERSONS, tenant_id, some):
            grouping.put_person(*row)
    _load_incidents(connection, grouping, all_searched(batch, hosts), batch)
    return grouping


def _load_hosts(
    connection: Connection, tenant_id: str, batch: Sequence[Judged], newest: int
) -> Hosts:
    hosts = Hosts(newest)
    numbers: set[int] = set()
    devices = {device for each in batch if (device := clean(each.alert.device_id)) is not None}
    for some in parts(devices):
        numbers |= {row[0] for row in _read(connection, _HOSTS_OF_DEVICES, tenant_id, some)}
    names = {short_name(name) for each in batch if (name := clean(each.alert.hostname)) is not None}
    names |= {name for each in batch for name in named_hosts(each)}
    for some in parts(names):  # each has at most MAX_BEARERS hosts with MAX_NAMES each
        numbers |= {row[0] for row in _read(connection, _HOSTS_OF_NAMES, tenant_id, some)}
    for some_hosts in parts(numbers):
        for device_row in _read(connection, _DEVICES, tenant_id, some_hosts):
            hosts.put_device(DeviceRow(*device_row))
        for name_row in _read(connection, _NAMES, tenant_id, some_hosts):
            hosts.put_name(NameRow(*name_row))
    return hosts


def _load_incidents(
    connection: Connection, grouping: Grouping, searched: set[str], batch: Sequence[Judged]
) -> None:
    tenant_id = grouping.tenant_id
    spans = _spans(batch)
    times = {f"first_{n}": first for n, (first, _) in enumerate(spans)}
    times |= {f"last_{n}": last for n, (_, last) in enumerate(spans)}
    keys_of: dict[int, set[str]] = {}
    for some in parts(searched):
        for key, number in _read(connection, _keys_near(len(spans)), tenant_id, some, times):
            keys_of.setdefault(number, set()).add(key)
        # The newest incident of a host, however old: a new one names it.
        of_hosts = [key for key in some if key.startswith("host:")]
        for key, number in _read(connection, _NEWEST_OF_KEYS, tenant_id, of_hosts):
            grouping.put_key(key, number)
    for numbers in parts(keys_of):
        for row in _read(connection, _INCIDENTS, tenant_id, numbers):
            incident = incident_of(row)
            grouping.put(incident, keys_of[incident.number])


@lru_cache(16)
def _keys_near(spans: int) -> sa.Select[str, int]:
    """Return a query for the keys, and the incidents that have them, in so many spans of time."""
    is_near = sa.or_(
        *(
            sa.and_(
                _i.last_at >= sa.bindparam(f"first_{number}"),
                _i.first_at <= sa.bindparam(f"last_{number}"),
            )
            for number in range(spans)
        )
    )
    is_same = sa.and_(_i.tenant_id == _k.tenant_id, _i.number == _k.number)
    query = sa.select(_k.key, _k.number).join(t.incidents, is_same)
    return query.where(_k.tenant_id == _TENANT, _k.key.in_(_SOME), is_near)


def _spans(batch: Sequence[Judged]) -> list[tuple[float, float]]:
    """Return the times around the alerts, those that overlap as one.

    Not one span for all: a sender could choose a time long ago, and all that is between would be
    read.
    """
    spans: list[tuple[float, float]] = []
    for at in sorted(each.at for each in batch):
        if spans and at - DAY_S <= spans[-1][1]:
            spans[-1] = (spans[-1][0], at + DAY_S)
        else:
            spans.append((at - DAY_S, at + DAY_S))
    return spans


def _read(
    connection: Connection,
    query: sa.Select[*Ts],
    tenant_id: str,
    some: Iterable[object],
    others: Mapping[str, object] | None = None,
) -> Sequence[sa.Row[*Ts]]:
    """Return the rows of the tenant that the query finds for some values, read at once."""
    values = {"tenant_id": tenant_id, "some": some, **(others or {})}
    return connection.execute(query, values).all()
