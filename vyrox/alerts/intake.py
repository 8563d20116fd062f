"""An accepted alert becomes a row (contract 14, 15 and 17).

The database is the source of truth; Redis holds the queue, which is filled from the rows. A row's
`dedup_key` is unique: the insert decides whether a delivery is new, for all containers.
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
from vyrox.models import NormalizedAlert, Severity, Vendor
from vyrox.store.rows import insert_rows
from vyrox.store.tables import alerts

MAX_NAME: Final = 256
"""Characters of a name, a hash or an id that lists filter by."""

_encoder: Final = msgspec.json.Encoder()

_STORED_FIELDS: Final = 13
"""The first fields of a Delivery, which are the first columns of its row."""

_ON_CONFLICT: Final = "ON CONFLICT (dedup_key) DO NOTHING"


class Delivery(msgspec.Struct, frozen=True):
    """An authenticated, normalised alert that is to be stored.

    Attributes:
        alert: The normalised alert as JSON.
        raw: The body as received.
        received_at: Unix seconds.
        hostname: As `folded` returns it. So are the four fields after it.
        request_id: Of the request that delivered it; not stored in the row. Nor is what follows.
        host: As the alert has it. So are `process` and `technique`.
    """

    alert_id: str
    tenant_id: str
    source: Vendor
    dedup_key: bytes
    received_at: float
    alert: bytes
    raw: bytes
    severity: Severity
    hostname: str | None
    username: str | None
    sha256: str | None
    technique_key: str | None
    raw_id: str | None
    request_id: str | None = None
    host: str | None = None
    process: str | None = None
    technique: str | None = None


class StoredAlert(msgspec.Struct, frozen=True):
    """The row of a delivery: its own, or that of an earlier delivery of the same bytes.

    Attributes:
        alert: The normalised alert as JSON.
        finished: The alert was acknowledged, or is a dead letter: it must not be queued again.
    """

    alert_id: str
    alert: bytes
    finished: bool
    redelivery: bool


class Intake:
    """Stores deliveries, each new alert together with its event (contract 17)."""

    def __init__(self, writer: ChainWriter, window_s: int) -> None:
        """`window_s` is how long the same bytes count as a redelivery (contract 14)."""
        self._writer = writer
        self._window_s = window_s

    async def accept(
        self, alert: NormalizedAlert, raw: bytes, received_at: float, request_id: str
    ) -> StoredAlert:
        """Store this delivery, unless it repeats an earlier one; return its committed row.

        Raises:
            UnavailableError: Not stored, or it is not known; the sender may send it again.
        """
        new = delivery(alert, raw, received_at, request_id)
        return (await self._writer.commit(self._store, new, len(raw) + len(new.alert))).result

    def _store(
        self, connection: Connection, deliveries: Sequence[Delivery]
    ) -> list[WorkResult[StoredAlert]]:
        stored = store(connection, deliveries, self._window_s)
        return [
            WorkResult(result) if result.redelivery else WorkResult(result, (accepted_event(each),))
            for each, result in zip(deliveries, stored, strict=True)
        ]


def accepted_event(new: Delivery) -> Draft:
    """Return the event that a new alert is recorded with."""
    return event(
        "alert.accepted",
        new.tenant_id,
        new.request_id,
        alert_id=new.alert_id,
        source=new.source,
        severity=new.severity,
        host=new.host,
        process=new.process,
        technique=new.technique,
    )


def delivery(
    alert: NormalizedAlert, raw: bytes, received_at: float, request_id: str | None = None
) -> Delivery:
    """Return `alert` as a delivery."""
    return Delivery(
        alert_id=alert.id,
        tenant_id=alert.tenant_id,
        source=alert.source,
        dedup_key=dedup_key(alert.tenant_id, alert.source, raw),
        received_at=received_at,
        alert=_encoder.encode(alert),
        raw=raw,
        severity=alert.severity,
        hostname=folded(alert.hostname),
        username=folded(alert.username),
        sha256=folded(alert.sha256),
        technique_key=folded(alert.technique),
        raw_id=folded(alert.raw_id),
        request_id=request_id,
        host=alert.hostname,
        process=alert.process_name,
        technique=alert.technique,
    )


def folded(text: str | None) -> str | None:
    """Return a text as lists filter by it: `storable`, in lower case, at most MAX_NAME characters.

    None if nothing is left.
    """
    if text is None:
        return None
    clean = text if text.isascii() and "\0" not in text else storable(text)
    return clean.strip().lower()[:MAX_NAME] or None


def storable(text: str) -> str:
    """Return `text` without what PostgreSQL cannot store: NUL, and lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def dedup_key(tenant_id: str, source: Vendor, raw: bytes) -> bytes:
    """Return 32 bytes that are equal if, and only if, tenant, source and body are equal."""
    # A tenant id and a source contain no NUL, so the joined text is unambiguous.
    return sha256(b"%b\0%b\0%b" % (tenant_id.encode(), source.encode(), raw)).digest()


def store(
    connection: Connection, deliveries: Sequence[Delivery], window_s: float
) -> list[StoredAlert]:
    """Store the new ones of `deliveries`; return the row of each, in order.

    Args:
        window_s: How long the same bytes count as a redelivery (contract 14).
    """
    first: dict[bytes, Delivery] = {}
    for each in deliveries:
        first.setdefault(each.dedup_key, each)
    stored: dict[bytes, StoredAlert] = {}
    # Sorted: two containers that insert the same keys in different orders deadlock.
    while missing := sorted(first.keys() - stored.keys()):
        for new in _insert(connection, [first[key] for key in missing]):
            stored[new.dedup_key] = StoredAlert(
                new.alert_id, new.alert, finished=False, redelivery=False
            )
        # In the same order: the update of a row locks it.
        for row in _earlier_rows(connection, [key for key in missing if key not in stored]):
            if row.received_at > first[row.dedup_key].received_at - window_s:
                finished = row.finished_at is not None
                stored[row.dedup_key] = StoredAlert(row.id, row.alert, finished, redelivery=True)
            else:
                # The window of the old row is over: free its key, and insert in the next round.
                free = alerts.update().where(alerts.c.id == row.id).values(dedup_key=None)
                connection.execute(free)
    return [
        stored[each.dedup_key]
        if each is first[each.dedup_key]
        else msgspec.structs.replace(stored[each.dedup_key], redelivery=True)
        for each in deliveries
    ]


def _insert(connection: Connection, deliveries: Sequence[Delivery]) -> Iterable[Delivery]:
    """Insert the deliveries whose key is new, and return them."""
    rows = [msgspec.structs.astuple(new)[:_STORED_FIELDS] for new in deliveries]
    if insert_rows(connection, alerts, rows, _ON_CONFLICT) == len(rows):
        return deliveries
    query = sa.select(alerts.c.id).where(alerts.c.id.in_([new.alert_id for new in deliveries]))
    present = set(connection.execute(query).scalars())
    return [new for new in deliveries if new.alert_id in present]


class _EarlierRow(msgspec.Struct, frozen=True):
    id: str
    dedup_key: bytes
    alert: bytes
    received_at: float
    finished_at: float | None


def _earlier_rows(connection: Connection, keys: Sequence[bytes]) -> list[_EarlierRow]:
    """Return the rows with these keys, in order of key."""
    if not keys:
        return []
    c = alerts.c
    query = sa.select(c.id, c.dedup_key, c.alert, c.received_at, c.finished_at)
    query = query.where(c.dedup_key.in_(keys)).order_by(c.dedup_key)
    return [_EarlierRow(*row) for row in connection.execute(query)]
