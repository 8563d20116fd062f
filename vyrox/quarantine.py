"""Authenticated payloads that fit no adapter are kept, listed and replayed (contract 16)."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from vyrox.chain.writer import append
from vyrox.db.tables import quarantine
from vyrox.errors import OperatorError
from vyrox.events import event
from vyrox.intake import Stored, dedup_key, delivery, store
from vyrox.models import NormalizedAlert, Vendor
from vyrox.new_id import new_id

_table: Final = quarantine.c


class Quarantined(msgspec.Struct, frozen=True):
    """One kept payload. Times are Unix seconds.

    Attributes:
        deliveries: How often these bytes have arrived.
        alert_id: The alert it became when it was replayed, else None.
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


def keep(
    connection: Connection,
    tenant_id: str,
    source: Vendor,
    raw: bytes,
    reason: str,
    received_at: float,
) -> None:
    """Keep `raw` with `reason`; the same bytes of the same tenant are kept once and counted."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(
        insert(quarantine)
        .values(
            id=new_id(),
            tenant_id=tenant_id,
            source=source,
            dedup_key=dedup_key(tenant_id, source, raw),
            reason=reason,
            raw=raw,
            first_received_at=received_at,
            last_received_at=received_at,
            deliveries=1,
        )
        .on_conflict_do_update(
            index_elements=["dedup_key"],
            set_={
                "reason": reason,
                "last_received_at": received_at,
                "deliveries": _table.deliveries + 1,
                "replayed_at": None,
            },
        )
    )


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
    return _shown(row), bytes(row["raw"])


def replay(
    connection: Connection,
    quarantined: Quarantined,
    raw: bytes,
    alert: NormalizedAlert,
    now: float,
) -> Stored:
    """Store `alert`, which `raw` has become, and mark the kept payload as replayed.

    Where the same bytes have become an alert before, that is the one, however long ago: they may
    have been accepted from the vendor since they were kept, or replayed already.
    """
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
    """Return how many payloads each tenant has that were not replayed."""
    query = (
        sa.select(_table.tenant_id, sa.func.count())
        .where(_table.replayed_at.is_(None))
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
)
