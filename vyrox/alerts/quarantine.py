"""Quarantine: authenticated payloads that could not be normalised are kept (contract 16).

`alerts.quarantine_review` lists and replays them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import dedup_key
from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.events import event
from vyrox.chain.writer import ChainWriter, WorkResult
from vyrox.ids import new_id
from vyrox.models import Vendor
from vyrox.store.locks import lock
from vyrox.store.rows import insert_rows
from vyrox.store.tables import quarantine, quarantine_totals

ROW_BYTES: Final = 512
"""Bytes that count for each row in addition to its body: small payloads need space too."""

MAX_EVICTED_ROWS: Final = 1000
"""Old rows that one transaction deletes to make room for new ones."""

_table: Final = quarantine.c
_totals: Final = quarantine_totals.c
_HAS_BODY: Final = _table.only_counted.is_not(True)
"""Other rows add nothing to the totals, so their deletion makes no room."""
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
"""For bytes that are stored already: count the delivery, and wait for a replay again."""


class Unreadable(msgspec.Struct, frozen=True):
    """An authenticated payload that is not a valid alert. `received_at` is in Unix seconds."""

    tenant_id: str
    source: Vendor
    raw: bytes
    reason: str
    received_at: float


class Quarantine:
    """Keeps payloads, with a limit for each tenant."""

    def __init__(self, writer: ChainWriter, max_bytes: int) -> None:
        """`max_bytes` is the limit of one tenant (QUARANTINE_MAX_BYTES)."""
        self._writer = writer
        self._max_bytes = max_bytes

    async def keep(self, payload: Unreadable) -> bool:
        """Keep `payload`; return whether there was room for its body.

        Raises:
            UnavailableError: Not kept, or it is not known.
        """
        committed = await self._writer.commit(
            self._keep, payload, len(payload.raw), owner=payload.tenant_id
        )
        return committed.result

    def _keep(
        self, connection: Connection, payloads: Sequence[Unreadable]
    ) -> list[WorkResult[bool]]:
        return [WorkResult(kept) for kept in keep(connection, payloads, self._max_bytes)]


def keep_with_events(
    connection: Connection, payloads: Sequence[Unreadable], max_bytes: int, *, polled: bool = False
) -> list[Draft]:
    """Keep `payloads` as `keep` does; return their events."""
    more: dict[str, Scalar] = {"polled": True} if polled else {}
    kept = keep(connection, payloads, max_bytes) if payloads else []
    return [
        event(
            "alert.quarantined",
            each.tenant_id,
            None,
            source=each.source,
            reason=each.reason,
            body_kept=is_kept,
            **more,
        )
        for each, is_kept in zip(payloads, kept, strict=True)
    ]


def keep(connection: Connection, payloads: Sequence[Unreadable], max_bytes: int) -> list[bool]:
    """Keep `payloads`; return for each whether its body is kept.

    The same bytes from one tenant and source are one row, which counts its deliveries. If a tenant
    exceeds `max_bytes`, its oldest dismissed rows are deleted first, then its oldest replayed rows.
    If that is not enough, the payload is counted without its body.
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
    """Add `payload` to the row with its key: one statement must not change a row twice."""
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
    """Store how many bytes each tenant has in quarantine. The caller has the lock `quarantine`."""
    if totals:
        connection.execute(quarantine_totals.delete().where(_totals.tenant_id.in_(list(totals))))
        rows = [{"tenant_id": name, "size_bytes": max(0, size)} for name, size in totals.items()]
        connection.execute(quarantine_totals.insert(), rows)


def _make_room(
    connection: Connection, tenant_id: str, needed: int, arriving: Sequence[bytes]
) -> int:
    """Delete the oldest dismissed rows, then the oldest replayed rows; return the freed bytes.

    Args:
        needed: Bytes after which no further row is deleted.
        arriving: Keys of rows that stay: the same bytes were received again.
    """
    done = sa.or_(_table.dismissed_at.is_not(None), _table.replayed_at.is_not(None))
    query = (
        sa.select(_table.id, sa.func.length(_table.raw) + ROW_BYTES)
        .where(_table.tenant_id == tenant_id, done, _HAS_BODY, _table.dedup_key.not_in(arriving))
        .order_by(_table.dismissed_at.is_(None), _table.dismissed_at, _table.replayed_at)
        .limit(MAX_EVICTED_ROWS)
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
    """Delete at most `limit` rows, and about `limit_bytes`, last received before `cutoff`."""
    lock(connection, "quarantine")
    query = (
        sa.select(_table.id, _table.tenant_id, sa.func.length(_table.raw), _HAS_BODY)
        .where(_table.last_received_at < cutoff)
        .limit(limit)
    )
    ids: list[str] = []
    freed = Counter[str]()
    for row_id, tenant_id, size_bytes, has_body in connection.execute(query):
        if freed.total() >= limit_bytes:
            break
        ids.append(row_id)
        freed[tenant_id] += size_bytes + ROW_BYTES if has_body else 0
    if not ids:
        return 0
    used = _read_totals(connection, set(freed))
    write_totals(connection, {name: used[name] - freed[name] for name in freed})
    return connection.execute(quarantine.delete().where(_table.id.in_(ids))).rowcount
