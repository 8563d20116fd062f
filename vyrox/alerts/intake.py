"""An accepted alert becomes a row (contract 14, 15 and 17).

The row is the truth; Redis is the dispatch queue, filled from it. A row's `dedup_key` is unique, so
inserting it *is* the redelivery decision, across restarts and containers.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Draft
from vyrox.chain.events import event
from vyrox.chain.writer import ChainWriter, WorkResult
from vyrox.models import NormalizedAlert, Vendor
from vyrox.store.rows import insert_rows
from vyrox.store.tables import alerts

_encoder: Final = msgspec.json.Encoder()

_ON_CONFLICT: Final = "ON CONFLICT (dedup_key) DO NOTHING"


class Delivery(msgspec.Struct, frozen=True):
    """An authenticated, normalised alert before it is stored: the first columns of its row.

    Attributes:
        alert: The normalised alert as JSON.
        raw: The body as received.
        received_at: Unix seconds.
    """

    alert_id: str
    tenant_id: str
    source: Vendor
    dedup_key: bytes
    received_at: float
    alert: bytes
    raw: bytes


class StoredAlert(msgspec.Struct, frozen=True):
    """What the store holds for a delivery: its own row, or that of the delivery it repeats.

    Attributes:
        alert: The normalised alert as JSON.
        finished: A consumer is done with it, so it must not be queued again.
    """

    alert_id: str
    alert: bytes
    finished: bool
    redelivery: bool


class Arrival(msgspec.Struct, frozen=True):
    """A delivery and the id of the request that brought it."""

    delivery: Delivery
    request_id: str


class Intake:
    """Stores deliveries, each new alert together with its event (contract 17)."""

    def __init__(self, writer: ChainWriter, window_s: int) -> None:
        """`window_s` is how long the same bytes count as a redelivery (contract 14)."""
        self._writer = writer
        self._window_s = window_s

    async def accept(
        self, alert: NormalizedAlert, raw: bytes, received_at: float, request_id: str
    ) -> StoredAlert:
        """Return what the store holds for this delivery, once that is committed.

        Raises:
            UnavailableError: Not stored, or not known to be; the same delivery may be sent again.
        """
        arrival = Arrival(delivery(alert, raw, received_at), request_id)
        size_bytes = len(raw) + len(arrival.delivery.alert)
        return (await self._writer.commit(self._store, arrival, size_bytes)).result

    def _store(
        self, connection: Connection, arrivals: Sequence[Arrival]
    ) -> list[WorkResult[StoredAlert]]:
        stored = store(connection, [arrival.delivery for arrival in arrivals], self._window_s)
        return [
            WorkResult(result) if result.redelivery else WorkResult(result, (_accepted(arrival),))
            for arrival, result in zip(arrivals, stored, strict=True)
        ]


def _accepted(arrival: Arrival) -> Draft:
    new = arrival.delivery
    return event(
        "alert.accepted",
        new.tenant_id,
        arrival.request_id,
        alert_id=new.alert_id,
        source=new.source,
    )


def delivery(alert: NormalizedAlert, raw: bytes, received_at: float) -> Delivery:
    """Return the row that `alert` becomes."""
    return Delivery(
        alert_id=alert.id,
        tenant_id=alert.tenant_id,
        source=alert.source,
        dedup_key=dedup_key(alert.tenant_id, alert.source, raw),
        received_at=received_at,
        alert=_encoder.encode(alert),
        raw=raw,
    )


def dedup_key(tenant_id: str, source: Vendor, raw: bytes) -> bytes:
    """Return 32 bytes that two deliveries share if, and only if, the second repeats the first."""
    # Neither a tenant id nor a source can hold a NUL, so no two triples run together.
    return sha256(b"%b\0%b\0%b" % (tenant_id.encode(), source.encode(), raw)).digest()


def store(
    connection: Connection, deliveries: Sequence[Delivery], window_s: float
) -> list[StoredAlert]:
    """Store `deliveries` and return what the store holds for each, in order."""
    first: dict[bytes, Delivery] = {}
    for arrived in deliveries:
        first.setdefault(arrived.dedup_key, arrived)
    stored: dict[bytes, StoredAlert] = {}
    # Sorted: two containers that insert the same keys in different orders would deadlock.
    while missing := sorted(first.keys() - stored.keys()):
        for new in _insert(connection, [first[key] for key in missing]):
            stored[new.dedup_key] = StoredAlert(
                new.alert_id, new.alert, finished=False, redelivery=False
            )
        # In the same order as above: releasing a key locks its row.
        for held in _holders(connection, [key for key in missing if key not in stored]):
            if held.received_at > first[held.dedup_key].received_at - window_s:
                finished = held.finished_at is not None
                stored[held.dedup_key] = StoredAlert(held.id, held.alert, finished, redelivery=True)
            else:
                # Its window is over: the old row gives the key up and the next round inserts.
                release = alerts.update().where(alerts.c.id == held.id).values(dedup_key=None)
                connection.execute(release)
    return [
        stored[arrived.dedup_key]
        if arrived is first[arrived.dedup_key]
        else msgspec.structs.replace(stored[arrived.dedup_key], redelivery=True)
        for arrived in deliveries
    ]


def _insert(connection: Connection, deliveries: Sequence[Delivery]) -> Iterable[Delivery]:
    """Insert those whose key no row holds, and return them."""
    rows = [msgspec.structs.astuple(new) for new in deliveries]
    if insert_rows(connection, alerts, rows, _ON_CONFLICT) == len(rows):
        return deliveries
    query = sa.select(alerts.c.id).where(alerts.c.id.in_([new.alert_id for new in deliveries]))
    present = set(connection.execute(query).scalars())
    return [new for new in deliveries if new.alert_id in present]


class _Holder(msgspec.Struct, frozen=True):
    id: str
    dedup_key: bytes
    alert: bytes
    received_at: float
    finished_at: float | None


def _holders(connection: Connection, keys: Sequence[bytes]) -> list[_Holder]:
    """Return the rows that hold `keys`."""
    if not keys:
        return []
    c = alerts.c
    query = sa.select(c.id, c.dedup_key, c.alert, c.received_at, c.finished_at)
    query = query.where(c.dedup_key.in_(keys)).order_by(c.dedup_key)
    return [_Holder(*row) for row in connection.execute(query)]
