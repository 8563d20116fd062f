"""Put back into the streams what Redis has lost (contract 15 and 17).

The unfinished rows are compared with the streams at the start, when Redis was restarted or emptied,
and every REFILL_INTERVAL_S: whatever crashed between a row's commit and its entry, the alert is
queued in the end.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.db import Database, alerts
from vyrox.queue import AlertQueue, Entry, translated_errors

REFILL_INTERVAL_S: Final = 20.0
"""A row without an entry (its put failed, or its container died) waits no longer than this."""

PAGE: Final = 500
"""Rows compared with the streams by one call."""

PUT_AT_ONCE: Final = 8
"""Missing entries put back by one call: few, because each may carry a body of the largest size."""

LOCK_MS: Final = 10_000
"""How long a container that died in a refill keeps the others from theirs."""

_REFILLED_KEY: Final = "vyrox:refilled"
"""Holds the `run_id` of the Redis process for which a refill has run to its end. Gone, or another
one's: Redis was emptied or restarted, and may have lost entries."""

_LOCK_KEY: Final = "vyrox:refill-lock"
_UNLOCK: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Refill:
    """Compares rows and streams, one container at a time."""

    def __init__(self, client: redis.asyncio.Redis, queue: AlertQueue, database: Database) -> None:
        self._redis = client
        self._queue = queue
        self._database = database
        self._due_at = 0.0  # on the monotonic clock
        self._unlock = client.register_script(_UNLOCK)

    async def run_if_due(self) -> None:
        """Run at the start, after Redis lost entries, and every REFILL_INTERVAL_S.

        Raises:
            UnavailableError: It could not be done, or not to the end; it stays due.
        """
        started_at = time.monotonic()
        if started_at < self._due_at and not await self._redis_lost_entries():
            return
        if (added := await self.run()) > 0:
            log.event("queue.refilled", logging.WARNING, alerts=added)
        # One that takes long, because very much is queued, may take a twentieth of the time.
        ended_at = time.monotonic()
        self._due_at = ended_at + max(REFILL_INTERVAL_S, 20 * (ended_at - started_at))

    async def run(self) -> int:
        """Put every unfinished alert that its stream lacks back into it; return how many.

        Where another container is at it already, this returns 0.

        Raises:
            UnavailableError: Redis or the database is away.
        """
        owner = secrets.token_hex(16)
        with translated_errors():
            if not await self._redis.set(_LOCK_KEY, owner, nx=True, px=LOCK_MS):
                return 0
            run_id = await self._run_id()
        added = 0
        after = (-1.0, "")
        while page := await self._database.read(_unfinished_after, *after):
            added += await self._put_missing(page)
            after = (page[-1].received_at, page[-1].alert_id)
        with translated_errors():
            await self._redis.set(_REFILLED_KEY, run_id)
            await self._unlock([_LOCK_KEY], [owner])
        return added

    async def _put_missing(self, page: Sequence["_Unfinished"]) -> int:
        missing = await self._queue.missing([(row.tenant_id, row.alert_id) for row in page])
        added = 0
        for start in range(0, len(missing), PUT_AT_ONCE):
            some = missing[start : start + PUT_AT_ONCE]
            # Read again: what was finished in the meantime must not come back.
            entries = await self._database.read(_unfinished_entries, some)
            if entries:
                added += (await self._queue.put_batch(entries)).count(b"added")
        return added

    async def _redis_lost_entries(self) -> bool:
        with translated_errors():
            return bool(await self._redis.get(_REFILLED_KEY) != await self._run_id())

    async def _run_id(self) -> bytes:
        info: dict[str, object] = await self._redis.info("server")
        return str(info["run_id"]).encode()


class _Unfinished(msgspec.Struct, frozen=True):
    received_at: float
    alert_id: str
    tenant_id: str


def _unfinished_after(
    connection: Connection, received_at: float, alert_id: str
) -> list[_Unfinished]:
    """Return the next PAGE unfinished alerts in order of (received_at, id)."""
    c = alerts.c
    query = (
        sa.select(c.received_at, c.id, c.tenant_id)
        .where(c.finished_at.is_(None), sa.tuple_(c.received_at, c.id) > (received_at, alert_id))
        .order_by(c.received_at, c.id)
        .limit(PAGE)
    )
    return [_Unfinished(*row) for row in connection.execute(query)]


def _unfinished_entries(connection: Connection, alert_ids: Sequence[str]) -> list[Entry]:
    c = alerts.c
    query = sa.select(c.tenant_id, c.id, c.alert, c.raw).where(
        c.id.in_(alert_ids), c.finished_at.is_(None)
    )
    return [Entry(*row) for row in connection.execute(query)]
