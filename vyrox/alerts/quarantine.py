"""Authenticated payloads that fit no adapter are kept, listed and replayed (contract 16)."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import StoredAlert, dedup_key, delivery, store
from vyrox.chain.events import event
from vyrox.chain.writer import ChainWriter, WorkResult, append
from vyrox.errors import OperatorError
from vyrox.ids import new_id
from vyrox.models import NormalizedAlert, Vendor
from vyrox.store.locks import lock
from vyrox.store.rows import insert_rows
from vyrox.store.tables import quarantine, quarantine_totals

ROW_BYTES: Final = 512
"""Counted for each row beside its body: small payloads take room too."""

DELETED_AT_ONCE: Final = 1000
"""Rows that are deleted to make room, in the transaction that keeps others."""

_table: Final = quarantine.c
_totals: Final = quarantine_totals.c
_KNOWN: Final = sa.select(_table.dedup_key).where(
    _table.dedup_key.in_(sa.bindparam("keys", expanding=True))
)


_ON_CONFLICT: Final = """
ON CONFLICT (dedup_key) DO UPDATE SET
    reason = excluded.reason,
    last_received_at = excluded.last_received_at,
    deliveries = quarantine.deliveries + excluded.deliveries,
    replayed_at = NULL,
    dismissed_at = NULL
"""
"""The same bytes again: one more delivery, which waits to be handled like the first."""


class Quarantined(msgspec.Struct, frozen=True):
    """One kept payload. Times are Unix seconds.

    Attributes:
        deliveries: How often these bytes have arrived.
        alert_id: The alert it became when it was replayed, else None.
        only_counted: There was no room for the bodies, so only their number and the last reason
            are kept.
    """

    id: str
    tenant_id: str
    source: Vendor
    reason: str
    size_bytes: int
    deliveries: int
    first_received_at: float
    last_received_at: float
    replayed_at: float | None
    alert_id: str | None
    dismissed_at: float | None = None
    only_counted: bool = False


class Unreadable(msgspec.Struct, frozen=True):
    """An authenticated payload that fits no alert. `received_at` is in Unix seconds."""

    tenant_id: str
    source: Vendor
    raw: bytes
    reason: str
    received_at: float


class Quarantine:
    """Keeps payloads, at most so many bytes of each tenant."""

    def __init__(self, writer: ChainWriter, max_bytes: int) -> None:
        """`max_bytes` is for one tenant (QUARANTINE_MAX_BYTES)."""
        self._writer = writer
        self._max_bytes = max_bytes

    async def keep(self, payload: Unreadable) -> bool:
        """Keep `payload`; return whether there was room for its body.

        Raises:
            UnavailableError: Not kept, or not known to be.
        """
        committed = await self._writer.commit(
            self._keep, payload, len(payload.raw), owner=payload.tenant_id
        )
        return committed.result

    def _keep(
        self, connection: Connection, payloads: Sequence[Unreadable]
    ) -> list[WorkResult[bool]]:
        return [WorkResult(kept) for kept in keep(connection, payloads, self._max_bytes)]


def keep(connection: Connection, payloads: Sequence[Unreadable], max_bytes: int) -> list[bool]:
    """Keep `payloads`; return for each whether its body is kept.

    The same bytes of one tenant and source are kept once and counted. When a tenant has more than
    `max_bytes`, its oldest dismissed rows are deleted, then its oldest replayed ones. If that is
    not enough, the payload is only counted.
    """
    lock(connection, "quarantine")
    keys = [dedup_key(each.tenant_id, each.source, each.raw) for each in payloads]
    known = set(connection.execute(_KNOWN, {"keys": keys}).scalars())
    used = _read_totals(connection, {each.tenant_id for each in payloads})
    before = used.copy()
    wanted = Counter[str]()
    for key, each in dict(zip(keys, payloads, strict=True)).items():
        if key not in known:
            wanted[each.tenant_id] += _size(each)
    for tenant_id, size_bytes in wanted.items():
        if used[tenant_id] + size_bytes > max_bytes:
            excess = used[tenant_id] + size_bytes - max_bytes
            used[tenant_id] -= _make_room(connection, tenant_id, excess, keys)
    rows: dict[bytes, dict[str, object]] = {}
    kept: list[bool] = []
    for key, each in zip(keys, payloads, strict=True):
        fits = key in known or used[each.tenant_id] + _size(each) <= max_bytes
        if fits and key not in known:
            known.add(key)
            used[each.tenant_id] += _size(each)
        kept.append(fits)
        _add(rows, key if fits else _counter_key(each), each, only_counted=not fits)
    insert_rows(connection, quarantine, [_columns(row) for row in rows.values()], _ON_CONFLICT)
    write_totals(connection, {name: size for name, size in used.items() if size != before[name]})
    return kept


def _add(
    rows: dict[bytes, dict[str, object]], key: bytes, payload: Unreadable, *, only_counted: bool
) -> None:
    """Put `payload` into the row of its key: one statement may not touch a row twice."""
    row = rows.setdefault(
        key,
        {
            "id": new_id(),
            "tenant_id": payload.tenant_id,
            "source": payload.source,
            "dedup_key": key,
            "raw": b"" if only_counted else payload.raw,
            "first_received_at": payload.received_at,
            "deliveries": 0,
            "only_counted": only_counted or None,
        },
    )
    row["deliveries"] = cast(int, row["deliveries"]) + 1
    row["reason"] = payload.reason
    row["last_received_at"] = payload.received_at


def _size(payload: Unreadable) -> int:
    return len(payload.raw) + ROW_BYTES


def _counter_key(payload: Unreadable) -> bytes:
    return sha256(f"only counted\0{payload.tenant_id}\0{payload.source}".encode()).digest()


def _columns(row: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(row.get(column.name) for column in quarantine.columns)


def _read_totals(connection: Connection, tenant_ids: set[str]) -> dict[str, int]:
    query = sa.select(quarantine_totals).where(_totals.tenant_id.in_(tenant_ids))
    found = {row.tenant_id: row.size_bytes for row in connection.execute(query)}
    return {tenant_id: found.get(tenant_id, 0) for tenant_id in tenant_ids}


def write_totals(connection: Connection, totals: Mapping[str, int]) -> None:
    """Store how many bytes each tenant has in quarantine. The caller holds the lock."""
    if totals:
        connection.execute(quarantine_totals.delete().where(_totals.tenant_id.in_(list(totals))))
        rows = [{"tenant_id": name, "size_bytes": max(0, size)} for name, size in totals.items()]
        connection.execute(quarantine_totals.insert(), rows)


def _make_room(
    connection: Connection, tenant_id: str, needed: int, arriving: Sequence[bytes]
) -> int:
    """Delete the oldest dismissed rows, then the oldest replayed ones; return the bytes freed.

    Rows whose bytes are `arriving` again (their keys) stay: they are waiting once more.
    """
    done = sa.or_(_table.dismissed_at.is_not(None), _table.replayed_at.is_not(None))
    query = (
        sa.select(_table.id, sa.func.length(_table.raw) + ROW_BYTES)
        .where(_table.tenant_id == tenant_id, done, _table.dedup_key.not_in(arriving))
        .order_by(_table.dismissed_at.is_(None), _table.dismissed_at, _table.replayed_at)
        .limit(DELETED_AT_ONCE)
    )
    ids: list[str] = []
    freed = 0
    for row_id, size_bytes in connection.execute(query):
        if freed >= needed:
            break
        ids.append(row_id)
        freed += size_bytes
    if ids:
        connection.execute(quarantine.delete().where(_table.id.in_(ids)))
    return freed


def delete_last_received_before(
    connection: Connection, cutoff: float, limit: int, limit_bytes: int
) -> int:
    """Delete at most `limit` rows, and about `limit_bytes`, that last came before `cutoff`."""
    lock(connection, "quarantine")
    query = (
        sa.select(_table.id, _table.tenant_id, sa.func.length(_table.raw))
        .where(_table.last_received_at < cutoff)
        .limit(limit)
    )
    ids: list[str] = []
    freed = Counter[str]()
    for row_id, tenant_id, size_bytes in connection.execute(query):
        if freed.total() >= limit_bytes:
            break
        ids.append(row_id)
        freed[tenant_id] += size_bytes + ROW_BYTES
    if not ids:
        return 0
    used = _read_totals(connection, set(freed))
    write_totals(connection, {name: used[name] - freed[name] for name in freed})
    return connection.execute(quarantine.delete().where(_table.id.in_(ids))).rowcount


def dismiss(
    connection: Connection, tenant_id: str, quarantine_ids: Sequence[str], now: float
) -> None:
    """Mark payloads as not worth a replay; they are kept until their room is needed.

    Raises:
        OperatorError: The tenant has no payload with one of the ids; nothing was changed.
    """
    lock(connection, "quarantine")
    query = sa.select(_table.id).where(_table.tenant_id == tenant_id, _table.id.in_(quarantine_ids))
    known = set(connection.execute(query).scalars())
    if unknown := [each for each in quarantine_ids if each not in known]:
        raise OperatorError(f"{tenant_id} has no quarantined payload {', '.join(unknown)}")
    connection.execute(
        quarantine.update().where(_table.id.in_(quarantine_ids)).values(dismissed_at=now)
    )
    change = f"quarantine: {len(known)} dismissed"
    append(connection, [event("tenant.changed", tenant_id, None, source=None, change=change)], now)


def list_quarantined(connection: Connection, tenant_id: str) -> list[Quarantined]:
    """Return what is kept for the tenant, oldest first, replayed payloads included."""
    query = (
        sa.select(*_SHOWN)
        .where(_table.tenant_id == tenant_id)
        .order_by(_table.first_received_at, _table.id)
    )
    return [_shown(row) for row in connection.execute(query).mappings()]


def read_quarantined(
    connection: Connection, tenant_id: str, quarantine_id: str
) -> tuple[Quarantined, bytes]:
    """Return one kept payload and its bytes as received.

    Raises:
        OperatorError: The tenant has none with that id.
    """
    query = sa.select(*_SHOWN, _table.raw).where(
        _table.tenant_id == tenant_id, _table.id == quarantine_id
    )
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise OperatorError(f"{tenant_id} has no quarantined payload {quarantine_id}")
    if row["only_counted"]:
        raise OperatorError(
            f"{quarantine_id} only counts payloads for which there was no room "
            "(QUARANTINE_MAX_BYTES): their bodies are not kept"
        )
    return _shown(row), bytes(row["raw"])


def replay(
    connection: Connection,
    quarantined: Quarantined,
    raw: bytes,
    alert: NormalizedAlert,
    now: float,
) -> StoredAlert:
    """Store `alert`, which `raw` has become, and mark the kept payload as replayed.

    Where the same bytes have become an alert before, that is the one, however long ago: they may
    have been accepted from the vendor since they were kept, or replayed already.
    """
    lock(connection, "quarantine")  # before the chain is locked, as in `keep`
    [stored] = store(connection, [delivery(alert, raw, now)], window_s=math.inf)
    if not stored.redelivery:
        told = event(
            "alert.accepted",
            alert.tenant_id,
            None,
            alert_id=stored.alert_id,
            source=alert.source,
            replayed=quarantined.id,
        )
        append(connection, [told], now)
    connection.execute(
        quarantine.update()
        .where(_table.id == quarantined.id)
        .values(replayed_at=now, alert_id=stored.alert_id)
    )
    return stored


def count_quarantined(connection: Connection) -> dict[str, int]:
    """Return how many payloads each tenant has that were neither replayed nor dismissed."""
    query = (
        sa.select(_table.tenant_id, sa.func.count())
        .where(_table.replayed_at.is_(None), _table.dismissed_at.is_(None))
        .group_by(_table.tenant_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _shown(row: sa.RowMapping) -> Quarantined:
    return msgspec.convert({key: row[key] for key in Quarantined.__struct_fields__}, Quarantined)


_SHOWN: Final[Sequence[sa.ColumnElement[object]]] = (
    _table.id,
    _table.tenant_id,
    _table.source,
    _table.reason,
    sa.func.length(_table.raw).label("size_bytes"),
    _table.deliveries,
    _table.first_received_at,
    _table.last_received_at,
    _table.replayed_at,
    _table.alert_id,
    _table.dismissed_at,
    sa.func.coalesce(_table.only_counted, sa.false()).label("only_counted"),
)
