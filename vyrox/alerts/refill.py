"""Put back into the streams what Redis has lost (contract 15 and 17).

The unfinished rows are compared with the streams: all of them at the start and when Redis was
restarted or emptied; at intervals the new ones and, in turn, a part of the others. So whatever
crashed between a row's commit and its entry, the alert is queued in the end.
"""

import logging
import math
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.alerts.queue import AlertQueue, QueueEntry
from vyrox.errors import QueueUnavailableError
from vyrox.store.database import Database
from vyrox.store.redis import redis_call
from vyrox.store.tables import alerts

REFILL_INTERVAL_S: Final = 20.0
"""A row without an entry (its put failed, or its container died) waits no longer than this."""

RESCAN_BUDGET_S: Final = 1.0
"""How long, at each interval, rows that were compared before are compared again. Where so many are
queued that it is not enough for all, the next interval goes on from there: a twentieth of the time
is what they may cost."""

LATE_ROW_MARGIN_S: Final = 30.0
"""How much longer a row may be in coming than the one that was received at the same time: what the
clocks of two containers differ by, and the attempts to commit it. Past it, a row is one of the
others, and waits for its turn."""

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


_Place = tuple[float, str]
"""Of a row, in the order in which they are compared: its `received_at` and its id."""

_START: Final[_Place] = (-1.0, "")


class Refill:
    """Compares rows and streams, one container at a time."""

    def __init__(self, client: redis.asyncio.Redis, queue: AlertQueue, database: Database) -> None:
        self._redis = client
        self._queue = queue
        self._database = database
        self._due_at = 0.0  # on the monotonic clock
        self._compared_until: float | None = None  # `received_at`: the rows before were compared
        self._others_from = _START
        self._others_until = 0.0  # `received_at`
        self._renew = client.register_script(_RENEW)
        self._end = client.register_script(_END)

    async def run_if_due(self) -> None:
        """Run at the start, after Redis lost entries, and in part every REFILL_INTERVAL_S.

        Raises:
            UnavailableError: It could not be done, or not to the end; it stays due.
        """
        await self._queue.end_recounts()
        lost = await self._redis_lost_entries()
        if not lost and time.monotonic() < self._due_at:
            return
        added = await self.run(every_row=lost)
        if added is None:
            return
        if added > 0:
            log.event("queue.refilled", logging.WARNING, alerts=added)
        self._due_at = time.monotonic() + REFILL_INTERVAL_S

    async def check_rights(self) -> None:
        """Do what a refill does, less the comparing.

        Raises:
            QueueForbiddenError: The Redis user may not; the text names the command.
            QueueUnavailableError: Redis is away.
        """
        owner = secrets.token_hex(16)
        await self._redis_lost_entries()
        async with redis_call():
            # Where another container has the lock, its user may do all this.
            if await self._redis.set(_LOCK_KEY, owner, nx=True, px=LOCK_MS):
                await self._renew([_LOCK_KEY], [owner, LOCK_MS])
                await self._end([_LOCK_KEY, _REFILLED_KEY], [owner, b""])

    async def run(self, *, every_row: bool = True) -> int | None:
        """Put unfinished alerts that their stream lacks back into it; return how many.

        Where another container is at it already, this returns None.

        Args:
            every_row: Compare all of them, as the first run does anyway. Otherwise those that were
                received since the last run, and then others for OTHERS_S.

        Raises:
            UnavailableError: Redis or the database is away, or Redis was emptied meanwhile.
        """
        owner = secrets.token_hex(16)
        async with redis_call():
            if not await self._redis.set(_LOCK_KEY, owner, nx=True, px=LOCK_MS):
                return None
            run_id = await self._run_id()
        compared_until = self._compared_until
        if every_row or compared_until is None:
            added, (until, _), _ = await self._compare(owner, _START)
            refilled = run_id
        else:
            since = compared_until - LATE_ROW_MARGIN_S
            added, (until, _), _ = await self._compare(owner, (since, ""))
            if self._others_from == _START:
                # What grows old meanwhile is for the next turn: where more does than is compared,
                # this one would never end, and never come back to what it has passed.
                self._others_until = since
            others, place, ended = await self._compare(
                owner, self._others_from, self._others_until, RESCAN_BUDGET_S
            )
            added += others
            self._others_from = _START if ended else place
            refilled = b""
        async with redis_call():
            _check_owned(await self._end([_LOCK_KEY, _REFILLED_KEY], [owner, refilled]))
        self._compared_until = max(compared_until or 0.0, until)
        return added

    async def _compare(
        self, owner: str, place: _Place, before: float = math.inf, limit_s: float = math.inf
    ) -> tuple[int, _Place, bool]:
        """Compare the rows after `place` that were received before `before`.

        Returns how many were put back, the place of the last row, and whether the end was reached:
        a page that is not full when it is read. Without it, this ends with the page during which
        `limit_s` is over.
        """
        added = 0
        ends_at = time.monotonic() + limit_s
        while page := await self._database.read(_unfinished_from, place, before):
            for rows in _calls(page):
                added += await self._put_missing(rows)
                async with redis_call():
                    _check_owned(await self._renew([_LOCK_KEY], [owner, LOCK_MS]))
            place = (page[-1].received_at, page[-1].alert_id)
            if len(page) < PAGE:
                # Under a load another page would not be empty either.
                return added, place, True
            if time.monotonic() >= ends_at:
                return added, place, False
        return added, place, True

    async def _put_missing(self, rows: Sequence["_Unfinished"]) -> int:
        missing = await self._queue.missing([(row.tenant_id, row.alert_id) for row in rows])
        if not missing:
            return 0
        # Read again: what was finished in the meantime must not come back.
        entries = await self._database.read(_unfinished_entries, missing)
        if not entries:
            return 0
        return (await self._queue.put_patiently(entries)).count(b"added")

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


def _unfinished_from(connection: Connection, place: _Place, before: float) -> list[_Unfinished]:
    """Return the next PAGE unfinished alerts after `place`, received before `before`, in order."""
    c = alerts.c
    query = (
        sa.select(c.received_at, c.id, c.tenant_id, sa.func.length(c.raw) + sa.func.length(c.alert))
        .where(
            c.finished_at.is_(None),
            sa.tuple_(c.received_at, c.id) > place,
            c.received_at < before,
        )
        .order_by(c.received_at, c.id)
        .limit(PAGE)
    )
    return [_Unfinished(*row) for row in connection.execute(query)]


def _unfinished_entries(connection: Connection, alert_ids: Sequence[str]) -> list[QueueEntry]:
    c = alerts.c
    # `finished_at` is no condition: for one, PostgreSQL would go through all that is unfinished.
    query = (
        sa.select(c.finished_at, c.tenant_id, c.id, c.alert, c.raw)
        .where(c.id.in_(alert_ids))
        .order_by(c.received_at, c.id)
    )
    return [QueueEntry(*row[1:]) for row in connection.execute(query) if row.finished_at is None]
