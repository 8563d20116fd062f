"""Loads the part of a tenant's incidents that a batch of alerts can touch, and stores the changes.

A transaction that calls `lock` first holds the tenant's triage until it ends, for all containers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store import tables as t
from vyrox.store.rows import insert_rows
from vyrox.triage.hosts import DeviceRow, Hosts, NameRow, clean, short_name
from vyrox.triage.incidents import Grouping, Incident
from vyrox.triage.judged import Judged
from vyrox.triage.linking import DAY_S, all_searched, named_hosts
from vyrox.triage.story import Story
from vyrox.triage.users import person

V = TypeVar("V", int, str, tuple[int, str, str])

MAX_PERSON_HOSTS: Final = 16
"""Hosts of a person that are read: more than MAX_HOSTS_OF_A_PERSON, which is all that counts."""

MAX_IN: Final = 500
"""Values in one statement. SQLite takes more, PostgreSQL too; both plan small lists better."""

_encoder: Final = msgspec.json.Encoder()
_story: Final = msgspec.json.Decoder(Story)

_COLUMNS: Final = tuple(t.incidents.c[name] for name in Incident.__struct_fields__)


class Newest(msgspec.Struct, frozen=True):
    """The highest numbers that a tenant's hosts and incidents have."""

    host: int
    incident: int


def load(
    connection: Connection, tenant_id: str, newest: Newest, batch: Sequence[Judged]
) -> Grouping:
    """Return what `batch` (not empty) can touch of the tenant's hosts and incidents."""
    hosts = _load_hosts(connection, tenant_id, batch, newest.host)
    grouping = Grouping(tenant_id, hosts, newest.incident)
    _load_persons(connection, grouping, batch)
    _load_incidents(connection, grouping, all_searched(batch, hosts), batch)
    return grouping


def save(connection: Connection, grouping: Grouping) -> None:
    """Store what has changed since `load`."""
    tenant_id = grouping.tenant_id
    connection.execute(
        t.triage_tenants.update()
        .where(t.triage_tenants.c.tenant_id == tenant_id)
        .values(hosts=grouping.hosts.newest, incidents=grouping.newest)
    )
    _save_hosts(connection, grouping)
    store_incidents(connection, [grouping.incidents[n] for n in sorted(grouping.touched)])
    _upsert(
        connection,
        t.incident_keys,
        [
            {"tenant_id": tenant_id, "key": key, "number": number}
            for key, number in sorted({(k, grouping.find(n)) for k, n in grouping.new_keys})
        ],
        (),
    )
    for number in grouping.merged:
        _redirect(connection, tenant_id, number, grouping.find(number))


def read_incident(connection: Connection, tenant_id: str, number: int) -> Incident | None:
    """Return one incident."""
    c = t.incidents.c
    query = select_incidents().where(c.tenant_id == tenant_id, c.number == number)
    row = connection.execute(query).one_or_none()
    return None if row is None else incident_of(row)


def incident_of(row: sa.Row[Any]) -> Incident:
    """Return the incident of a row of `select_incidents`."""
    values: dict[str, Any] = dict(zip(Incident.__struct_fields__, row, strict=True))
    return Incident(**{**values, "story": _story.decode(values["story"])})


def select_incidents() -> sa.Select[Any]:
    """Return a query for the rows that `incident_of` takes."""
    return sa.select(*_COLUMNS)


def store_incident(connection: Connection, incident: Incident) -> None:
    """Insert the incident, or store what has changed."""
    store_incidents(connection, [incident])


def store_incidents(connection: Connection, changed: Sequence[Incident]) -> None:
    """Insert the incidents, or store what has changed. No two of them are the same one."""
    found = [
        {
            **{name: getattr(incident, name) for name in Incident.__struct_fields__},
            "story": _encoder.encode(incident.story),
        }
        for incident in changed
    ]
    names = [name for name in Incident.__struct_fields__ if name not in {"tenant_id", "number"}]
    _upsert(connection, t.incidents, found, names)


def lock(connection: Connection, tenant_id: str) -> Newest:
    """Wait until no other transaction changes the tenant's incidents."""
    c = t.triage_tenants.c
    query = sa.select(c.hosts, c.incidents).where(c.tenant_id == tenant_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        first = {"tenant_id": tenant_id, "hosts": 0, "incidents": 0}
        _upsert(connection, t.triage_tenants, [first], ())
        row = connection.execute(query).one()
    return Newest(row[0], row[1])


def _load_hosts(
    connection: Connection, tenant_id: str, batch: Sequence[Judged], newest: int
) -> Hosts:
    hosts = Hosts(newest)
    d, n = t.host_devices.c, t.host_names.c
    numbers: set[int] = set()
    devices = {device for each in batch if (device := clean(each.alert.device_id)) is not None}
    for some in parts(devices):
        query = sa.select(d.host).where(d.tenant_id == tenant_id, d.device_id.in_(some))
        numbers |= set(connection.execute(query).scalars())
    names = {short_name(name) for each in batch if (name := clean(each.alert.hostname)) is not None}
    names |= {name for each in batch for name in named_hosts(each)}
    for some in parts(names):  # each has at most MAX_BEARERS hosts with MAX_NAMES each
        query = sa.select(n.host).where(n.tenant_id == tenant_id, n.short_name.in_(some))
        numbers |= set(connection.execute(query.distinct()).scalars())
    for some_hosts in parts(numbers):
        of_device = sa.select(d.source, d.device_id, d.host, d.first_at, d.last_at)
        of_device = of_device.where(d.tenant_id == tenant_id, d.host.in_(some_hosts))
        for device_row in connection.execute(of_device):
            hosts.put_device(DeviceRow(*device_row))
        of_name = sa.select(n.name, n.host, n.first_at, n.last_at)
        of_name = of_name.where(n.tenant_id == tenant_id, n.host.in_(some_hosts))
        for name_row in connection.execute(of_name):
            hosts.put_name(NameRow(*name_row))
    return hosts


def _load_persons(connection: Connection, grouping: Grouping, batch: Sequence[Judged]) -> None:
    c = t.person_hosts.c
    place = sa.func.row_number().over(partition_by=c.person, order_by=c.last_at.desc())
    for some in parts({who for each in batch if (who := person(each.alert.username)) is not None}):
        own = sa.select(c.person, c.host, c.last_at, place.label("place")).where(
            c.tenant_id == grouping.tenant_id, c.person.in_(some)
        )
        newest = own.subquery()
        query = sa.select(newest.c.person, newest.c.host, newest.c.last_at)
        for row in connection.execute(query.where(newest.c.place <= MAX_PERSON_HOSTS)):
            grouping.put_person(*row)


def _load_incidents(
    connection: Connection, grouping: Grouping, searched: set[str], batch: Sequence[Judged]
) -> None:
    k, i = t.incident_keys.c, t.incidents.c
    is_near = sa.or_(
        *(sa.and_(i.last_at >= first, i.first_at <= last) for first, last in _spans(batch))
    )
    keys_of: dict[int, set[str]] = {}
    for some in parts(searched):
        query = (
            sa.select(k.key, k.number)
            .join(t.incidents, sa.and_(i.tenant_id == k.tenant_id, i.number == k.number))
            .where(
                k.tenant_id == grouping.tenant_id,
                k.key.in_(some),
                is_near,
            )
        )
        for key, number in connection.execute(query):
            keys_of.setdefault(number, set()).add(key)
        # The newest incident of a host, however old: a new one names it.
        newest = (
            sa.select(k.key, sa.func.max(k.number))
            .where(k.tenant_id == grouping.tenant_id, k.key.in_(_host_keys(some)))
            .group_by(k.key)
        )
        for key, number in connection.execute(newest):
            grouping.put_key(key, number)
    for numbers in parts(keys_of):
        rows = select_incidents().where(i.tenant_id == grouping.tenant_id, i.number.in_(numbers))
        for row in connection.execute(rows):
            incident = incident_of(row)
            grouping.put(incident, keys_of[incident.number])


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


def _host_keys(searched: Iterable[str]) -> list[str]:
    return [key for key in searched if key.startswith("host:")]


def _save_hosts(connection: Connection, grouping: Grouping) -> None:
    tenant_id = grouping.tenant_id
    _upsert(
        connection,
        t.host_devices,
        [
            {"tenant_id": tenant_id, **msgspec.structs.asdict(row)}
            for _, row in sorted(grouping.hosts.new_devices.items())
        ],
        ("last_at",),
    )
    _upsert(
        connection,
        t.host_names,
        [
            {
                "tenant_id": tenant_id,
                "short_name": short_name(row.name),
                **msgspec.structs.asdict(row),
            }
            for _, row in sorted(grouping.hosts.new_names.items())
        ],
        ("last_at",),
    )
    _upsert(
        connection,
        t.person_hosts,
        [
            {"tenant_id": tenant_id, "person": who, "host": host, "last_at": last_at}
            for (who, host), last_at in sorted(grouping.seen_on.items())
        ],
        ("last_at",),
    )


def _redirect(connection: Connection, tenant_id: str, number: int, target: int) -> None:
    """Point all rows of a merged incident at the one that took its alerts."""
    v, k, s = t.verdicts, t.incident_keys, t.incident_steps
    connection.execute(
        v.update().where(v.c.tenant_id == tenant_id, v.c.incident == number).values(incident=target)
    )
    connection.execute(
        s.update().where(s.c.tenant_id == tenant_id, s.c.number == number).values(number=target)
    )
    query = sa.select(k.c.key).where(k.c.tenant_id == tenant_id, k.c.number == number)
    keys = connection.execute(query).scalars().all()
    _upsert(
        connection,
        k,
        [{"tenant_id": tenant_id, "key": key, "number": target} for key in sorted(keys)],
        (),
    )
    connection.execute(k.delete().where(k.c.tenant_id == tenant_id, k.c.number == number))


def _upsert(
    connection: Connection,
    table: sa.Table,
    found: Sequence[Mapping[str, object]],
    changed: Sequence[str],
) -> None:
    """Insert rows, all columns of each; of those whose key exists, store what is `changed`."""
    primary = ", ".join(column.name for column in table.primary_key)
    changes = ", ".join(f"{name} = excluded.{name}" for name in changed)
    action = f"DO UPDATE SET {changes}" if changed else "DO NOTHING"
    rows = [tuple(row[column.name] for column in table.columns) for row in found]
    insert_rows(connection, table, rows, f"ON CONFLICT ({primary}) {action}")


def parts(values: Iterable[V]) -> Iterator[list[V]]:
    """Yield the values in order, in lists that are short enough for one statement."""
    ordered = sorted(values)
    for first in range(0, len(ordered), MAX_IN):
        yield ordered[first : first + MAX_IN]
