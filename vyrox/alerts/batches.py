"""All elements of one delivery in one transaction: alerts, and what is not one (contract 71)."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
from sqlalchemy import Connection

from vyrox.alerts.intake import Delivery, StoredAlert, accepted_event, store
from vyrox.alerts.quarantine import Unreadable, keep
from vyrox.alerts.queue import AlertQueue, QueueEntry
from vyrox.chain.writer import ChainWriter, WorkResult

PUT_TOGETHER: Final = 50
"""Alerts of one delivery that wait for Redis at once: other senders' alerts wait there too."""


class Batch(msgspec.Struct, frozen=True):
    """The elements of one delivery, without those that are ignored."""

    tenant_id: str
    deliveries: tuple[Delivery, ...]
    unreadable: tuple[Unreadable, ...] = ()


class StoredBatch(msgspec.Struct, frozen=True):
    """The rows of the alerts, in order, and whether there was room for each other body."""

    alerts: tuple[StoredAlert, ...]
    kept: tuple[bool, ...]


class BatchIntake:
    """Stores batches, each as a whole or not at all."""

    def __init__(self, writer: ChainWriter, window_s: int, quarantine_max_bytes: int) -> None:
        """`window_s` is how long the same bytes count as a redelivery (contract 14)."""
        self._writer = writer
        self._window_s = window_s
        self._quarantine_max_bytes = quarantine_max_bytes

    async def accept(self, batch: Batch) -> StoredBatch:
        """Store the batch; return its committed rows.

        Raises:
            UnavailableError: Not stored, or it is not known; the sender may send it again.
        """
        size = sum(len(each.raw) + len(each.alert) for each in batch.deliveries)
        size += sum(len(each.raw) for each in batch.unreadable)
        committed = await self._writer.commit(self._store, batch, size, owner=batch.tenant_id)
        return committed.result

    def _store(
        self, connection: Connection, batches: Sequence[Batch]
    ) -> list[WorkResult[StoredBatch]]:
        deliveries = [each for batch in batches for each in batch.deliveries]
        unreadable = [each for batch in batches for each in batch.unreadable]
        # The order of the rows' locks is that of the other work of a transaction.
        stored = iter(store(connection, deliveries, self._window_s) if deliveries else ())
        limit = self._quarantine_max_bytes
        kept = iter(keep(connection, unreadable, limit) if unreadable else ())
        results: list[WorkResult[StoredBatch]] = []
        for batch in batches:
            rows = tuple(next(stored) for _ in batch.deliveries)
            drafts = tuple(
                accepted_event(new)
                for new, row in zip(batch.deliveries, rows, strict=True)
                if not row.redelivery
            )
            result = StoredBatch(rows, tuple(next(kept) for _ in batch.unreadable))
            results.append(WorkResult(result, drafts))
        return results


async def put_all(queue: AlertQueue, entries: Sequence[QueueEntry]) -> None:
    """Add `entries` to their streams, unless they are there already.

    Raises:
        UnavailableError: A stream is full, or Redis did not confirm all; a refill adds the rest.
    """
    if len(entries) == 1:
        await queue.put(entries[0])
        return
    for start in range(0, len(entries), PUT_TOGETHER):
        await asyncio.gather(*map(queue.put, entries[start : start + PUT_TOGETHER]))


def key_of_message(tenant_id: str, source: str, message_id: bytes, number: int) -> bytes:
    """Return the redelivery key of an element whose delivery has a name of its own.

    Args:
        number: The element's place in the delivery.
    """
    named = b"%b\0%b webhook-id\0%d\0%b" % (tenant_id.encode(), source.encode(), number, message_id)
    return sha256(named).digest()
