"""The alert queue: one Redis stream per tenant, filled once per alert, refilled from rows.

    put -> stream `vyrox:alerts:{tenant}` -> read / take_over -> finish
                                                            `-> dead letter, after MAX_DELIVERIES

Redis may lose entries: `alerts.refill` puts back what is missing. Any number of containers may put
the same alert at the same time: the script adds it once, in one atomic step.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, TypeGuard, TypeVar, cast

import msgspec
import redis.asyncio
import redis.exceptions
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.alerts.dead_letters import give_up, is_dead
from vyrox.errors import QueueFullError, QueueUnavailableError
from vyrox.ids import is_tenant_id
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database
from vyrox.store.group_commit import GroupCommit
from vyrox.store.redis import redis_call
from vyrox.store.tables import alerts

T = TypeVar("T")

GROUP: Final = "triage"
"""The consumer group. One is enough: an alert is triaged once."""

DEFAULT_MAX_BYTES: Final = 1024 * 1024 * 1024

PAGE: Final = 500
"""Entries that one call of a recount, or one look for dead alerts, goes through."""

SCANNED: Final = 1000
"""Keys that one call looks at for streams."""

MAX_CLAIM_BYTES: Final = 8 * 1024 * 1024
"""Of entries that one `take_over` returns, less the last."""

MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
"""Of entries that one call of a recount looks at, less the last; Redis serves nobody else then."""

_PROBED: Final = "!probe"
"""Whose keys a probe uses, and leaves empty: no tenant can have this name (contract 7)."""

# A mark (alert id -> entry id) without its entry counts as missing: somebody deleted the stream,
# and the new one may give the same entry id to another alert.
#
# Beside the marks stand `bytes` and `count`, of what was in the stream when it was last counted and
# of all that was added since. Whoever finishes alerts need not keep them, so they are upper bounds;
# they begin anew when the stream is empty. Without them the marks were lost, or are those of an
# earlier version. Where they are missing and where they no longer say enough, the result is
# `unsure`, and the stream has to be counted.
_PUT_ONE: Final = """
local function is_queued(stream, entry, id)
  local found = entry and redis.call('XRANGE', stream, entry, entry)[1]
  return found and string.find(found[2][2], id, 1, true)
end
local function put(stream, marks, max_alerts, max_bytes, id, alert, raw)
  local held = redis.call('HMGET', marks, id, 'bytes', 'count')
  if is_queued(stream, held[1], id) then return 'present' end
  local length = redis.call('XLEN', stream)
  if length >= max_alerts then return 'full' end
  local bytes, count = 0, 0
  if length > 0 then
    if not held[2] then return 'unsure' end
    bytes, count = tonumber(held[2]), tonumber(held[3])
    if bytes >= max_bytes then
      return (count - length) * 16 >= count and count > length and 'unsure' or 'full'
    end
  end
  local entry = redis.call('XADD', stream, '*', 'alert', alert, 'raw', raw)
  redis.call('HSET', marks, id, entry, 'bytes', bytes + #alert + #raw, 'count', count + 1)
  return 'added'
end
"""

# Per alert: stream and marks; its three arguments follow the two maxima.
_PUT: Final = (
    _PUT_ONE
    + """
local results, max_alerts, max_bytes = {}, tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 1, #KEYS / 2 do
  results[i] = put(KEYS[2 * i - 1], KEYS[2 * i], max_alerts, max_bytes,
                   ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2])
end
return results
"""
)

# All that a 202 takes, on keys of no tenant; with ARGV[1], all that giving an alert up takes, too.
# The first write must be that of an alert: after another one, Redis does not look at its memory.
_PROBE: Final = (
    _PUT_ONE
    + """
local stream, marks, results = KEYS[1], KEYS[2], {}
for i = 1, 2 do results[i] = put(stream, marks, 2, 2, 'id', 'id', '') end
if ARGV[1] ~= '' then
  redis.call('SCAN', '0', 'COUNT', 1)
  redis.call('XGROUP', 'CREATE', stream, ARGV[1], '0')
  redis.call('XPENDING', stream, ARGV[1], '-', '+', 1)
  redis.call('XACK', stream, ARGV[1], '0-1')
  redis.call('XDEL', stream, '0-1')
  redis.call('HDEL', marks, 'id')
end
redis.call('DEL', stream, marks)
return results
"""
)
_MISSING: Final = (
    _PUT_ONE
    + """
local missing, unsure = {}, {}
for i = 1, #ARGV do
  local stream, marks = KEYS[2 * i - 1], KEYS[2 * i]
  local held = redis.call('HMGET', marks, ARGV[i], 'bytes')
  if not is_queued(stream, held[1], ARGV[i]) then
    local is_counted = held[2] or redis.call('XLEN', stream) == 0
    local list = is_counted and missing or unsure
    list[#list + 1] = ARGV[i]
  end
end
return {missing, unsure}
"""
)

# Marks what stands in the stream behind ARGV[1], one page of it, and adds it to the bytes and count
# so far. What is added meanwhile comes at the end, what is taken off was counted: an upper bound.
_RECOUNT: Final = """
local stream, marks = KEYS[1], KEYS[2]
local after, bytes, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most_bytes, most = bytes + tonumber(ARGV[4]), count + tonumber(ARGV[5])
while bytes < most_bytes and count < most do
  local found = redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', 1)[1]
  if not found then
    redis.call('HSET', marks, 'bytes', bytes, 'count', count)
    return {1, after, bytes, count}
  end
  local alert, raw = found[2][2], found[2][4]
  local id = string.match(alert, '^{"id":"([^"]+)"')
  if id then redis.call('HSET', marks, id, found[1]) end
  after, bytes, count = found[1], bytes + #alert + #(raw or ''), count + 1
end
return {0, after, bytes, count}
"""
_REMOVE: Final = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[3])
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end
"""


class QueueEntry(msgspec.Struct, frozen=True):
    """A stored alert on its way into its tenant's stream. `alert` is the alert as JSON."""

    tenant_id: str
    alert_id: str
    alert: bytes
    raw: bytes


class QueuedAlert(msgspec.Struct, frozen=True):
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


PutResult = Literal[b"added", b"present", b"full", b"unsure"]

_PUT_RESULTS: Final = frozenset({b"added", b"present", b"full", b"unsure"})


class _Counted(msgspec.Struct, frozen=True):
    """How far a recount has come: the entry it stands at, and what stands before."""

    after: bytes = b"0-0"
    size_bytes: int = 0
    count: int = 0


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

    def __init__(
        self,
        client: redis.asyncio.Redis,
        database: Database,
        max_alerts: int,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """The maxima are per tenant; a full queue refuses, nothing is trimmed."""
        self._redis = client
        self._database = database
        self._max_alerts = max_alerts
        self._max_bytes = max_bytes
        self._recounts: dict[str, _Counted] = {}  # under way, by tenant
        self._puts = GroupCommit[QueueEntry, PutResult](
            self.put_batch,
            lambda entry: len(entry.alert) + len(entry.raw),
            lambda entry: entry.tenant_id,
        )
        self._put_script = client.register_script(_PUT)
        self._missing_script = client.register_script(_MISSING)
        self._recount_script = client.register_script(_RECOUNT)
        self._probe_script = client.register_script(_PROBE)
        self._remove_script = client.register_script(_REMOVE)

    async def run(self) -> None:
        """Send what `put` hands in, until cancelled."""
        await self._puts.run()

    async def put(self, entry: QueueEntry) -> None:
        """Add `entry` to its tenant's stream, unless it is there.

        Raises:
            QueueFullError: The stream holds the maximum; a refill adds the entry when it has room.
            QueueUnavailableError: Redis did not confirm, and the entry may be there; or the stream
                is being counted.
            OverloadedError: Too many are waiting.
        """
        result = await self._puts.submit(entry)
        if result == b"full":
            raise QueueFullError(f"the queue of {entry.tenant_id} is full")
        if result == b"unsure":
            raise QueueUnavailableError(f"the queue of {entry.tenant_id} is being counted")

    async def put_batch(self, entries: Sequence[QueueEntry]) -> list[PutResult]:
        """Add each of `entries` that is not there and has room, in one call; return how each went.

        Where that cannot be told before the stream is counted, a page of it is, and if that is not
        all, the result is `unsure`: `end_recounts` goes on.

        Raises:
            QueueUnavailableError: Redis did not confirm; some may be there.
        """
        results = await self._put_batch(entries)
        if b"unsure" not in results:
            return results
        unsure = [index for index, result in enumerate(results) if result == b"unsure"]
        counted = {
            tenant_id: await self._recount(tenant_id)
            for tenant_id in {entries[index].tenant_id for index in unsure}
        }
        again = [index for index in unsure if counted[entries[index].tenant_id]]
        if again:
            retried = await self._put_batch([entries[index] for index in again])
            for index, result in zip(again, retried, strict=True):
                results[index] = result
        return results

    async def put_patiently(self, entries: Sequence[QueueEntry]) -> list[PutResult]:
        """Do as `put_batch`, and count the streams to the end where they have to be.

        Raises:
            QueueUnavailableError: As `put_batch`.
        """
        while b"unsure" in (results := await self.put_batch(entries)):
            await self.end_recounts()
        return results

    async def _put_batch(self, entries: Sequence[QueueEntry]) -> list[PutResult]:
        keys: list[str] = []
        args: list[str | bytes | int] = [self._max_alerts, self._max_bytes]
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
        while True:
            async with redis_call():
                reply = await self._missing_script(keys, [alert_id for _, alert_id in alerts])
            missing, unsure = cast(tuple[list[bytes], list[bytes]], reply)
            if not unsure:
                return [alert_id.decode() for alert_id in missing]
            for tenant_id in {t for t, alert_id in alerts if alert_id.encode() in unsure}:
                self._recounts.setdefault(tenant_id, _Counted())
            await self.end_recounts()

    async def end_recounts(self) -> None:
        """Count to the end every stream whose count is under way.

        Raises:
            QueueUnavailableError: Redis failed; the next call goes on.
        """
        for tenant_id in list(self._recounts):
            while tenant_id in self._recounts:
                await self._recount(tenant_id)

    async def _recount(self, tenant_id: str) -> bool:
        """Count a page of the tenant's stream, and mark what stands there; return if it is all."""
        keys = [stream_key(tenant_id), _marks_key(tenant_id)]
        so_far = self._recounts.setdefault(tenant_id, _Counted())
        args = (*msgspec.structs.astuple(so_far), MAX_PAGE_BYTES, PAGE)
        async with redis_call():
            reply = await self._recount_script(keys, args)
        is_all, after, size_bytes, count = cast(tuple[int, bytes, int, int], reply)
        # Two may be at it: either has counted right from where it began.
        if is_all:
            self._recounts.pop(tenant_id, None)
        elif tenant_id in self._recounts:
            self._recounts[tenant_id] = _Counted(after, size_bytes, count)
        return bool(is_all)

    async def probe(self) -> None:
        """Do what a 202 takes, and leave nothing.

        Nothing less would do: a server that is full, or that lets its user run no scripts, still
        takes other writes.

        Raises:
            QueueUnavailableError: An alert could not be queued now.
        """
        await self._probe("")

    async def check_rights(self) -> None:
        """Do also what giving an alert up takes.

        Raises:
            QueueForbiddenError: The Redis user may not; the text names the command.
            QueueUnavailableError: As `probe`.
        """
        await self._probe(GROUP)

    async def _probe(self, group: str) -> None:
        keys = [stream_key(_PROBED), _marks_key(_PROBED)]
        async with redis_call():
            reply: object = await self._probe_script(keys, [group])
        if not _is_put_reply(reply, 2) or reply[1] != b"present":
            raise QueueUnavailableError("a reply that is none to what was asked")

    async def read(
        self, tenant_id: str, consumer: str, count: int, block_ms: int | None = None
    ) -> list[QueuedAlert]:
        """Return up to `count` alerts that no consumer has had, now in `consumer`'s hands.

        Args:
            block_ms: Wait so long for one to arrive, at most 500 (a call that is quiet for longer
                counts as failed); None: do not wait.
        """
        stream = stream_key(tenant_id)
        async with redis_call():
            reply = await self._of_group(
                stream,
                lambda: self._redis.xreadgroup(
                    GROUP, consumer, {stream: ">"}, count=count, block=block_ms
                ),
            )
        streams = cast(list[tuple[bytes, list[_RawEntry]]], reply or [])
        return await self._skip_finished(tenant_id, [e for _, page in streams for e in page])

    async def take_over(
        self, tenant_id: str, consumer: str, min_idle_ms: int, now: float, count: int = 100
    ) -> list[QueuedAlert]:
        """Return what other consumers have held for `min_idle_ms` without finishing it.

        What is dead (see `is_dead`) is given up instead: marked on its row, with an event, and
        taken off the stream.
        """
        while True:
            taken, is_last = await self._take_idle(tenant_id, consumer, min_idle_ms, now, count)
            if taken or is_last:
                return taken

    async def _take_idle(
        self, tenant_id: str, consumer: str, min_idle_ms: int, now: float, count: int
    ) -> tuple[list[QueuedAlert], bool]:
        """Return what is left of the first `count` idle ones, and whether there are no others."""
        stream = stream_key(tenant_id)
        async with redis_call():
            idle = await self._of_group(
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
        for delivered in await self._skip_finished(tenant_id, claimed):
            before = deliveries[delivered.entry_id]
            if is_dead(before, min_idle_ms, min_idle_ms):
                await self._give_up(delivered, before, now)
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

    async def give_up_dead(self, now: float) -> None:
        """Give up what is dead in every stream, whoever reads it.

        Raises:
            UnavailableError: A store is away; what was not given up is, by the next call.
        """
        async with redis_call():
            streams = [key async for key in self._redis.scan_iter(stream_key("*"), count=SCANNED)]
        for stream in streams:
            tenant_id = stream.decode("utf-8", "replace").partition("{")[2].removesuffix("}")
            if is_tenant_id(tenant_id):
                await self._give_up_dead_of(tenant_id, now)

    async def _give_up_dead_of(self, tenant_id: str, now: float) -> None:
        stream, after = stream_key(tenant_id), "-"
        while page := await self._pending(stream, after):
            for entry_id, deliveries, idle_ms in page:
                if is_dead(deliveries, idle_ms):
                    async with redis_call():
                        found = await self._redis.xrange(stream, entry_id, entry_id)
                    entries = cast(list[_RawEntry], found)
                    for delivered in await self._skip_finished(tenant_id, entries):
                        await self._give_up(delivered, deliveries, now)
            after = f"({page[-1][0].decode()}"

    async def _pending(self, stream: str, after: str) -> list[tuple[bytes, int, int]]:
        """Return entry id, deliveries and idle time of a page of what consumers hold."""
        async with redis_call():
            try:
                page = await self._redis.xpending_range(stream, GROUP, after, "+", PAGE)
            except redis.exceptions.ResponseError as exc:
                if not str(exc).startswith("NOGROUP"):
                    raise
                return []
        held = cast(list[dict[str, object]], page)
        return [
            (
                cast(bytes, entry["message_id"]),
                cast(int, entry["times_delivered"]),
                cast(int, entry["time_since_delivered"]),
            )
            for entry in held
        ]

    async def _give_up(self, delivered: QueuedAlert, deliveries: int, now: float) -> None:
        alert_id = delivered.alert.id
        # In this order, as in `finish`.
        if await self._database.write(give_up, delivered.tenant_id, alert_id, deliveries, now):
            log.event(
                "alert.dead_lettered", logging.ERROR, tenant=delivered.tenant_id, alert=alert_id
            )
        await self._remove(delivered.tenant_id, delivered.entry_id, alert_id)

    async def finish(self, delivered: QueuedAlert, now: float) -> None:
        """Mark the alert as done with: it leaves the stream and is never queued again."""
        # In this order: a crash between the two leaves an entry that `read` skips, not a row that
        # a refill would queue again.
        await self._database.write(_finish_row, delivered.alert.id, now)
        await self._remove(delivered.tenant_id, delivered.entry_id, delivered.alert.id)

    async def _skip_finished(
        self, tenant_id: str, entries: Sequence[_RawEntry]
    ) -> list[QueuedAlert]:
        """Return the entries, less those of finished alerts, which are taken off the stream."""
        delivered = [
            QueuedAlert(tenant_id, entry_id, _decoder.decode(fields[b"alert"]), fields[b"raw"])
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

    async def _of_group(self, stream: str, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns, making the group where there is none.

        Not before it is known to be missing: a Redis without memory makes no group, and only
        consumers can give it memory again.
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


def _finish_row(connection: Connection, alert_id: str, now: float) -> None:
    finish = alerts.update().where(alerts.c.id == alert_id, alerts.c.finished_at.is_(None))
    connection.execute(finish.values(finished_at=now))


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
