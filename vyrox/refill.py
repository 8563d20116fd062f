"""Put back into the streams what Redis has lost (contract 15 and 17).

The unfinished rows are compared with the streams at the start, when Redis was restarted or emptied,
and at intervals: whatever crashed between a row's commit and its entry, the alert is queued in the
end.
"""

import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.db import Database, alerts
from vyrox.errors import QueueUnavailableError
from vyrox.queue import AlertQueue, Entry, redis_call

REFILL_INTERVAL_S: Final = 20.0
"""A row without an entry (its put failed, or its container died) waits no longer than this."""

SHARE: Final = 20
"""Comparing every row may take one part in so many of the time. Where very much is queued, the
comparisons between look at the rows that are new since the last."""

MARGIN_S: Final = 30.0
"""How much longer a row may be in coming than the one that was received at the same time: what the
clocks of two containers differ by, and the attempts to commit it. Past it, a row waits for the next
comparison of all."""

PAGE: Final = 500
"""Rows read, and compared with the streams, by one call."""

MAX_CALL_BYTES: Final = 4 * 1024 * 1024
"""Bodies that one call makes Redis touch: it serves nobody else meanwhile."""

LOCK_MS: Final = 5_000
"""How long a container that died in a refill keeps the others from theirs. Renewed by each call."""

_REFILLED_KEY: Final = "vyrox:refilled"
"""Holds the `run_id` of the Redis process for which a refill has run to its end. Gone, or another
one's: Redis was emptied or restarted, and may have lost entries."""

_LOCK_KEY: Final = "vyrox:refill-lock"

# Both reply 0 where the lock is not `owner`'s any more: it lapsed, or Redis was emptied.
_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_END: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2]) end
return redis.call('DEL', KEYS[1])
"""


class Refill:
    """Compares rows and streams, one container at a time."""

    def __init__(self, client: redis.asyncio.Redis, queue: AlertQueue, database: Database) -> None:
        self._redis = client
        self._queue = queue
        self._database = database
        self._due_at = 0.0  # on the monotonic clock, as the next
        self._all_due_at = 0.0
        self._compared_until = 0.0  # `received_at`: the rows before were compared once
        self._renew = client.register_script(_RENEW)
        self._end = client.register_script(_END)

    async def run_if_due(self) -> None:
        """Run at the start, after Redis lost entries, and every REFILL_INTERVAL_S.

        Raises:
            UnavailableError: It could not be done, or not to the end; it stays due.
        """
        started_at = time.monotonic()
        every_row = started_at >= self._all_due_at or await self._redis_lost_entries()
        if not every_row and started_at < self._due_at:
            return
        added = await self.run(None if every_row else self._compared_until - MARGIN_S)
        if added is None:
            return
        if added > 0:
            log.event("queue.refilled", logging.WARNING, alerts=added)
        ended_at = time.monotonic()
        self._due_at = ended_at + REFILL_INTERVAL_S
        if every_row:
            took_s = ended_at - started_at
            self._all_due_at = ended_at + max(REFILL_INTERVAL_S, SHARE * took_s)

    async def run(self, since: float | None = None) -> int | None:
        """Put every unfinished alert that its stream lacks back into it; return how many.

        Where another container is at it already, this returns None.

        Args:
            since: Compare the rows received after it; None: every row.

        Raises:
            UnavailableError: Redis or the database is away, or Redis was emptied meanwhile.
        """
        owner = secrets.token_hex(16)
        async with redis_call():
            if not await self._redis.set(_LOCK_KEY, owner, nx=True, px=LOCK_MS):
                return None
            run_id = await self._run_id()
        added = 0
        after = (-1.0 if since is None else since, "")
        while page := await self._database.read(_unfinished_from, *after):
            for rows in _calls(page):
                added += await self._put_missing(rows)
                async with redis_call():
                    _check_owned(await self._renew([_LOCK_KEY], [owner, LOCK_MS]))
            after = (page[-1].received_at, page[-1].alert_id)
        async with redis_call():
            refilled = run_id if since is None else b""
            _check_owned(await self._end([_LOCK_KEY, _REFILLED_KEY], [owner, refilled]))
        self._compared_until = max(self._compared_until, after[0])
        return added

    async def _put_missing(self, rows: Sequence["_Unfinished"]) -> int:
        missing = await self._queue.missing([(row.tenant_id, row.alert_id) for row in rows])
        if not missing:
            return 0
        # Read again: what was finished in the meantime must not come back.
        entries = await self._database.read(_unfinished_entries, missing)
        if not entries:
            return 0
        return (await self._queue.put_batch(entries)).count(b"added")

    async def _redis_lost_entries(self) -> bool:
        async with redis_call():
            return bool(await self._redis.get(_REFILLED_KEY) != await self._run_id())

    async def _run_id(self) -> bytes:
        info: dict[str, object] = await self._redis.info("server")
        return str(info["run_id"]).encode()


def _check_owned(reply: object) -> None:
    if reply != 1:
        raise QueueUnavailableError("the refill lost its lock; it starts again")


class _Unfinished(msgspec.Struct, frozen=True):
    received_at: float
    alert_id: str
    tenant_id: str
    size_bytes: int


def _calls(rows: Sequence[_Unfinished]) -> Iterator[list[_Unfinished]]:
    """Split `rows`, of which there are some, into parts of MAX_CALL_BYTES, or of a single row."""
    part: list[_Unfinished] = []
    part_bytes = 0
    for row in rows:
        if part and part_bytes + row.size_bytes > MAX_CALL_BYTES:
            yield part
            part, part_bytes = [], 0
        part.append(row)
        part_bytes += row.size_bytes
    yield part


def _unfinished_from(
    connection: Connection, received_at: float, alert_id: str
) -> list[_Unfinished]:
    """Return the next PAGE unfinished alerts after (received_at, id), in that order."""
    c = alerts.c
    query = (
        sa.select(c.received_at, c.id, c.tenant_id, sa.func.length(c.raw) + sa.func.length(c.alert))
        .where(c.finished_at.is_(None), sa.tuple_(c.received_at, c.id) > (received_at, alert_id))
        .order_by(c.received_at, c.id)
        .limit(PAGE)
    )
    return [_Unfinished(*row) for row in connection.execute(query)]


def _unfinished_entries(connection: Connection, alert_ids: Sequence[str]) -> list[Entry]:
    c = alerts.c
    # `finished_at` is no condition: for one, PostgreSQL would go through all that is unfinished.
    query = (
        sa.select(c.finished_at, c.tenant_id, c.id, c.alert, c.raw)
        .where(c.id.in_(alert_ids))
        .order_by(c.received_at, c.id)
    )
    return [Entry(*row[1:]) for row in connection.execute(query) if row.finished_at is None]
