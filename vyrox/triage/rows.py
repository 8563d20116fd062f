"""Reads and stores a tenant's hosts and incidents.

A transaction that calls `lock` first holds the tenant's triage until it ends, for all containers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store import tables as t
from vyrox.store.rows import insert_rows
from vyrox.triage.hosts import short_name
from vyrox.triage.incidents import Grouping, Incident
from vyrox.triage.story import Story

V = TypeVar("V", int, str, tuple[int, str, str])

MAX_IN: Final = 500
"""Values in one statement. SQLite takes more, PostgreSQL too; both plan small lists better."""

_encoder: Final = msgspec.json.Encoder()
_story: Final = msgspec.json.Decoder(Story)

# Made once: each batch needs them, and to make a statement costs more than to run a short one.
_tenants: Final = t.triage_tenants.c
_OF_TENANT: Final = _tenants.tenant_id == sa.bindparam("of")
_LOCK_NEWEST: Final = (
    sa.select(_tenants.hosts, _tenants.incidents).where(_OF_TENANT).with_for_update()
)
_SET_NEWEST: Final = (
    t.triage_tenants.update()
    .where(_OF_TENANT)
    .values(hosts=sa.bindparam("hosts"), incidents=sa.bindparam("incidents"))
)

_COLUMNS: Final = tuple(t.incidents.c[name] for name in Incident.__struct_fields__)


class Newest(msgspec.Struct, frozen=True):
    """The highest numbers that a tenant's hosts and incidents have."""

    host: int
    incident: int


def save(connection: Connection, grouping: Grouping) -> None:
    """Store what has changed since `load`."""
    tenant_id = grouping.tenant_id
    newest = {"hosts": grouping.hosts.newest, "incidents": grouping.newest}
    connection.execute(_SET_NEWEST, {"of": tenant_id, **newest})
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
    row = connection.execute(_LOCK_NEWEST, {"of": tenant_id}).one_or_none()
    if row is None:
        first = {"tenant_id": tenant_id, "hosts": 0, "incidents": 0}
        _upsert(connection, t.triage_tenants, [first], ())
        row = connection.execute(_LOCK_NEWEST, {"of": tenant_id}).one()
    return Newest(row[0], row[1])


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
