"""Puts alerts that Redis has lost back into the streams (contract 15 and 17).

A refill compares the unfinished rows with the streams. At the start, and after Redis was restarted
or emptied, it compares all rows. At each interval it compares the new rows and some of the old
ones. So an alert is queued in the end, even after a crash between its commit and its entry.
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
from vyrox.alerts.group import count_entries
from vyrox.alerts.queue import AlertQueue, QueueEntry
from vyrox.errors import QueueUnavailableError
from vyrox.store.database import Database
from vyrox.store.redis import redis_call
from vyrox.store.tables import alerts

REFILL_INTERVAL_S: Final = 20.0
"""Time between two refills: how long a row waits if its put failed or its container died."""

RESCAN_BUDGET_S: Final = 1.0
"""Time for old rows at each interval, a twentieth of it. The next interval continues from there."""

CALM_BUDGET_S: Final = 0.05
"""The same if the streams hold at least as many entries as there are unfinished rows. Entries of
finished alerts, which a consumer has not removed yet, may hide that one is missing."""

LATE_ROW_MARGIN_S: Final = 30.0
"""How late a row may be committed, compared with others of the same `received_at`, to count as new.
It covers the difference of two clocks and the retries of a commit. Later rows count as old."""

REFILL_PAGE: Final = 500
"""Rows that one call reads from the database."""

MAX_COMPARED_BYTES: Final = 4 * 1024 * 1024
"""Bytes of alerts that one call compares in Redis, which serves no other client meanwhile."""

LOCK_MS: Final = 5_000
"""Time after which the lock of a dead container expires. Each call of a refill renews the lock."""

_REFILLED_KEY: Final = "vyrox:refilled"
"""The key of the `run_id` of the Redis process for which a refill has completed. If it is missing
or different, Redis was emptied or restarted, and may have lost entries."""

_LOCK_KEY: Final = "vyrox:refill-lock"

# Both return 0 if the lock no longer belongs to `owner`: it expired, or Redis was emptied.
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
"""`received_at` and id of a row: rows are compared in this order."""

_START: Final[_Place] = (-1.0, "")


class Refill:
    """Compares rows and streams. One container at a time has the lock."""

    def __init__(self, client: redis.asyncio.Redis, queue: AlertQueue, database: Database) -> None:
        self._redis = client
        self._queue = queue
        self._database = database
        self._due_at = 0.0  # on the monotonic clock
        self._began_at = 0.0  # the last run, on the monotonic clock
        self._compared_until: float | None = None  # a `received_at`: earlier rows were compared
        self._old_rows_from = _START
        self._old_rows_until = 0.0  # a `received_at`
        self._renew = client.register_script(_RENEW)
        self._end = client.register_script(_END)

    async def run_if_due(self) -> None:
        """Refill at the start and after Redis lost entries, and in part every REFILL_INTERVAL_S.

        Raises:
            UnavailableError: A store is unavailable; the refill stays due.
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
        """Run the Redis commands of a refill, without comparing anything.

        Raises:
            QueueForbiddenError: The Redis user may not run a command; the text names it.
            QueueUnavailableError: Redis is unavailable.
        """
        owner = secrets.token_hex(16)
        await self._redis_lost_entries()
        async with redis_call():
            # If another container has the lock, its user may run all these commands.
            if await self._redis.set(_LOCK_KEY, owner, nx=True, px=LOCK_MS):
                await self._renew([_LOCK_KEY], [owner, LOCK_MS])
                await self._end([_LOCK_KEY, _REFILLED_KEY], [owner, b""])

    async def run(self, *, every_row: bool = True) -> int | None:
        """Put unfinished alerts that are missing in their stream back into it.

        Returns how many, or None if another container is running a refill.

        Args:
            every_row: Compare all rows, as the first run always does. Otherwise compare the rows
                received since the last run, and then old rows for a while.

        Raises:
            UnavailableError: A store is unavailable, or Redis was emptied during the refill.
        """
        owner = secrets.token_hex(16)
        async with redis_call():
            if not await self._redis.set(_LOCK_KEY, owner, nx=True, px=LOCK_MS):
                return None
            run_id = await self._run_id()
        began_at = time.monotonic()
        compared_until = self._compared_until
        if every_row or compared_until is None:
            added, (until, _), _ = await self._compare(owner, _START)
            refilled = run_id
        else:
            since = compared_until - LATE_ROW_MARGIN_S
            added, (until, _), _ = await self._compare(owner, (since, ""))
            if self._old_rows_from == _START:
                # Fix the end of this pass. Otherwise it may never end: rows can become old faster
                # than they are compared.
                self._old_rows_until = since
            added_old, place, ended = await self._compare(
                owner, self._old_rows_from, self._old_rows_until, await self._budget_s()
            )
            added += added_old
            self._old_rows_from = _START if ended else place
            refilled = b""
        async with redis_call():
            _check_owned(await self._end([_LOCK_KEY, _REFILLED_KEY], [owner, refilled]))
        # It moves with the time, so that a quiet service does not compare the same rows for ever.
        self._compared_until = max((compared_until or 0.0) + began_at - self._began_at, until)
        self._began_at = began_at
        return added

    async def _compare(
        self, owner: str, place: _Place, before: float = math.inf, limit_s: float = math.inf
    ) -> tuple[int, _Place, bool]:
        """Compare the rows after `place` that were received before `before`.

        Stops after the last row, or after the page during which `limit_s` ends.

        Returns how many alerts were put back, the place of the last compared row, and whether it
        was the last row.
        """
        added = 0
        ends_at = time.monotonic() + limit_s
        while page := await self._database.read(_unfinished_from, place, before):
            for rows in _split(page):
                added += await self._put_missing(rows)
                async with redis_call():
                    _check_owned(await self._renew([_LOCK_KEY], [owner, LOCK_MS]))
            place = (page[-1].received_at, page[-1].alert_id)
            if len(page) < REFILL_PAGE:
                # Do not read on: under load, there is always one more row.
                return added, place, True
            if time.monotonic() >= ends_at:
                return added, place, False
        return added, place, True

    async def _budget_s(self) -> float:
        unfinished = await self._database.read(_count_unfinished)
        # After the rows: an alert that is being accepted now has its entry meanwhile.
        is_calm = await count_entries(self._redis) >= unfinished
        return CALM_BUDGET_S if is_calm else RESCAN_BUDGET_S

    async def _put_missing(self, rows: Sequence["_Unfinished"]) -> int:
        missing = await self._queue.missing([(row.tenant_id, row.alert_id) for row in rows])
        if not missing:
            return 0
        # Read again: an alert that was finished in the meantime must not be queued.
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
        raise QueueUnavailableError("the refill has lost its lock and will start again")


class _Unfinished(msgspec.Struct, frozen=True):
    received_at: float
    alert_id: str
    tenant_id: str
    size_bytes: int


def _split(rows: Sequence[_Unfinished]) -> Iterator[list[_Unfinished]]:
    """Split `rows` (not empty) into parts of at most MAX_COMPARED_BYTES, or of a single row."""
    part: list[_Unfinished] = []
    part_bytes = 0
    for row in rows:
        if part and part_bytes + row.size_bytes > MAX_COMPARED_BYTES:
            yield part
            part, part_bytes = [], 0
        part.append(row)
        part_bytes += row.size_bytes
    yield part


def _unfinished_from(connection: Connection, place: _Place, before: float) -> list[_Unfinished]:
    """Return the next REFILL_PAGE unfinished alerts after `place`, received before `before`."""
    c = alerts.c
    query = (
        sa.select(c.received_at, c.id, c.tenant_id, sa.func.length(c.raw) + sa.func.length(c.alert))
        .where(
            c.finished_at.is_(None),
            sa.tuple_(c.received_at, c.id) > place,
            c.received_at < before,
        )
        .order_by(c.received_at, c.id)
        .limit(REFILL_PAGE)
    )
    return [_Unfinished(*row) for row in connection.execute(query)]


def _count_unfinished(connection: Connection) -> int:
    query = sa.select(sa.func.count()).where(alerts.c.finished_at.is_(None))
    return connection.execute(query).scalar_one()


def _unfinished_entries(connection: Connection, alert_ids: Sequence[str]) -> list[QueueEntry]:
    c = alerts.c
    # Do not filter by `finished_at` in SQL: PostgreSQL would then read all unfinished rows.
    query = (
        sa.select(c.finished_at, c.tenant_id, c.id, c.alert, c.raw)
        .where(c.id.in_(alert_ids))
        .order_by(c.received_at, c.id)
    )
    return [QueueEntry(*row[1:]) for row in connection.execute(query) if row.finished_at is None]
