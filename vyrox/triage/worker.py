"""Judges the queued alerts, beside the requests.

It reads through the consumer group, so several containers share the work, and another container
takes over the alerts of one that has died. Tenants take turns. While alerts wait, critical and high
ones are read from their rows first.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from vyrox import log, metrics, tracing
from vyrox.alerts.consumer import AlertConsumer, QueuedAlert
from vyrox.clock import Clock
from vyrox.errors import UnavailableError
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database
from vyrox.triage import catalogue, waiting
from vyrox.triage.announcement import Announcer
from vyrox.triage.fingerprint import content_of
from vyrox.triage.judging import Stored, least_of, store_verdicts
from vyrox.triage.memory import Memory, read_memory
from vyrox.triage.pace import Pace
from vyrox.triage.score import OwnRules, Verdict, judge, with_error
from vyrox.triage.storms import Storms
from vyrox.triage.switch import OWN_PREFIX, Decision, decide

T = TypeVar("T")

BATCH: Final = 100
"""Alerts of one tenant that are judged before the next tenant's turn."""

SCAN_S: Final = 2.0
"""Time between two searches for tenants whose alerts came through another container, while alerts
wait. If none wait, the agenda announces such alerts."""

TOGETHER_S: Final = 0.05
"""Time between the beginnings of two rounds, if the first one took all that waited. To judge and
store a single alert costs ten times what it costs among others, so the next ones come together."""

SEVERE_S: Final = 0.25
"""Time between two searches for severe alerts, while alerts wait."""

RETRY_S: Final = 1.0
OFF_S: Final = 3600.0

TAKE_OVER_S: Final = 10.0
"""Time between two searches for alerts of a container that has died."""

TAKE_OVER_IDLE_MS: Final = 30_000
"""How long another consumer must have had an alert before it is taken over."""

BEHIND_S: Final = 60.0
"""Age of the oldest queued alert from which a warning is logged."""

BEHIND_INTERVAL_S: Final = 60.0


class TriageWorker:
    """Judges alerts until cancelled."""

    def __init__(
        self,
        setting: bool | None,
        consumer: AlertConsumer,
        database: Database,
        announcer: Announcer,
        container: str,
        clock: Clock,
        own: OwnRules | None = None,
    ) -> None:
        """Begin without a decision whether to judge alerts at all.

        Args:
            setting: TRIAGE_ENABLED.
            container: This process's id.
            clock: The one by which the rows have their times.
            own: Rules of the user's own.
        """
        self._own = own
        self._setting = setting
        self._decision: Decision | None = None
        self._consumer = consumer
        self._database = database
        self._announcer = announcer
        self._name = OWN_PREFIX + container
        self._clock = clock
        self._storms = Storms()
        self._pace = Pace()
        self._noticed: set[str] = set()
        self.news = asyncio.Event()
        """To be set while alerts may wait."""
        self._scan_at = self._take_over_at = self._behind_at = self._severe_at = 0.0
        self._round_at = 0.0

    def notice(self, tenant_id: str) -> None:
        """Take note that an alert of this tenant was queued."""
        self._pace.arrived()
        self._noticed.add(tenant_id)
        self.news.set()

    async def run(self) -> None:
        """Judge one round of all tenants that have alerts; wait for news first if none is known.

        Raises:
            UnavailableError: A store is unavailable, for RETRY_S now; nothing is lost.
        """
        try:
            if self._decision is None:
                decision = await decide(self._setting, self._consumer)
                if decision.is_on:  # in the loop it would hold requests up for 0.13 s
                    await asyncio.to_thread(catalogue.index)
                self._decision = decision
            if self._decision.is_on:
                await self._round()
            else:
                await asyncio.sleep(OFF_S)
        except UnavailableError:
            await asyncio.sleep(RETRY_S)
            raise

    async def _round(self) -> None:
        if not self._noticed:
            await self._until_news()
        await asyncio.sleep(self._round_at - time.monotonic())  # not at all if it is negative
        began_at = time.monotonic()
        await self._search()
        tenants, self._noticed = sorted(self._noticed), set()
        try:
            behind = await _of_each(tenants, self._judge_tenant)
        except UnavailableError:
            self._noticed |= set(tenants)
            raise
        if any(behind):
            await self._judge_severe()
        else:
            self._round_at = began_at + TOGETHER_S

    async def _until_news(self) -> None:
        """Wait for an alert that is noticed, for the agenda, or until it is time to search."""
        self.news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._take_over_at - time.monotonic()):
                await self.news.wait()
        if not self._noticed:
            self._scan_at = 0.0

    async def _search(self) -> None:
        now = time.monotonic()
        if now >= self._scan_at:
            self._noticed |= set(await self._consumer.streams())
            self._scan_at = now + SCAN_S
        if now >= self._take_over_at:
            self._take_over_at = now + TAKE_OVER_S
            await _of_each(await self._consumer.streams(), self._take_over)
            await self._judge_finished()
        if now >= self._behind_at:
            self._behind_at = now + BEHIND_INTERVAL_S
            await self._warn_if_behind()

    async def _take_over(self, tenant_id: str) -> None:
        taken = await self._consumer.take_over(
            tenant_id, self._name, TAKE_OVER_IDLE_MS, self._clock(), BATCH
        )
        await self._judge_queued(tenant_id, taken)

    async def _judge_tenant(self, tenant_id: str) -> bool:
        """Judge one batch; return whether more alerts wait."""
        queued = await self._consumer.read(tenant_id, self._name, BATCH)
        if not queued:
            return False
        await self._judge_queued(tenant_id, queued)
        if len(queued) < BATCH:
            return False
        self._noticed.add(tenant_id)
        return True

    async def _judge_queued(self, tenant_id: str, queued: Sequence[QueuedAlert]) -> None:
        if not queued:
            return
        left = await self._judge_and_store(tenant_id, [each.alert for each in queued])
        # After the commit: a crash before this leaves entries that `read` skips. What is left
        # stays queued, and becomes a dead letter if this goes on.
        await self._consumer.remove([each for each in queued if each.alert.id not in left])

    async def _judge_severe(self) -> None:
        """Judge critical and high alerts that wait behind others. Their entries go later."""
        if time.monotonic() < self._severe_at:
            return
        self._severe_at = time.monotonic() + SEVERE_S
        await self._judge_of_tenants(await self._database.read(waiting.severe, BATCH))

    async def _judge_of_tenants(self, found: Sequence[NormalizedAlert]) -> None:
        for tenant_id in sorted({alert.tenant_id for alert in found}):
            own = [alert for alert in found if alert.tenant_id == tenant_id]
            await self._judge_and_store(tenant_id, own)

    async def _judge_finished(self) -> None:
        """Give a verdict to what ended without one: dead letters, and what a person was first on.

        A person must decide about a dead letter, so it is not judged by rules.
        """
        for alert in await self._database.read(waiting.dead, BATCH):
            verdict = with_error("it was delivered too often and never judged")
            await self._store(alert.tenant_id, [(alert, verdict)])
        decided = await self._database.read(waiting.decided, self._clock(), BATCH)
        await self._judge_of_tenants(decided)

    async def _judge_and_store(
        self, tenant_id: str, batch: Sequence[NormalizedAlert]
    ) -> frozenset[str]:
        """Return the ids of alerts that could not be stored."""
        memory = await self._database.read(read_memory, tenant_id, self._clock())
        judged: list[tuple[NormalizedAlert, Verdict]] = []
        for alert in batch:
            began = time.thread_time()
            judged.append((alert, self._verdict(alert, memory)))
            await self._pace.give_way(time.thread_time() - began)
        return await self._store(tenant_id, judged)

    async def _store(
        self, tenant_id: str, judged: Sequence[tuple[NormalizedAlert, Verdict]]
    ) -> frozenset[str]:
        """Store verdicts, and announce what is due. Returns as `_judge_and_store`."""
        now, began = self._clock(), tracing.now()
        try:
            stored = await self._database.write(store_verdicts, tenant_id, judged, now)
        except UnavailableError:
            raise
        except Exception:  # noqa: BLE001  (logged; all other alerts of the batch must be stored)
            ids = [alert.id for alert, _ in judged]
            log.event(
                "triage.failed", logging.ERROR, tenant=tenant_id, alert_id=ids[0], alerts=len(ids)
            )
            return await self._store_apart(tenant_id, judged)
        for waited_s in stored.waited_s:
            metrics.TRIAGE.observe(waited_s)
        if began:
            _trace(judged, stored, began)
        if stored.due_at is not None and stored.due_at <= now:
            await self._announcer.run()
        await self._pace.give_way(stored.took_s)
        return frozenset()

    async def _store_apart(
        self, tenant_id: str, judged: Sequence[tuple[NormalizedAlert, Verdict]]
    ) -> frozenset[str]:
        """Store the halves of a batch that cannot be stored; of one alert, only its id and time."""
        if len(judged) > 1:
            half = len(judged) // 2
            first = await self._store(tenant_id, judged[:half])
            return first | await self._store(tenant_id, judged[half:])
        [(alert, _)] = judged
        least = least_of(alert)
        if alert == least:
            return frozenset({alert.id})
        return await self._store(tenant_id, [(least, with_error("the alert could not be grouped"))])

    def _verdict(self, alert: NormalizedAlert, memory: Memory) -> Verdict:
        try:
            return self._judged(alert, memory)
        except Exception:  # noqa: BLE001  (logged; the alert must get a verdict)
            log.event("triage.failed", logging.ERROR, tenant=alert.tenant_id, alert_id=alert.id)
            return with_error("the alert could not be judged")

    def _judged(self, alert: NormalizedAlert, memory: Memory) -> Verdict:
        now = time.monotonic()
        # A signal that was switched on or off meanwhile ends the use of an earlier verdict.
        content = content_of(alert) + repr(sorted(memory.disabled)).encode()
        verdict = self._storms.verdict(content, now)
        if verdict is None:
            verdict = judge(alert, disabled=memory.disabled, own=self._own)
            self._storms.keep(content, verdict, now)
        return memory.suppressed(alert, verdict)

    async def _warn_if_behind(self) -> None:
        oldest = await self._database.read(waiting.oldest)
        if oldest is not None and (age_s := self._clock() - oldest) > BEHIND_S:
            log.event("triage.behind", logging.WARNING, oldest_s=round(age_s))


def _trace(judged: Sequence[tuple[NormalizedAlert, Verdict]], stored: Stored, at: float) -> None:
    """Make a span for each verdict, with a link to the spans of the incident."""
    for alert, verdict in judged:
        if (number := stored.incidents.get(alert.id)) is not None:
            tracing.record(
                *("verdict", alert.id, at),
                links=[f"{alert.tenant_id}-{number}"],
                vendor=alert.source,
                tenant=alert.tenant_id,
                outcome=verdict.band,
                incident=number,
            )


async def _of_each(tenants: Iterable[str], work: Callable[[str], Awaitable[T]]) -> list[T]:
    """Do the work of each tenant. An error on one tenant does not stop that of other tenants.

    Raises:
        UnavailableError: A store was unavailable for a tenant.
    """
    done: list[T] = []
    unavailable: UnavailableError | None = None
    for tenant_id in tenants:
        try:
            done.append(await work(tenant_id))
        except UnavailableError as exc:
            unavailable = exc
        except Exception:  # noqa: BLE001  (logged; what was read is taken over later)
            log.event("triage.failed", logging.ERROR, tenant=tenant_id)
    if unavailable is not None:
        raise unavailable
    return done
