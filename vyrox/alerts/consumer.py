"""Reads the alert queue: each alert is delivered until a consumer acknowledges it (contract 49).

A consumer that dies on an alert must not die on it again and again. After MAX_DELIVERIES the alert
becomes a dead letter: its row is marked, and its entry leaves the stream.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar, cast

import msgspec
import redis.asyncio
import redis.exceptions
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.alerts import scripts
from vyrox.alerts.dead_letters import is_dead, mark_dead
from vyrox.alerts.group import OtherConsumer, other_consumers, tenants_with_stream
from vyrox.alerts.queue import GROUP, RawEntry, decode_alert, stream_key, tenant_keys
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database
from vyrox.store.redis import redis_call
from vyrox.store.tables import alerts

T = TypeVar("T")

PENDING_PAGE: Final = 500
"""Pending entries that one call reads while it checks for dead letters."""

MAX_REMOVED_BYTES: Final = 1024 * 1024
"""Bytes after which one call removes no further entry. Redis serves no other client meanwhile."""

MAX_CLAIM_BYTES: Final = 8 * 1024 * 1024
"""Bytes after which one `take_over` claims no further entry."""


class QueuedAlert(msgspec.Struct, frozen=True):
    """An alert that was delivered to a consumer, until it is acknowledged or taken over."""

    tenant_id: str
    entry_id: bytes
    alert: NormalizedAlert
    raw: bytes


class AlertConsumer:
    """Reads the streams of all tenants. The rows decide which alerts are finished."""

    def __init__(self, client: redis.asyncio.Redis, database: Database) -> None:
        self._redis = client
        self._database = database
        self._remove_script = client.register_script(scripts.REMOVE)

    async def read(
        self, tenant_id: str, consumer: str, count: int, block_ms: int | None = None
    ) -> list[QueuedAlert]:
        """Deliver up to `count` new alerts to `consumer`.

        Args:
            block_ms: How long to wait for a new alert, at most 500: a Redis call without a reply
                fails soon after. None: do not wait.
        """
        stream = stream_key(tenant_id)
        async with redis_call():
            reply = await self._with_group(
                stream,
                lambda: self._redis.xreadgroup(
                    GROUP, consumer, {stream: ">"}, count=count, block=block_ms
                ),
            )
        streams = cast(list[tuple[bytes, list[RawEntry]]], reply or [])
        return await self._skip_finished(tenant_id, [e for _, page in streams for e in page])

    async def take_over(
        self, tenant_id: str, consumer: str, min_idle_ms: int, now: float, count: int = 100
    ) -> list[QueuedAlert]:
        """Deliver to `consumer` the alerts that another consumer has had for `min_idle_ms`.

        An alert that `is_dead` becomes a dead letter instead.
        """
        while True:
            taken, is_last = await self._take_idle(tenant_id, consumer, min_idle_ms, now, count)
            if taken or is_last:
                return taken

    async def _take_idle(
        self, tenant_id: str, consumer: str, min_idle_ms: int, now: float, count: int
    ) -> tuple[list[QueuedAlert], bool]:
        """Take over from the first `count` idle entries; return also whether they are the last."""
        stream = stream_key(tenant_id)
        async with redis_call():
            idle = await self._with_group(
                stream,
                lambda: self._redis.xpending_range(
                    stream, GROUP, "-", "+", count, idle=min_idle_ms
                ),
            )
        deliveries = {
            cast(bytes, entry["message_id"]): cast(int, entry["times_delivered"]) for entry in idle
        }
        claimed = await self._claim(stream, consumer, min_idle_ms, list(deliveries))
        taken: list[QueuedAlert] = []
        for queued in await self._skip_finished(tenant_id, claimed):
            before = deliveries[queued.entry_id]
            if is_dead(before, min_idle_ms, min_idle_ms):
                await self._dead_letter(queued, before, now)
            else:
                taken.append(queued)
        await self._count_delivery(
            stream, consumer, {each.entry_id: deliveries[each.entry_id] for each in taken}
        )
        return taken, len(idle) < max(count, 1)

    async def _claim(
        self, stream: str, consumer: str, min_idle_ms: int, entry_ids: Sequence[bytes]
    ) -> list[RawEntry]:
        """Claim entries, up to MAX_CLAIM_BYTES, without counting a delivery (JUSTID).

        While the database is away, every call fails after this step. If each counted as a
        delivery, an alert that no consumer has received would become a dead letter.
        """
        claimed: list[RawEntry] = []
        size_bytes = 0
        for entry_id in entry_ids:
            if size_bytes >= MAX_CLAIM_BYTES:
                break
            async with redis_call():
                if not await self._redis.xclaim(
                    stream, GROUP, consumer, min_idle_ms, [entry_id], justid=True
                ):
                    continue  # another consumer was first
                found = await self._entry(stream, entry_id)
                if not found:  # the entry was deleted
                    await self._redis.xack(stream, GROUP, entry_id)
            claimed += found
            size_bytes += sum(len(value) for _, fields in found for value in fields.values())
        return claimed

    async def _entry(self, stream: str, entry_id: bytes) -> list[RawEntry]:
        return cast(list[RawEntry], await self._redis.xrange(stream, entry_id, entry_id))

    async def _count_delivery(
        self, stream: str, consumer: str, deliveries: dict[bytes, int]
    ) -> None:
        """Add one delivery to each of these numbers of deliveries."""
        if not deliveries:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for entry_id, before in deliveries.items():
            pipeline.xclaim(
                stream, GROUP, consumer, 0, [entry_id], retrycount=before + 1, justid=True
            )
        async with redis_call():
            await pipeline.execute()

    async def acknowledge(self, queued: QueuedAlert, now: float) -> None:
        """Mark the alert as finished: it leaves the stream and is never queued again.

        A second call, or a late one after another consumer's, changes nothing.
        """
        # In this order: a crash between the two steps leaves an entry that `read` skips. In the
        # other order it would leave a row that a refill queues again.
        await self._database.write(_finish_row, queued.alert.id, now)
        await self.remove([queued])

    async def remove(self, queued: Sequence[QueuedAlert]) -> None:
        """Remove the entries of alerts of one tenant, whose rows are finished."""
        for some in _split(queued):
            args = [part for each in some for part in (each.entry_id, each.alert.id)]
            async with redis_call():
                await self._remove_script(tenant_keys(some[0].tenant_id), [GROUP, *args])

    async def streams(self) -> list[str]:
        """Return the tenants that have a stream."""
        return await tenants_with_stream(self._redis)

    async def other_consumers(self, own_prefix: str) -> list[OtherConsumer]:
        """Return the consumers of the group whose names do not begin with `own_prefix`."""
        return await other_consumers(self._redis, own_prefix)

    async def move_dead_letters(self, now: float) -> None:
        """Make dead letters of the alerts in every stream that `is_dead`.

        Raises:
            UnavailableError: A store is away; the next call does what is left.
        """
        for tenant_id in await self.streams():
            await self._move_dead_letters_of(tenant_id, now)

    async def _move_dead_letters_of(self, tenant_id: str, now: float) -> None:
        stream, after = stream_key(tenant_id), "-"
        while page := await self._pending(stream, after):
            for entry_id, deliveries, idle_ms in page:
                if is_dead(deliveries, idle_ms):
                    async with redis_call():
                        entries = await self._entry(stream, entry_id)
                    for queued in await self._skip_finished(tenant_id, entries):
                        await self._dead_letter(queued, deliveries, now)
            after = f"({page[-1][0].decode()}"

    async def _pending(self, stream: str, after: str) -> list[tuple[bytes, int, int]]:
        """Return entry id, deliveries and idle time of one page of the pending entries."""
        async with redis_call():
            try:
                page = await self._redis.xpending_range(stream, GROUP, after, "+", PENDING_PAGE)
            except redis.exceptions.ResponseError as exc:
                if not str(exc).startswith("NOGROUP"):
                    raise
                return []
        return [
            (
                cast(bytes, entry["message_id"]),
                cast(int, entry["times_delivered"]),
                cast(int, entry["time_since_delivered"]),
            )
            for entry in cast(list[dict[str, object]], page)
        ]

    async def _dead_letter(self, queued: QueuedAlert, deliveries: int, now: float) -> None:
        # In the same order as in `acknowledge`.
        if await self._database.write(
            mark_dead, queued.tenant_id, queued.alert.id, deliveries, now
        ):
            log.event(
                "alert.dead_lettered",
                logging.ERROR,
                tenant=queued.tenant_id,
                alert=queued.alert.id,
            )
        await self.remove([queued])

    async def _skip_finished(
        self, tenant_id: str, entries: Sequence[RawEntry]
    ) -> list[QueuedAlert]:
        """Return the unfinished alerts; remove the entries of finished ones from the stream."""
        found = [
            QueuedAlert(tenant_id, entry_id, decode_alert(fields[b"alert"]), fields[b"raw"])
            for entry_id, fields in entries
        ]
        if not found:
            return []
        finished = await self._database.read(_finished_among, [each.alert.id for each in found])
        if finished:
            await self.remove([queued for queued in found if queued.alert.id in finished])
        return [queued for queued in found if queued.alert.id not in finished]

    async def _with_group(self, stream: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `call`; create the group if `call` reports that it is missing.

        Not earlier: a Redis without free memory creates no group, and only consumers can free its
        memory.
        """
        try:
            return await call()
        except redis.exceptions.ResponseError as exc:
            if not str(exc).startswith("NOGROUP"):
                raise
        try:
            await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.exceptions.ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):
                raise
        return await call()


def _split(queued: Sequence[QueuedAlert]) -> Iterator[list[QueuedAlert]]:
    """Split `queued` into parts of MAX_REMOVED_BYTES, about: Redis reads each entry once more."""
    part: list[QueuedAlert] = []
    part_bytes = 0
    for each in queued:
        part.append(each)
        part_bytes += len(each.raw)
        if part_bytes >= MAX_REMOVED_BYTES:
            yield part
            part, part_bytes = [], 0
    if part:
        yield part


def _finished_among(connection: Connection, alert_ids: Sequence[str]) -> frozenset[str]:
    query = sa.select(alerts.c.id).where(
        alerts.c.id.in_(alert_ids), alerts.c.finished_at.is_not(None)
    )
    return frozenset(connection.execute(query).scalars())


def _finish_row(connection: Connection, alert_id: str, now: float) -> None:
    finish = alerts.update().where(alerts.c.id == alert_id, alerts.c.finished_at.is_(None))
    connection.execute(finish.values(finished_at=now))
