"""The alert queue: one Redis stream per tenant, filled from the rows of alerts.

    put -> stream `vyrox:alerts:{tenant}` -> read / take_over -> acknowledge
                                                            `-> dead letter, after MAX_DELIVERIES

This module puts alerts into the streams; `alerts.consumer` reads them. Redis may lose entries:
`alerts.refill` puts them back. Several containers may put the same alert at the same time: the
script adds it once.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeGuard, cast

import msgspec
import redis.asyncio
import redis.exceptions
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts import scripts
from vyrox.errors import QueueFullError, QueueUnavailableError
from vyrox.models import NormalizedAlert
from vyrox.store.group_commit import GroupCommit
from vyrox.store.redis import redis_call, send
from vyrox.store.tables import alerts

GROUP: Final = "triage"
"""The only consumer group: each alert goes to one consumer."""

DEFAULT_MAX_BYTES: Final = 1024 * 1024 * 1024

MAX_RECOUNT_ENTRIES: Final = 500
"""Entries that one call of a recount reads."""

MAX_RECOUNT_BYTES: Final = 4 * 1024 * 1024
"""Bytes after which one call of a recount stops. Redis serves no other client during the call."""

_PROBE_TENANT: Final = "!probe"
"""The tenant in the keys of a probe. No real tenant can have this name (contract 7)."""


class QueueEntry(msgspec.Struct, frozen=True):
    """A stored alert that is to be put into its tenant's stream. `alert` is the alert as JSON."""

    tenant_id: str
    alert_id: str
    alert: bytes
    raw: bytes


class TenantRows(msgspec.Struct, frozen=True):
    """How many of a tenant's alerts are not finished, finished, or dead letters."""

    tenant_id: str
    unfinished: int
    finished: int
    dead: int


PutResult = Literal[b"added", b"present", b"full", b"unsure"]

_PUT_RESULTS: Final = frozenset({b"added", b"present", b"full", b"unsure"})


class _Counted(msgspec.Struct, frozen=True):
    """The progress of a recount: the last entry that was counted, and the totals up to it."""

    after: bytes = b"0-0"
    size_bytes: int = 0
    count: int = 0


RawEntry = tuple[bytes, dict[bytes, bytes]]
"""An entry id and the entry's fields, as Redis returns them."""

decode_alert: Final = msgspec.json.Decoder(NormalizedAlert).decode


def stream_key(tenant_id: str) -> str:
    """Return the tenant's stream; the braces keep its keys in one slot of a Redis cluster."""
    return f"vyrox:alerts:{{{tenant_id}}}"


def tenant_keys(tenant_id: str) -> list[str]:
    """Return the keys that a script takes for one tenant: the stream and the marks."""
    return [stream_key(tenant_id), f"vyrox:queued:{{{tenant_id}}}"]


class AlertQueue:
    """The streams of all tenants. `put` works while `run` is running."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        max_alerts: int,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """The maxima are per tenant. A full queue rejects alerts; no entry is deleted."""
        self._redis = client
        self._max_alerts = max_alerts
        self._max_bytes = max_bytes
        self._recounts: dict[str, _Counted] = {}  # in progress, by tenant
        self._puts = GroupCommit[QueueEntry, PutResult](
            self.put_batch,
            lambda entry: len(entry.alert) + len(entry.raw),
            lambda entry: entry.tenant_id,
        )
        self._put_script = client.register_script(scripts.PUT)
        self._missing_script = client.register_script(scripts.MISSING)
        self._recount_script = client.register_script(scripts.RECOUNT)
        self._probe_script = client.register_script(scripts.PROBE)

    async def run(self) -> None:
        """Send the entries of `put`, until cancelled."""
        await self._puts.run()

    async def put(self, entry: QueueEntry) -> None:
        """Add `entry` to its tenant's stream, unless it is in the stream already.

        Raises:
            QueueFullError: The stream has reached a maximum; a refill adds the entry later.
            QueueUnavailableError: Redis did not confirm, and may have added the entry; or the
                stream is being counted.
            OverloadedError: Too many entries are waiting.
        """
        result = await self._puts.submit(entry)
        if result == b"full":
            raise QueueFullError(f"the queue of {entry.tenant_id} is full")
        if result == b"unsure":
            raise QueueUnavailableError(f"the queue of {entry.tenant_id} is being counted")

    async def put_batch(self, entries: Sequence[QueueEntry]) -> list[PutResult]:
        """Add the `entries` that are missing and for which there is room; return each result.

        If a stream must be counted first, this counts one page of it. If the page was not the last
        one, the result is `unsure`, and `end_recounts` continues.

        Raises:
            QueueUnavailableError: Redis did not confirm, and may have added some.
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
        """Do the same as `put_batch`, but finish all recounts first; no result is `unsure`.

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
            keys += tenant_keys(entry.tenant_id)
            args += (entry.alert_id, entry.alert, entry.raw)
        async with redis_call():
            reply = await self._run_put(keys, args)
            if _is_put_reply(reply, len(entries)):
                return reply
            # The replies on this connection belong to other requests, so no later one is safe.
            await self._redis.connection_pool.disconnect(inuse_connections=False)
        raise QueueUnavailableError("Redis sent a reply that does not match the request")

    async def _run_put(self, keys: list[str], args: list[str | bytes | int]) -> object:
        sha = self._put_script.sha
        try:
            return await send(self._redis, "EVALSHA", sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:  # a new Redis
            reply: object = await self._put_script(keys, args)
            return reply

    async def missing(self, alerts: Sequence[tuple[str, str]]) -> list[str]:
        """Return the ids, of these pairs (tenant id, alert id), that are in no stream."""
        keys = [key for tenant_id, _ in alerts for key in tenant_keys(tenant_id)]
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
        """Finish all recounts that are in progress.

        Raises:
            QueueUnavailableError: Redis failed; the next call continues.
        """
        for tenant_id in list(self._recounts):
            while tenant_id in self._recounts:
                await self._recount(tenant_id)

    async def _recount(self, tenant_id: str) -> bool:
        """Count and mark one page of the tenant's stream; return whether it was the last page."""
        so_far = self._recounts.setdefault(tenant_id, _Counted())
        args = (*msgspec.structs.astuple(so_far), MAX_RECOUNT_BYTES, MAX_RECOUNT_ENTRIES)
        async with redis_call():
            reply = await self._recount_script(tenant_keys(tenant_id), args)
        is_last, after, size_bytes, count = cast(tuple[int, bytes, int, int], reply)
        # Two tasks may count the same stream: each result is right for its own start.
        if is_last:
            self._recounts.pop(tenant_id, None)
        elif tenant_id in self._recounts:
            self._recounts[tenant_id] = _Counted(after, size_bytes, count)
        return bool(is_last)

    async def probe(self) -> None:
        """Run every Redis command that a 202 needs, and leave nothing behind.

        A simpler write proves less: a Redis that is full, or whose user may run no scripts, still
        accepts some writes.

        Raises:
            QueueUnavailableError: No alert can be queued now.
        """
        await self._probe("")

    async def check_rights(self) -> None:
        """Run every Redis command that a 202 or a dead letter needs.

        Raises:
            QueueForbiddenError: The Redis user may not run a command; the text names it.
            QueueUnavailableError: As `probe`.
        """
        await self._probe(GROUP)

    async def _probe(self, group: str) -> None:
        async with redis_call():
            reply: object = await self._probe_script(tenant_keys(_PROBE_TENANT), [group])
        if not _is_put_reply(reply, 2) or reply[1] != b"present":
            raise QueueUnavailableError("Redis sent a reply that does not match the request")

    async def peek(self, tenant_id: str, count: int) -> list[NormalizedAlert]:
        """Return the first `count` alerts of the tenant's stream without reading them as consumer.

        They stay in the stream.
        """
        async with redis_call():
            reply = await self._redis.xrange(stream_key(tenant_id), count=count)
        entries = cast(list[RawEntry], reply)
        return [decode_alert(fields[b"alert"]) for _, fields in entries]

    async def count(self, tenant_ids: Sequence[str]) -> list[int]:
        """Return how many alerts are in each tenant's stream."""
        async with redis_call():
            return [await self._redis.xlen(stream_key(tenant_id)) for tenant_id in tenant_ids]


def _is_put_reply(reply: object, count: int) -> TypeGuard[list[PutResult]]:
    return (
        isinstance(reply, list)
        and len(reply) == count
        and all(isinstance(result, bytes) and result in _PUT_RESULTS for result in reply)
    )


def count_rows(connection: Connection) -> list[TenantRows]:
    """Return the number of each tenant's alerts in each state, in order of tenant."""
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
