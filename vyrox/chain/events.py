"""Audit events that no transaction of their own carries: refusals, redeliveries, quarantines.

They are noted at once, without waiting, and written a moment later to the tenant's chain of events.
A flood cannot fill the disk, nor the memory: of one kind and tenant, what goes beyond PER_SECOND in
a second is only counted, and so is everything beyond MAX_NOTED while the database is away; one
event for each kind and tenant then tells how many there were.

Anybody can cause an event without a credential, and can name tenants. So all of these share one
budget, of the whole process, and are in the service's own chain, whichever tenant they name
(contract 47). A budget for each tenant would multiply what is written by the names that are tried,
and would show in the load which of them exist (contract 3).
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
"""Events of one (kind, tenant) written in one second."""

MAX_NOTED: Final = 10_000
"""Events kept in memory while the database is away."""

WRITTEN_AT_ONCE: Final = 256
"""Events handed to the writer together, so that claims and alerts need not wait behind a flood."""

MAX_TEXT: Final = 256
"""Characters of one member; a vendor or a stranger chooses some of them."""


ENTRY_BYTES: Final = 512
"""What an entry takes in the database beside the JSON of its members: hashes, columns, indexes."""

SUMMED_UP: Final = 16
"""Tenants that have a sum of their own each minute; all others share one."""

SUMS_INTERVAL_S: Final = 60.0

COUNTED_AT_ONCE: Final = 1000
"""Events beyond the budget that wait in memory to be counted."""

_DAY_S: Final = 86_400

_json: Final = msgspec.json.Encoder()


class Budget:
    """How many events without a credential are written; those beyond it are counted.

    The steps are the same for every event, whichever tenant it names (contract 3).
    """

    def __init__(self, per_second: int = 10, bytes_per_day: int = 20_000_000) -> None:
        self._per_second = per_second
        self._bytes_per_day = bytes_per_day
        self._second = self._day = 0
        self._written = 0  # in this second
        self._written_bytes = 0  # on this day
        self._beyond: list[tuple[str, str | None]] = []  # kind and tenant of each, to be counted
        self._counted: Counter[tuple[str, str | None]] = Counter()
        self._counted_since = 0.0

    def allows(self, size_bytes: int, now: float) -> bool:
        """Return whether an event may be written, and take it from the budget."""
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
        # Only noted here: a look-up would take longer for one tenant than for another.
        self._beyond.append((kind, tenant_id))
        if len(self._beyond) >= COUNTED_AT_ONCE:
            self._count_noted(now)

    def _count_noted(self, now: float) -> None:
        if self._beyond and not self._counted:
            self._counted_since = now
        self._counted.update(self._beyond)
        self._beyond.clear()

    def take_sums(self, now: float) -> list[Draft]:
        """Return an event for each kind and tenant, a minute after the first was counted.

        The tenants with the highest numbers have one each. The others share one, so that sums
        cannot fill the disk either.
        """
        self._count_noted(now)
        if not self._counted or now < self._counted_since + SUMS_INTERVAL_S:
            return []
        ordered = self._counted.most_common()
        self._counted.clear()
        rest: Counter[str] = Counter()
        tenants: Counter[str] = Counter()
        for (kind, _), number in ordered[SUMMED_UP:]:
            rest[kind] += number
            tenants[kind] += 1
        return [
            *(_sum(kind, number, resolved_tenant=of) for (kind, of), number in ordered[:SUMMED_UP]),
            *(_sum(kind, rest[kind], resolved_tenant=None, tenants=tenants[kind]) for kind in rest),
        ]


def _sum(kind: str, number: int, **members: Scalar) -> Draft:
    return event(kind, SERVICE, None, **members, not_written=number)


class AuditEvents:
    """Events waiting to be written; `flush` must be called often, and at the end."""

    def __init__(
        self,
        writer: ChainWriter,
        monotonic: Callable[[], float] = time.monotonic,
        budget: Budget | None = None,
    ) -> None:
        """Note nothing yet.

        Args:
            monotonic: Returns seconds; it says which events fall into one second.
            budget: For the events without a credential.
        """
        self._writer = writer
        self._monotonic = monotonic
        self._budget = budget or Budget()
        self._noted: list[Draft] = []
        self._second = 0
        self._in_second: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[tuple[str, str]] = Counter()  # in this second
        self._to_sum_up: Counter[tuple[str, str]] = Counter()  # in those before
        self._writing: asyncio.Task[None] | None = None

    def note(self, kind: str, tenant_id: str, request_id: str | None, **members: Scalar) -> None:
        """Note an event; `tenant_id` is SERVICE where the request's tenant is not known to exist.

        So the number of chains, and of keys here, is that of real tenants whatever strangers send.
        """
        second = int(self._monotonic())
        if second != self._second:
            self._end_second(second)
        key = (kind, tenant_id)
        # Made even where it is left out: strangers' names share one budget, and a failure that cost
        # less for them than for a tenant would tell which of the two it was.
        draft = event(kind, tenant_id, request_id, **members)
        if self._in_second[key] < PER_SECOND and len(self._noted) < MAX_NOTED:
            self._in_second[key] += 1
            self._noted.append(draft)
        else:
            self._left_out[key] += 1

    def note_unauthenticated(
        self, kind: str, tenant_id: str | None, request_id: str | None, **members: Scalar
    ) -> None:
        """Note an event that no credential stands behind (contract 47).

        Args:
            tenant_id: That the request names, where it is known to exist; a member of the event.
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
        """Write what was noted and what was left out up to now. Raises as `flush`."""
        self._end_second(self._second)
        self._noted += self._budget.take_sums(math.inf)
        await self.flush()

    async def flush(self) -> None:
        """Write what was noted.

        A caller that is cancelled leaves the write to go on, and the next call waits for it.

        Raises:
            UnavailableError: Some could not be written, or are not known to be. They are kept for
                the next call, so one whose commit was not seen may be written twice.
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
        taken = self._noted[:WRITTEN_AT_ONCE]
        if taken:
            del self._noted[:WRITTEN_AT_ONCE]
            return taken
        # Only now that all the noted ones are written: so a database that stays away costs one
        # number for each kind and tenant, not one event for each call.
        left_out, self._to_sum_up = self._to_sum_up, Counter()
        return [event(*key, None, not_written=count) for key, count in sorted(left_out.items())]

    async def _write(self, drafts: Sequence[Draft]) -> None:
        # Each is an item of its own, so that one which makes no entry takes no other with it.
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
    """Return the draft of an event, its texts made fit for an entry: bounded, and valid UTF-8.

    Args:
        request_id: The HTTP request's (contract 2), or None where no request told it.
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
    """Write events that belong to no other work."""
    return [WorkResult(None, drafts) for drafts in batches]


def _bounded(value: Scalar) -> Scalar:
    # The same steps for None: whether there is a tenant must not show in the time (contract 3).
    text = value if isinstance(value, str) else ""
    if len(text) <= MAX_TEXT and text.isascii():
        return value
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()
