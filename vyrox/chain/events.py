"""Audit events that belong to no other transaction: refusals, redeliveries, quarantines.

`note` keeps them in memory without waiting, and `flush` writes them a moment later to the tenant's
chain of events. A flood can fill neither the disk nor the memory. Of each kind and tenant,
PER_SECOND events in a second are written, and the rest is only counted. While the database is
unavailable, at most MAX_NOTED events are kept, and the rest is only counted. Later, one event for
each kind and tenant states the number of the counted ones.

An unauthenticated client can cause events too, and can name any tenant. So these events share one
budget for the whole process, and are written to the service's own chain (contract 47). With a
budget for each tenant, a client that tries many names would cause many writes, and the load would
show which of the names exist (contract 3).
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from vyrox import log
from vyrox.chain.entry import SERVICE, Draft, Scalar
from vyrox.chain.writer import ChainWriter, WorkResult
from vyrox.errors import UnavailableError

PER_SECOND: Final = 10
"""How many events of one kind and tenant are written in one second."""

MAX_NOTED: Final = 10_000
"""How many events are kept in memory while the database is unavailable."""

MAX_WRITTEN_TOGETHER: Final = 256
"""How many events are submitted to the writer together. Claims and alerts wait behind no more."""

MAX_TEXT: Final = 256
"""Characters of one member. Vendors and unauthenticated clients choose some of the texts."""

ENTRY_BYTES: Final = 512
"""Size of an entry in the database without the JSON of its members: hashes, columns, indexes."""

MAX_OWN_SUMS: Final = 16
"""How many tenants get a sum of their own each minute. All other tenants share one."""

SUMS_INTERVAL_S: Final = 60.0
"""Time between the first counted event and the sums."""

MAX_UNCOUNTED: Final = 1000
"""How many events beyond the budget wait in memory to be counted."""

_DAY_S: Final = 86_400

_json: Final = msgspec.json.Encoder()


class Budget:
    """Limits how many events without a credential are written, and counts the rest.

    The steps are the same for every event and every tenant that it names (contract 3).
    """

    def __init__(self, per_second: int = 10, bytes_per_day: int = 20_000_000) -> None:
        self._per_second = per_second
        self._bytes_per_day = bytes_per_day
        self._second = self._day = 0
        self._written = 0  # in this second
        self._written_bytes = 0  # on this day
        self._beyond: list[tuple[str, str | None]] = []  # kind and tenant of each, not counted yet
        self._counted: Counter[tuple[str, str | None]] = Counter()
        self._counted_since = 0.0

    def allows(self, size_bytes: int, now: float) -> bool:
        """Return whether an event may be written. If so, the budget is reduced by it."""
        if self._second != int(now):
            self._second, self._written = int(now), 0
        if self._day != int(now) // _DAY_S:
            self._day, self._written_bytes = int(now) // _DAY_S, 0
        allowed = (
            self._written < self._per_second
            and self._written_bytes + size_bytes <= self._bytes_per_day
        )
        self._written += allowed
        self._written_bytes += allowed * size_bytes
        return allowed

    def count(self, kind: str, tenant_id: str | None, now: float) -> None:
        """Count an event that is not written."""
        # Counted later: counting takes longer for some tenants than for others.
        self._beyond.append((kind, tenant_id))
        if len(self._beyond) >= MAX_UNCOUNTED:
            self._count_all(now)

    def _count_all(self, now: float) -> None:
        if self._beyond and not self._counted:
            self._counted_since = now
        self._counted.update(self._beyond)
        self._beyond.clear()

    def take_sums(self, now: float) -> list[Draft]:
        """Return the sums as events, if SUMS_INTERVAL_S has passed since the first counted event.

        The tenants with the highest numbers get an event each. All other tenants share one, so that
        sums cannot fill the disk either.
        """
        self._count_all(now)
        if not self._counted or now < self._counted_since + SUMS_INTERVAL_S:
            return []
        ordered = self._counted.most_common()
        self._counted.clear()
        rest: Counter[str] = Counter()
        tenants: Counter[str] = Counter()
        for (kind, _), number in ordered[MAX_OWN_SUMS:]:
            rest[kind] += number
            tenants[kind] += 1
        return [
            *(
                _sum(kind, number, resolved_tenant=tenant_id)
                for (kind, tenant_id), number in ordered[:MAX_OWN_SUMS]
            ),
            *(_sum(kind, rest[kind], resolved_tenant=None, tenants=tenants[kind]) for kind in rest),
        ]


def _sum(kind: str, number: int, **members: Scalar) -> Draft:
    return event(kind, SERVICE, None, **members, not_written=number)


class AuditEvents:
    """Events that wait to be written. Call `flush` often, and `close` at the end."""

    def __init__(
        self,
        writer: ChainWriter,
        monotonic: Callable[[], float] = time.monotonic,
        budget: Budget | None = None,
    ) -> None:
        """Begin without events.

        Args:
            monotonic: Returns seconds. Events with the same whole second share one limit.
            budget: The limit for events without a credential.
        """
        self._writer = writer
        self._monotonic = monotonic
        self._budget = budget or Budget()
        self._noted: list[Draft] = []
        self._second = 0
        self._in_second: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[tuple[str, str]] = Counter()  # in this second
        self._to_sum_up: Counter[tuple[str, str]] = Counter()  # in earlier seconds
        self._writing: asyncio.Task[None] | None = None

    def note(self, kind: str, tenant_id: str, request_id: str | None, **members: Scalar) -> None:
        """Note an event. `tenant_id` is SERVICE if the request's tenant is not known to exist.

        So there are no chains and no keys here for tenants that do not exist.
        """
        second = int(self._monotonic())
        if second != self._second:
            self._end_second(second)
        key = (kind, tenant_id)
        # Made even if it is then only counted: the time must not show whether the tenant exists.
        draft = event(kind, tenant_id, request_id, **members)
        if self._in_second[key] < PER_SECOND and len(self._noted) < MAX_NOTED:
            self._in_second[key] += 1
            self._noted.append(draft)
        else:
            self._left_out[key] += 1

    def note_unauthenticated(
        self, kind: str, tenant_id: str | None, request_id: str | None, **members: Scalar
    ) -> None:
        """Note an event of a request without a valid credential (contract 47).

        Args:
            tenant_id: The tenant that the request names, or None if it is not known to exist. It
                becomes a member of the event.
        """
        draft = event(kind, SERVICE, request_id, **members, resolved_tenant=tenant_id)
        size_bytes = len(_json.encode(draft.members)) + ENTRY_BYTES
        now = self._monotonic()
        if len(self._noted) < MAX_NOTED and self._budget.allows(size_bytes, now):
            self._noted.append(draft)
        else:
            self._budget.count(kind, tenant_id, now)

    def _end_second(self, second: int) -> None:
        self._second = second
        self._in_second.clear()
        self._to_sum_up.update(self._left_out)
        self._left_out.clear()

    async def close(self) -> None:
        """Write all noted events and the sums of the counted ones. Raises as `flush`."""
        self._end_second(self._second)
        self._noted += self._budget.take_sums(math.inf)
        await self.flush()

    async def flush(self) -> None:
        """Write the noted events.

        If the caller is cancelled, the write continues, and the next call waits for it.

        Raises:
            UnavailableError: Some events were not written, or are not known to be. They are kept
                for the next call. An event that was written without our knowing is written twice.
        """
        if len(self._noted) < MAX_NOTED:
            self._noted += self._budget.take_sums(self._monotonic())
        while True:
            if (second := int(self._monotonic())) != self._second:
                self._end_second(second)
            if self._writing is None or self._writing.done():
                if not (self._noted or self._to_sum_up):
                    return
                self._writing = asyncio.create_task(self._write(self._take()))
            await asyncio.shield(self._writing)

    def _take(self) -> list[Draft]:
        taken = self._noted[:MAX_WRITTEN_TOGETHER]
        if taken:
            del self._noted[:MAX_WRITTEN_TOGETHER]
            return taken
        # The sums come last, after all noted events. So while the database is unavailable, there is
        # one number for each kind and tenant, and not one event for each call.
        left_out, self._to_sum_up = self._to_sum_up, Counter()
        return [event(*key, None, not_written=count) for key, count in sorted(left_out.items())]

    async def _write(self, drafts: Sequence[Draft]) -> None:
        # One item each, so that an event that is not a valid entry fails alone.
        commits = (
            self._writer.commit(write_events, (draft,), owner=draft.tenant_id) for draft in drafts
        )
        results = await asyncio.gather(*commits, return_exceptions=True)
        kept: list[Draft] = []
        unavailable: UnavailableError | None = None
        for draft, result in zip(drafts, results, strict=True):
            if isinstance(result, UnavailableError):
                kept.append(draft)
                unavailable = result
            elif isinstance(result, BaseException):
                log.event("audit.event_lost", logging.ERROR, kind=draft.kind, reason=repr(result))
        self._noted[:0] = kept
        if unavailable is not None:
            raise unavailable


def event(kind: str, tenant_id: str, request_id: str | None, **members: Scalar) -> Draft:
    """Return the draft of an event. Its texts are shortened to MAX_TEXT and made valid UTF-8.

    Args:
        request_id: The id of the HTTP request (contract 2), or None if there was no request.
    """
    bounded = {name: _bounded(value) for name, value in members.items()}
    return Draft(
        tenant_id,
        "events",
        kind,
        {"kind": kind, "request_id": _bounded(request_id), **bounded},
    )


def write_events(
    _connection: Connection, batches: Sequence[tuple[Draft, ...]]
) -> list[WorkResult[None]]:
    """Return the work of events that belong to no other work: nothing but their entries."""
    return [WorkResult(None, drafts) for drafts in batches]


def _bounded(value: Scalar) -> Scalar:
    # The same steps for None: the time must not show whether the tenant exists (contract 3).
    text = value if isinstance(value, str) else ""
    if len(text) <= MAX_TEXT and text.isascii():
        return value
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()
