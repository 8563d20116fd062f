"""Fetches the alerts that Microsoft Graph has announced, beside the requests (contract 74).

A kill at any step leaves the notice, which is fetched once its lease has ended; an alert that was
stored is known by its id and time, so that it is not stored twice.
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
from vyrox.errors import UnavailableError, VendorBusyError, VendorError
from vyrox.polling import notices
from vyrox.polling.defender import GraphAlerts
from vyrox.polling.notices import MISSED, Claimed, Notice
from vyrox.polling.pages import Page, as_text
from vyrox.polling.poller import POLL_S
from vyrox.polling.rows import FIRST_S, LostLeaseError
from vyrox.polling.storing import Limits, read_elements
from vyrox.store.database import Database
from vyrox.tenants.bindings import read_bindings
from vyrox.tenants.edr_credentials import EdrCredentials

MAX_TENANTS: Final = 4
"""Tenants whose alerts one container fetches at one time."""

RETRY_S: Final = 5.0
MAX_RETRY_S: Final = 900.0
"""The pause after a fetch that has failed: doubled each time, up to this."""

GIVE_UP_S: Final = 86_400.0
"""How long an alert is tried, from its announcement."""


class GraphSources(Protocol):
    """One source for each tenant."""

    def client(self, stored: EdrCredentials, /) -> GraphAlerts:
        """Return the source for `stored`. Raises VendorError if the credentials are unusable."""
        ...


class Fetcher:
    """The fetches of this container."""

    def __init__(
        self,
        database: Database,
        sources: GraphSources,
        queue: AlertQueue,
        notice: Callable[[str], None],
        limits: Limits,
        clock: Clock,
    ) -> None:
        """The arguments are those of `Pollers`."""
        self._database = database
        self._sources = sources
        self._queue = queue
        self._notice = notice
        self._limits = limits
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self._paused: dict[str, float] = {}
        """Until when Graph wants no request of a tenant."""
        self.noticed = asyncio.Event()

    async def run(self) -> None:
        """Begin the fetches that are due.

        Raises:
            UnavailableError: The database is unavailable.
        """
        free = MAX_TENANTS - len(self._running)
        now = self._clock()
        if free <= 0 or not await self._database.read(notices.is_any_due, now):
            return
        self._paused = {each: until for each, until in self._paused.items() if until > now}
        busy, claim = [*self._running, *self._paused], notices.claim
        for claimed in await self._database.write(claim, busy, free, now):
            tenant_id = claimed.account.tenant_id
            task = asyncio.create_task(self._fetch_all(claimed))
            self._running[tenant_id] = task
            task.add_done_callback(partial(self._done, tenant_id))

    def _done(self, tenant_id: str, _task: asyncio.Task[None]) -> None:
        self._running.pop(tenant_id, None)
        self.noticed.set()  # more of the same tenant may wait

    async def accept(self, batch: notices.Batch) -> None:
        """Store a batch of notifications; then fetch soon.

        Raises:
            UnavailableError: Not stored, or it is not known; Graph sends it again.
        """
        await self._database.write(notices.accept, batch, self._limits, self._clock())
        self.noticed.set()

    async def stop(self) -> None:
        """End all fetches. Each begins again after its lease."""
        while running := list(self._running.values()):
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def settled(self) -> None:
        """Return once nothing is fetched."""
        while running := list(self._running.values()):
            await asyncio.wait(running)
            await asyncio.sleep(0)

    async def _fetch_all(self, claimed: Claimed) -> None:
        deadline = Deadline(POLL_S)
        try:
            for notice in claimed.notices:
                if deadline.remaining_s() < POLL_S / 2 or notice.tenant_id in self._paused:
                    break
                await self._fetch(claimed, notice, deadline)
            await self._database.write(notices.release, claimed)
        except LostLeaseError:
            _log("fetch.lost", claimed.account.tenant_id, logging.WARNING)
        except UnavailableError as exc:
            # The lease expires, and then the notices are due again.
            _log("fetch.failed", claimed.account.tenant_id, logging.WARNING, reason=str(exc))

    async def _fetch(self, claimed: Claimed, notice: Notice, deadline: Deadline) -> None:
        try:
            source = self._source(claimed)
            if notice.alert_id == MISSED:
                await self._read_list(source, notice, deadline)
            else:
                found = await source.read_one(notice.alert_id, deadline)
                await self._store(notice, Page((found,), None))
        except VendorError as exc:
            await self._fail(notice, exc)
        except (UnavailableError, LostLeaseError):
            raise
        except Exception as exc:  # noqa: BLE001  (a bug in one must not end the service)
            _log("fetch.error", notice.tenant_id, logging.ERROR)
            await self._fail(notice, VendorError(f"a bug: {type(exc).__name__}; see the log"))

    def _source(self, claimed: Claimed) -> GraphAlerts:
        if claimed.is_removed:
            raise VendorError("the tenant is removed")
        if claimed.credentials is None:
            raise VendorError("no credentials: set them with vyrox tenant edr set")
        return self._sources.client(claimed.credentials)

    async def _read_list(self, source: GraphAlerts, notice: Notice, deadline: Deadline) -> None:
        """Read what was changed in the hour before, as a poll does."""
        since = as_text(max(0.0, notice.received_at - FIRST_S))
        page = await source.read(since, None, deadline)
        await self._store(notice, page)
        while page.next is not None:
            page = await source.read(since, page.next, deadline)
            await self._store(notice, page)

    async def _store(self, notice: Notice, page: Page) -> None:
        account, limits = notice.account, self._limits
        now = self._clock()
        bindings = await self._database.read(read_bindings, account.vendor)
        all_read = await asyncio.to_thread(
            read_elements, account, bindings, page, limits, self._clock()
        )
        stored = await self._database.write(
            notices.store, notice, all_read, page.next is None, limits, self._clock()
        )
        new = len(stored.entries)
        metrics.count_polled(account.vendor, account.tenant_id, new, stored.quarantined)
        if stored.entries:
            # What Redis does not take now, a refill adds later.
            with tracing.delivery(
                "poll", now, vendor=account.vendor, tenant=account.tenant_id
            ) as arrival:
                arrival.stored([(each.alert_id, False) for each in stored.entries])
                await self._queue.put_batch(stored.entries)
            for tenant_id in {each.tenant_id for each in stored.entries}:
                self._notice(tenant_id)
        _log(
            "fetch.done",
            notice.tenant_id,
            raw_id=notice.alert_id or None,
            alerts=len(stored.entries),
            known=stored.known,
            quarantined=stored.quarantined,
        )

    async def _fail(self, notice: Notice, error: VendorError) -> None:
        now, reason = self._clock(), str(error)
        members = {"raw_id": notice.alert_id or None, "reason": reason}
        if now - notice.received_at >= GIVE_UP_S:
            text = f"Graph did not give the alert: {reason}"
            await self._database.write(notices.give_up, notice, text, self._limits, now)
            _log("notification.dead", notice.tenant_id, logging.ERROR, **members)
            return
        pause_s = min(MAX_RETRY_S, RETRY_S * 2 ** min(notice.failures, 10))
        pause_s *= random.uniform(0.9, 1.1)  # noqa: S311  (it spreads load, protects nothing)
        if isinstance(error, VendorBusyError):
            pause_s = max(pause_s, error.pause_s)
            self._paused[notice.tenant_id] = now + pause_s
        await self._database.write(notices.fail, notice, reason, now + pause_s, now)
        _log("fetch.failed", notice.tenant_id, logging.WARNING, retry_s=round(pause_s), **members)


def _log(name: str, tenant_id: str, level: int = logging.INFO, **fields: object) -> None:
    log.event(name, level, tenant=tenant_id, source=notices.VENDOR, **fields)
