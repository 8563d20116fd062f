"""The alert queue: one Redis stream per tenant, filled once per alert, refilled from rows.

    put -> stream `vyrox:alerts:{tenant}` -> read / take_over -> finish
                                                            `-> dead letter, after MAX_DELIVERIES

Redis may lose what it likes: `vyrox.refill` puts back what is missing. Any number of containers may
put the same alert at the same time: the script adds it where it is not there, in one atomic step.
"""

import logging
from collections.abc import Sequence
from typing import Final, Literal, TypeGuard, cast

import msgspec
import redis.asyncio
import redis.exceptions
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.db import Database
from vyrox.db.tables import alerts
from vyrox.errors import QueueFullError, QueueUnavailableError
from vyrox.group_commit import GroupCommit
from vyrox.models import NormalizedAlert
from vyrox.redis_client import redis_call

GROUP: Final = "triage"
"""The consumer group. One is enough: an alert is triaged once."""

MAX_DELIVERIES: Final = 5
"""A consumer that dies on an alert must not die on it for ever."""

MAX_CLAIM_BYTES: Final = 8 * 1024 * 1024
"""Of entries that one `take_over` returns, less the last."""

_PROBE_KEY: Final = "vyrox:probe"

# A mark (alert id -> entry id) without its entry counts as missing: somebody deleted the stream,
# and the new one may give the same entry id to another alert.
_IS_QUEUED: Final = """
local function is_queued(stream, marks, id)
  local entry = redis.call('HGET', marks, id)
  local found = entry and redis.call('XRANGE', stream, entry, entry)[1]
  return found and string.find(found[2][2], id, 1, true)
end
"""

# Per alert: stream and marks; its three arguments follow the maximum length.
_PUT: Final = (
    _IS_QUEUED
    + """
local results = {}
for i = 1, #KEYS / 2 do
  local stream, marks = KEYS[2 * i - 1], KEYS[2 * i]
  local id = ARGV[3 * i - 1]
  if is_queued(stream, marks, id) then
    results[i] = 'present'
  elseif redis.call('XLEN', stream) >= tonumber(ARGV[1]) then
    results[i] = 'full'
  else
    local entry = redis.call('XADD', stream, '*', 'alert', ARGV[3 * i], 'raw', ARGV[3 * i + 1])
    redis.call('HSET', marks, id, entry)
    results[i] = 'added'
  end
end
return results
"""
)
_MISSING: Final = (
    _IS_QUEUED
    + """
local missing = {}
for i = 1, #ARGV do
  if not is_queued(KEYS[2 * i - 1], KEYS[2 * i], ARGV[i]) then
    missing[#missing + 1] = ARGV[i]
  end
end
return missing
"""
)
_REMOVE: Final = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[3])
"""


class Entry(msgspec.Struct, frozen=True):
    """A stored alert on its way into its tenant's stream. `alert` is the alert as JSON."""

    tenant_id: str
    alert_id: str
    alert: bytes
    raw: bytes


class Delivered(msgspec.Struct, frozen=True):
    """A stream entry in a consumer's hands, until it is finished or taken over."""

    tenant_id: str
    entry_id: bytes
    alert: NormalizedAlert
    raw: bytes


class TenantRows(msgspec.Struct, frozen=True):
    """How many of a tenant's alerts wait for a consumer, are done with, or were given up."""

    tenant_id: str
    unfinished: int
    finished: int
    dead: int


PutResult = Literal[b"added", b"present", b"full"]

_PUT_RESULTS: Final = frozenset({b"added", b"present", b"full"})

_RawEntry = tuple[bytes, dict[bytes, bytes]]
"""An entry id and the entry's fields, as Redis replies them."""

_decoder: Final = msgspec.json.Decoder(NormalizedAlert)


def stream_key(tenant_id: str) -> str:
    """Return the tenant's stream; the braces keep its keys in one slot of a Redis cluster."""
    return f"vyrox:alerts:{{{tenant_id}}}"


def _marks_key(tenant_id: str) -> str:
    return f"vyrox:queued:{{{tenant_id}}}"


class AlertQueue:
    """The streams of all tenants. `put` needs `run` to be running."""

    def __init__(self, client: redis.asyncio.Redis, database: Database, max_alerts: int) -> None:
        """`max_alerts` is per tenant; a full queue refuses, nothing is trimmed."""
        self._redis = client
        self._database = database
        self._max_alerts = max_alerts
        self._puts = GroupCommit[Entry, PutResult](
            self.put_batch,
            lambda entry: len(entry.alert) + len(entry.raw),
            lambda entry: entry.tenant_id,
        )
        self._put_script = client.register_script(_PUT)
        self._missing_script = client.register_script(_MISSING)
        self._remove_script = client.register_script(_REMOVE)

    async def run(self) -> None:
        """Send what `put` hands in, until cancelled."""
        await self._puts.run()

    async def put(self, entry: Entry) -> None:
        """Add `entry` to its tenant's stream, unless it is there.

        Raises:
            QueueFullError: The stream holds the maximum; a refill adds the entry when it has room.
            QueueUnavailableError: Redis did not confirm; the entry may be there.
            OverloadedError: Too many are waiting.
        """
        if await self._puts.submit(entry) == b"full":
            raise QueueFullError(f"{entry.tenant_id} has {self._max_alerts} alerts queued")

    async def put_batch(self, entries: Sequence[Entry]) -> list[PutResult]:
        """Add each of `entries` that is not there and has room, in one call; return how each went.

        Raises:
            QueueUnavailableError: Redis did not confirm; some may be there.
        """
        keys: list[str] = []
        args: list[str | bytes | int] = [self._max_alerts]
        for entry in entries:
            keys += (stream_key(entry.tenant_id), _marks_key(entry.tenant_id))
            args += (entry.alert_id, entry.alert, entry.raw)
        async with redis_call():
            reply: object = await self._put_script(keys, args)
            if _is_put_reply(reply, len(entries)):
                return reply
            # Not an answer to this question: whatever comes next on these connections is not to be
            # believed either.
            await self._redis.connection_pool.disconnect(inuse_connections=False)
        raise QueueUnavailableError("a reply that is none to what was asked")

    async def missing(self, alerts: Sequence[tuple[str, str]]) -> list[str]:
        """Return the ids, out of (tenant id, alert id), that the streams do not hold."""
        keys = [key(tenant_id) for tenant_id, _ in alerts for key in (stream_key, _marks_key)]
        async with redis_call():
            reply = await self._missing_script(keys, [alert_id for _, alert_id in alerts])
        return [alert_id.decode() for alert_id in cast(list[bytes], reply)]

    async def probe(self) -> None:
        """Write to Redis: PING succeeds on a server that is full or read-only.

        Raises:
            QueueUnavailableError: An alert could not be queued now.
        """
        async with redis_call():
            await self._redis.set(_PROBE_KEY, b"")

    async def read(
        self, tenant_id: str, consumer: str, count: int, block_ms: int | None = None
    ) -> list[Delivered]:
        """Return up to `count` alerts that no consumer has had, now in `consumer`'s hands.

        Args:
            block_ms: Wait so long for one to arrive, at most 500 (a call that is quiet for longer
                counts as failed); None: do not wait.
        """
        stream = stream_key(tenant_id)
        async with redis_call():
            await self._ensure_group(stream)
            reply = await self._redis.xreadgroup(
                GROUP, consumer, {stream: ">"}, count=count, block=block_ms
            )
        streams = cast(list[tuple[bytes, list[_RawEntry]]], reply or [])
        return await self._skip_finished(tenant_id, [e for _, page in streams for e in page])

    async def take_over(
        self, tenant_id: str, consumer: str, min_idle_ms: int, now: float, count: int = 100
    ) -> list[Delivered]:
        """Return what other consumers have held for `min_idle_ms` without finishing it.

        What has been delivered MAX_DELIVERIES times is dead-lettered instead: marked on its row
        and taken off the stream.
        """
        while True:
            taken, is_last = await self._take_idle(tenant_id, consumer, min_idle_ms, now, count)
            if taken or is_last:
                return taken

    async def _take_idle(
        self, tenant_id: str, consumer: str, min_idle_ms: int, now: float, count: int
    ) -> tuple[list[Delivered], bool]:
        """Return what is left of the first `count` idle ones, and whether there are no others."""
        stream = stream_key(tenant_id)
        async with redis_call():
            await self._ensure_group(stream)
            idle = await self._redis.xpending_range(
                stream, GROUP, "-", "+", count, idle=min_idle_ms
            )
        deliveries = {
            cast(bytes, entry["message_id"]): cast(int, entry["times_delivered"]) for entry in idle
        }
        claimed = await self._claim(stream, consumer, min_idle_ms, list(deliveries))
        taken: list[Delivered] = []
        for delivered in await self._skip_finished(tenant_id, claimed):
            if deliveries[delivered.entry_id] >= MAX_DELIVERIES:
                await self._end(delivered, now, f"delivered {MAX_DELIVERIES} times, never finished")
                log.event("alert.dead", logging.ERROR, tenant=tenant_id, alert=delivered.alert.id)
            else:
                taken.append(delivered)
        await self._count(stream, consumer, {d.entry_id: deliveries[d.entry_id] for d in taken})
        return taken, len(idle) < max(count, 1)

    async def _claim(
        self, stream: str, consumer: str, min_idle_ms: int, entry_ids: Sequence[bytes]
    ) -> list[_RawEntry]:
        """Take entries over, as many as MAX_CLAIM_BYTES hold; that is no delivery yet (JUSTID).

        A delivery counted for a call that then fails, as all do while the database is away, would
        in the end bury what no consumer has ever seen.
        """
        claimed: list[_RawEntry] = []
        size_bytes = 0
        for entry_id in entry_ids:
            if size_bytes >= MAX_CLAIM_BYTES:
                break
            async with redis_call():
                if not await self._redis.xclaim(
                    stream, GROUP, consumer, min_idle_ms, [entry_id], justid=True
                ):
                    continue  # another consumer was first
                found = cast(list[_RawEntry], await self._redis.xrange(stream, entry_id, entry_id))
                if not found:  # somebody has deleted it
                    await self._redis.xack(stream, GROUP, entry_id)
            claimed += found
            size_bytes += sum(len(value) for _, fields in found for value in fields.values())
        return claimed

    async def _count(self, stream: str, consumer: str, deliveries: dict[bytes, int]) -> None:
        """Count one delivery more of each of these."""
        if not deliveries:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for entry_id, before in deliveries.items():
            pipeline.xclaim(
                stream, GROUP, consumer, 0, [entry_id], retrycount=before + 1, justid=True
            )
        async with redis_call():
            await pipeline.execute()

    async def finish(self, delivered: Delivered, now: float) -> None:
        """Mark the alert as done with: it leaves the stream and is never queued again."""
        await self._end(delivered, now, dead_reason=None)

    async def _end(self, delivered: Delivered, now: float, dead_reason: str | None) -> None:
        # In this order: a crash between the two leaves an entry that `read` skips, not a row that
        # a refill would queue again.
        await self._database.write(_finish_row, delivered.alert.id, now, dead_reason)
        await self._remove(delivered.tenant_id, delivered.entry_id, delivered.alert.id)

    async def _skip_finished(self, tenant_id: str, entries: Sequence[_RawEntry]) -> list[Delivered]:
        """Return the entries, less those of finished alerts, which are taken off the stream."""
        delivered = [
            Delivered(tenant_id, entry_id, _decoder.decode(fields[b"alert"]), fields[b"raw"])
            for entry_id, fields in entries
        ]
        if not delivered:
            return []
        finished = await self._database.read(_finished_among, [d.alert.id for d in delivered])
        for entry in delivered:
            if entry.alert.id in finished:
                await self._remove(tenant_id, entry.entry_id, entry.alert.id)
        return [entry for entry in delivered if entry.alert.id not in finished]

    async def _remove(self, tenant_id: str, entry_id: bytes, alert_id: str) -> None:
        keys = [stream_key(tenant_id), _marks_key(tenant_id)]
        async with redis_call():
            await self._remove_script(keys, [GROUP, entry_id, alert_id])

    async def _ensure_group(self, stream: str) -> None:
        try:
            await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.exceptions.ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):
                raise

    async def peek(self, tenant_id: str, count: int) -> list[NormalizedAlert]:
        """Return the first `count` alerts in the tenant's stream, and leave them there."""
        async with redis_call():
            reply = await self._redis.xrange(stream_key(tenant_id), count=count)
        entries = cast(list[_RawEntry], reply)
        return [_decoder.decode(fields[b"alert"]) for _, fields in entries]

    async def count(self, tenant_ids: Sequence[str]) -> list[int]:
        """Return how many alerts each tenant's stream holds."""
        async with redis_call():
            return [await self._redis.xlen(stream_key(tenant_id)) for tenant_id in tenant_ids]


def _is_put_reply(reply: object, count: int) -> TypeGuard[list[PutResult]]:
    return (
        isinstance(reply, list)
        and len(reply) == count
        and all(isinstance(result, bytes) and result in _PUT_RESULTS for result in reply)
    )


def _finished_among(connection: Connection, alert_ids: Sequence[str]) -> frozenset[str]:
    query = sa.select(alerts.c.id).where(
        alerts.c.id.in_(alert_ids), alerts.c.finished_at.is_not(None)
    )
    return frozenset(connection.execute(query).scalars())


def _finish_row(connection: Connection, alert_id: str, now: float, dead_reason: str | None) -> None:
    finish = alerts.update().where(alerts.c.id == alert_id, alerts.c.finished_at.is_(None))
    connection.execute(finish.values(finished_at=now, dead_reason=dead_reason))


def count_rows(connection: Connection) -> list[TenantRows]:
    """Return how the alerts of each tenant stand, in order of tenant."""
    c = alerts.c
    query = (
        sa.select(
            c.tenant_id,
            sa.func.count().filter(c.finished_at.is_(None)),
            sa.func.count().filter(c.finished_at.is_not(None), c.dead_reason.is_(None)),
            sa.func.count().filter(c.dead_reason.is_not(None)),
        )
        .group_by(c.tenant_id)
        .order_by(c.tenant_id)
    )
    return [TenantRows(*row) for row in connection.execute(query)]
