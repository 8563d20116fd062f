"""Alerts that arrive in parts: the parts wait for each other, for a while (contract 74).

Microsoft's streaming to an Event Hub sends one alert as several records, in any order. Each is a
row before the sender gets its answer, which names the alert that it will be a part of. A kill at
any step leaves the rows: the alert is stored in the transaction that marks them as joined.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.adapters.own_forms import join
from vyrox.alerts import intake, quarantine
from vyrox.alerts.intake import accepted_event, dedup_key, delivery
from vyrox.alerts.quarantine import Unreadable
from vyrox.alerts.queue import AlertQueue, QueueEntry
from vyrox.chain.writer import append
from vyrox.clock import Clock
from vyrox.errors import NormalizationError
from vyrox.ids import new_id
from vyrox.models import Tenant, Vendor
from vyrox.store.agenda import Moment
from vyrox.store.database import Database
from vyrox.store.locks import lock
from vyrox.store.rows import insert_rows
from vyrox.store.tables import alert_records

VENDOR: Final[Vendor] = "defender"

WAIT_S: Final = 20.0
"""How long the first part waits for others."""

MAX_PARTS: Final = 200
MAX_BYTES: Final = 1 << 20
"""Parts of one alert, and their size. What comes beyond is a part of another one."""

MAX_JOINED: Final = 5
"""Alerts that one transaction makes. Other alerts wait for it."""

_t: Final = alert_records.c


class Record(msgspec.Struct, frozen=True):
    """An authenticated part of the alert that the vendor calls `raw_id`."""

    tenant_id: str
    raw_id: str
    raw: bytes
    received_at: float

    @property
    def key(self) -> bytes:
        """Equal for the same bytes of the same tenant only."""
        return dedup_key(self.tenant_id, VENDOR, self.raw)


class RecordJoiner:
    """Holds records, and makes alerts of them."""

    def __init__(
        self,
        database: Database,
        queue: AlertQueue,
        notice: Callable[[str], None],
        quarantine_max_bytes: int,
        clock: Clock,
    ) -> None:
        """`clock` is the same for all containers; `notice` gets the tenant of queued alerts."""
        self._database = database
        self._queue = queue
        self._notice = notice
        self._quarantine_max_bytes = quarantine_max_bytes
        self._clock = clock

    async def hold(self, records: Sequence[Record]) -> list[str]:
        """Store `records`; return for each the id of the alert that it is a part of.

        Raises:
            UnavailableError: Not stored, or it is not known; the sender may send them again.
        """
        return await self._database.write(_hold, records)

    async def run(self) -> None:
        """Make alerts of the records whose time is over.

        Raises:
            UnavailableError: A store is unavailable.
        """
        while await self._database.read(_is_any_due, self._clock()):
            entries = await self._database.write(
                _join_due, self._quarantine_max_bytes, self._clock()
            )
            if entries:
                # What Redis does not take now, a refill adds later.
                await self._queue.put_batch(entries)
            for tenant_id in {each.tenant_id for each in entries}:
                self._notice(tenant_id)


def delete_joined(connection: Connection, before: float) -> int:
    """Forget the records that were joined before; return how many."""
    return connection.execute(alert_records.delete().where(_t.joined_at < before)).rowcount


def _hold(connection: Connection, records: Sequence[Record]) -> list[str]:
    lock(connection, "records")
    by_key = {each.key: each for each in records}
    query = sa.select(_t.key, _t.alert_id).where(_t.key.in_(sorted(by_key)))
    known = {bytes(row.key): str(row.alert_id) for row in connection.execute(query)}
    groups = _waiting(connection, [each for key, each in by_key.items() if key not in known])
    new: list[tuple[object, ...]] = []
    for key, each in by_key.items():
        if key in known:
            continue
        name = (each.tenant_id, each.raw_id)
        group = groups.get(name, _Group(new_id())).with_part(len(each.raw))
        groups[name] = group
        known[key] = group.alert_id
        new.append((key, *name, group.alert_id, each.raw, each.received_at, None))
    insert_rows(connection, alert_records, new)
    return [known[each.key] for each in records]


class _Group(msgspec.Struct, frozen=True):
    """The waiting parts of one alert."""

    alert_id: str
    parts: int = 0
    size_bytes: int = 0

    def with_part(self, size_bytes: int) -> "_Group":
        """Return the group with one more part: a new one if there is no room."""
        parts, size = self.parts + 1, self.size_bytes + size_bytes
        if self.parts and (parts > MAX_PARTS or size > MAX_BYTES):
            return _Group(new_id(), 1, size_bytes)
        return _Group(self.alert_id, parts, size)


def _waiting(connection: Connection, records: Sequence[Record]) -> dict[tuple[str, str], _Group]:
    """Return the newest group that waits, for each of the alerts that has one."""
    size = sa.func.sum(sa.func.length(_t.raw))
    query = sa.select(_t.tenant_id, _t.raw_id, _t.alert_id, sa.func.count(), size).where(
        _t.tenant_id.in_(sorted({each.tenant_id for each in records})),
        _t.raw_id.in_(sorted({each.raw_id for each in records})),
        _t.joined_at.is_(None),
    )
    newest_last = query.group_by(_t.tenant_id, _t.raw_id, _t.alert_id).order_by(
        sa.func.max(_t.received_at)
    )
    rows = connection.execute(newest_last)
    return {(row[0], row[1]): _Group(*row[2:]) for row in rows}


def _is_any_due(connection: Connection, now: float) -> bool:
    return bool(connection.execute(sa.select(is_due(now))).scalar())


def is_due(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that the time of a record is over."""
    return sa.exists().where(_t.joined_at.is_(None), _t.received_at <= now - WAIT_S)


def _join_due(connection: Connection, quarantine_max_bytes: int, now: float) -> list[QueueEntry]:
    lock(connection, "records")  # first: a transaction that waits for it holds nothing else
    query = sa.select(_t.alert_id).where(_t.joined_at.is_(None)).group_by(_t.alert_id)
    due = query.having(sa.func.min(_t.received_at) <= now - WAIT_S).limit(MAX_JOINED)
    deliveries, unreadable = [], []
    ids = list(connection.execute(due).scalars())
    for alert_id in ids:
        rows = sa.select(alert_records).where(_t.alert_id == alert_id)
        parts = list(connection.execute(rows.order_by(_t.received_at, _t.key)))
        raws, first = [bytes(each.raw) for each in parts], parts[0]
        try:
            alert = join(raws, Tenant(first.tenant_id), first.received_at)
        except NormalizationError as exc:
            unreadable += [
                Unreadable(first.tenant_id, VENDOR, raw, str(exc), first.received_at)
                for raw in raws
            ]
            continue
        raw = raws[0] if len(raws) == 1 else b"[" + b",".join(raws) + b"]"
        new = delivery(msgspec.structs.replace(alert, id=alert_id), raw, first.received_at)
        key = sha256(b"records\0" + alert_id.encode()).digest()
        deliveries.append(msgspec.structs.replace(new, dedup_key=key))
    intake.store(connection, deliveries, float("inf"))
    drafts = [accepted_event(each) for each in deliveries]
    drafts += quarantine.keep_with_events(connection, unreadable, quarantine_max_bytes)
    done = alert_records.update().where(_t.alert_id.in_(ids))
    connection.execute(done.values(joined_at=now, raw=b""))
    append(connection, drafts, now)
    return [QueueEntry(each.tenant_id, each.alert_id, each.alert, each.raw) for each in deliveries]
