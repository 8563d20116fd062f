"""Polls the vendors, beside the requests (contract 72).

A poll claims a lease, then reads pages until the vendor has no more. Each page is one transaction:
its alerts, what fits no alert, and how far the poller has come. Then the alerts go into the queue.
A kill between the two leaves rows that a refill puts into the queue. A kill at any other step
leaves a poller that begins where its last transaction has ended, once its lease has expired.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from vyrox import log, metrics, tracing
from vyrox.alerts.queue import AlertQueue
from vyrox.clock import Clock
from vyrox.edr.client import Deadline
from vyrox.errors import QueueFullError, UnavailableError, VendorBusyError, VendorError
from vyrox.polling import rows
from vyrox.polling.pages import Page, Source, as_text
from vyrox.polling.rows import Lease, LostLeaseError
from vyrox.polling.storing import Limits, Stored, read_elements, store_page
from vyrox.store.database import Database
from vyrox.tenants.bindings import read_bindings
from vyrox.tenants.edr_credentials import EdrCredentials

INTERVAL_S: Final = 60.0
"""Time between two polls of one tenant at one vendor."""

OVERLAP_S: Final = 300.0
"""How far each poll reads back: a vendor may list an alert later than one that it changed after."""

POLL_S: Final = 60.0
"""Longest that one poll takes. It is less than the lease. In the second half no page is begun."""

MAX_PAGES: Final = 20
"""Pages of one poll. The next one goes on at once."""

MAX_POLLS: Final = 4
"""Polls at one time in one container: each has one page in memory."""

RETRY_S: Final = 30.0
MAX_RETRY_S: Final = 600.0
"""The pause after a poll that has failed: doubled each time, up to this."""


class Sources(Protocol):
    """One source for each tenant and vendor."""

    def client(self, stored: EdrCredentials, /) -> Source:
        """Return the source for `stored`. Raises VendorError if the credentials are unusable."""
        ...


class Pollers:
    """The polls of this container."""

    def __init__(
        self,
        database: Database,
        sources: Sources,
        queue: AlertQueue,
        notice: Callable[[str], None],
        limits: Limits,
        clock: Clock,
    ) -> None:
        """`clock` is the same for all containers; `notice` gets the tenant of queued alerts."""
        self._database = database
        self._sources = sources
        self._queue = queue
        self._notice = notice
        self._limits = limits
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Begin the polls that are due, and report pollers that have stalled.

        Raises:
            UnavailableError: The database is unavailable.
        """
        now = self._clock()
        stored = await self._database.read(rows.list_pollers)
        if any(each.has_stalled(now) for each in stored):
            await self._report_stalled(now)
        free = MAX_POLLS - len(self._running)
        if free > 0 and any(each.is_due(now) for each in stored):
            for lease in await self._database.write(rows.claim, free, now):
                task = asyncio.create_task(self._poll(lease))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        """End all polls. Each begins again where its last transaction has ended."""
        while running := list(self._running):
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def settled(self) -> None:
        """Return once no poll runs."""
        while running := list(self._running):
            await asyncio.wait(running)

    async def _report_stalled(self, now: float) -> None:
        for each in await self._database.write(rows.mark_stalled, now):
            _log(
                "poller.stalled",
                each.tenant_id,
                each.vendor,
                logging.WARNING,
                lag_s=round(each.lag_s(now)),
                reason=each.last_error,
            )

    async def _poll(self, lease: Lease) -> None:
        """Poll once. Only the end of the process raises."""
        poller = lease.poller
        try:
            await self._poll_or_fail(lease)
        except LostLeaseError:
            _log("poll.lost", poller.tenant_id, poller.vendor, logging.WARNING)
        except UnavailableError as exc:
            # The lease expires, and then the poller is due again.
            _log("poll.failed", poller.tenant_id, poller.vendor, logging.WARNING, reason=str(exc))

    async def _poll_or_fail(self, lease: Lease) -> None:
        try:
            is_caught_up = await self._read_all(lease)
        except (VendorError, UnavailableError) as exc:
            await self._fail(lease, exc)
        except LostLeaseError:
            raise
        except Exception as exc:  # noqa: BLE001  (a bug in one poll must not end the service)
            _log("poll.error", lease.poller.tenant_id, lease.poller.vendor, logging.ERROR)
            await self._fail(lease, VendorError(f"a bug: {type(exc).__name__}; see the log"))
        else:
            await self._succeed(lease, is_caught_up=is_caught_up)

    async def _read_all(self, lease: Lease) -> bool:
        """Read and store pages; return whether the last one was reached.

        Raises:
            VendorError: The credentials are unusable, or the vendor did not send a page.
            UnavailableError: A store is unavailable.
            LostLeaseError: The poller was switched off, or another container polls.
        """
        source = self._source(lease)
        deadline = Deadline(POLL_S)
        poller = lease.poller
        since = as_text(max(0.0, poller.since - OVERLAP_S))
        place, highest = poller.place, poller.highest or poller.since
        for _ in range(MAX_PAGES):
            page = await source.read(since, place, deadline)
            place = page.next
            # A clock that is ahead at the vendor must not hide what comes later.
            highest = max(highest, min(page.highest or 0.0, self._clock()))
            cursor: dict[str, object] = {"place": place, "highest": highest}
            if place is None:
                cursor = {"place": None, "highest": None, "since": highest}
            await self._store(lease, page, cursor)
            if place is None or deadline.remaining_s() < POLL_S / 2:
                break
        return place is None

    def _source(self, lease: Lease) -> Source:
        if lease.is_removed:
            raise VendorError("the tenant is removed")
        if lease.credentials is None:
            raise VendorError("no credentials: set them with vyrox tenant edr set")
        return self._sources.client(lease.credentials)

    async def _store(self, lease: Lease, page: Page, cursor: dict[str, object]) -> None:
        poller, now = lease.poller, self._clock()
        bindings = await self._database.read(read_bindings, poller.vendor)
        all_read = await asyncio.to_thread(
            read_elements, poller.account, bindings, page, self._limits, now
        )
        stored = await self._database.write(
            store_page, lease, all_read, cursor, self._limits, self._clock()
        )
        new = len(stored.entries)
        metrics.count_polled(poller.vendor, poller.tenant_id, new, stored.quarantined)
        if stored.entries:
            # What Redis does not take now, a refill adds later.
            with tracing.delivery(
                "poll", now, vendor=poller.vendor, tenant=poller.tenant_id
            ) as arrival:
                arrival.stored([(each.alert_id, False) for each in stored.entries])
                results = await self._queue.put_batch(stored.entries)
            for tenant_id in {each.tenant_id for each in stored.entries}:
                self._notice(tenant_id)
            if b"full" in results:
                raise QueueFullError(f"the queue of {poller.tenant_id} is full")
        _log_page(lease, page, stored, poller.lag_s(now))

    async def _succeed(self, lease: Lease, *, is_caught_up: bool) -> None:
        now = self._clock()
        pause_s = _jittered(INTERVAL_S) if is_caught_up else 0.0
        end = partial(rows.end_well, is_caught_up=is_caught_up)
        if await self._database.write(end, lease, now, now + pause_s):
            _log("poller.recovered", lease.poller.tenant_id, lease.poller.vendor)

    async def _fail(self, lease: Lease, error: VendorError | UnavailableError) -> None:
        now, poller = self._clock(), lease.poller
        pause_s = _jittered(min(MAX_RETRY_S, RETRY_S * 2 ** min(poller.failures, 10)))
        if isinstance(error, VendorBusyError):
            pause_s = max(pause_s, error.pause_s)
        await self._database.write(rows.end_badly, lease, now, now + pause_s, str(error))
        _log(
            "poll.failed",
            poller.tenant_id,
            poller.vendor,
            logging.WARNING,
            reason=str(error),
            lag_s=round(poller.lag_s(now)),
            retry_s=round(pause_s),
        )


def _jittered(seconds: float) -> float:
    """Return about `seconds`, so that many pollers do not come together."""
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311  (it spreads load, protects nothing)


def _log_page(lease: Lease, page: Page, stored: Stored, lag_s: float) -> None:
    _log(
        "poll.page",
        lease.poller.tenant_id,
        lease.poller.vendor,
        alerts=len(stored.entries),
        known=stored.known,
        quarantined=stored.quarantined,
        ignored=stored.ignored,
        is_last=page.next is None,
        lag_s=round(lag_s),
    )


def _log(
    name: str, tenant_id: str, vendor: str, level: int = logging.INFO, **fields: object
) -> None:
    log.event(name, level, tenant=tenant_id, source=vendor, **fields)
