"""All that is measured, as text for Prometheus (contract 98).

The names are in `docs/operations.md`, and in the dashboard and the rules below `deploy/`.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, get_args

from vyrox import log, metrics
from vyrox.approvals.states import State as ProposalState
from vyrox.chain.entry import SERVICE
from vyrox.clock import monotonic_clock, wall_clock
from vyrox.containment.claims import State as ClaimState
from vyrox.errors import UnavailableError
from vyrox.lifespan.background import Parts
from vyrox.lifespan.measuring import Gauges, read_gauges
from vyrox.metrics import Histogram, LabelledCounter, Labels
from vyrox.settings import Settings
from vyrox.store.database import Database

if TYPE_CHECKING:
    from prometheus_client import Metric

_VERSION: Final = version("vyrox")
"""Read once: it is in a file, and the event loop must not wait for one."""

_Kind = Literal["counter", "gauge"]

VALID_S: Final = 5.0
"""How long what was read from the stores is shown again: a scrape adds no more load than that."""

READ_TIMEOUT_S: Final = 2.0

_BY_PREFIX: Final = {
    "execute": ("actions", "Actions, by how they ended."),
    "notify": ("notifications", "Attempts to send a notification, by how they ended."),
}
"""Events whose names begin so are counted by the rest of their names as well."""

_SHOWN_AS_ZERO: Final = (
    *("execute.executed", "execute.dry_run", "execute.confirmed", "execute.failed"),
    *("execute.outcome_unknown", "execute.vendor_failed", "execute.result_not_recorded"),
    *("execute.claim_lost", "notify.sent", "notify.attempt_failed", "notify.dead"),
    *("notify.not_recorded", "notify.failed", "audit.event_lost", "audit.events_lost"),
    *("triage.failed", "background.failed", "alert.dead_lettered", "log.dropped"),
    *("discord.token_refused", "discord.refused", "discord.failed", "tracing.not_sent"),
    *("witness.refused", "witness.bad_signature"),
)
"""Events that are there before the first of them: Prometheus does not see that a number that
appears has increased."""


class Exposition:
    """What `/metrics` shows. It reads the stores when it is asked, and not too often."""

    def __init__(self, settings: Settings, database: Database, parts: Parts) -> None:
        """Read nothing yet."""
        self._settings = settings
        self._database = database
        self._parts = parts
        self._read: tuple[Gauges | None, int | None] = (None, None)
        self._valid_until = 0.0
        self._began_at = wall_clock()
        self._reading = asyncio.Lock()

    async def text(self) -> bytes:
        """Return everything as Prometheus' text. Without a store, what needs it is left out."""
        async with self._reading:
            if monotonic_clock() >= self._valid_until:
                self._read = await self._read_stores()
                self._valid_until = monotonic_clock() + VALID_S
        # Imported in a thread: it takes long, and only a service with Prometheus needs it.
        return await asyncio.to_thread(_text, list(self._families_of()))

    async def _read_stores(self) -> tuple[Gauges | None, int | None]:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                gauges = await self._database.read(read_gauges, wall_clock())
        except (TimeoutError, UnavailableError):
            return None, None
        try:
            return gauges, sum(await self._parts.queue.count(gauges.tenants))
        except UnavailableError:
            return gauges, None

    def _families_of(self) -> Iterator["_Measured"]:
        names = self._settings.metrics_tenants
        events = _events()
        yield _Family("counter", "events", "Events of the log, by name.", ("event",), events)
        for prefix, (name, text) in _BY_PREFIX.items():
            values: dict[Labels, float] = {
                (event.partition(".")[2],): number
                for (event,), number in events.items()
                if event.startswith(f"{prefix}.")
            }
            yield _Family("counter", name, text, ("outcome",), values)
        for counter in metrics.COUNTERS:
            yield _counter(counter, names=names)
        yield from map(_HistogramFamily, metrics.HISTOGRAMS)
        yield from self._of_process()
        gauges, entries = self._read
        if entries is not None:
            yield _gauge("queue_entries", "Alerts in Redis.", entries)
        if gauges is not None:
            yield from _of_stores(gauges, names=names)
            yield self._of_witnesses(gauges)

    def _of_process(self) -> Iterator["_Measured"]:
        failing = self._parts.health.failing()
        up: dict[Labels, float] = {
            (shown,): float(store not in failing)
            for store, shown in (("database", "database"), ("queue", "redis"))
        }
        yield _Family("gauge", "store_up", "Whether the last probe worked.", ("store",), up)
        is_read = self._read[0] is not None
        yield _gauge("database_read", "Whether what is read from it is shown.", is_read)
        yield _gauge("clock_trusted", "Whether the clocks can be trusted.", self._trusts_clocks())
        yield _gauge("dry_run", "Whether no vendor is called.", self._settings.dry_run)
        info: dict[Labels, float] = {(_VERSION,): 1.0}
        yield _Family("gauge", "build_info", "The version.", ("version",), info)

    def _of_witnesses(self, gauges: Gauges) -> "_Family":
        # One that has never answered has waited since the start. One that is not asked any more
        # is not shown.
        since_start = wall_clock() - self._began_at if any(gauges.heads.values()) else 0.0
        ages = {
            each.url: gauges.checkpoint_age_s.get(each.url, since_start)
            for each in self._settings.checkpoints.witnesses
        }
        text = "Since the witness co-signed the chain that waits longest; 0 if none waits."
        return _by("checkpoint_age_seconds", text, "witness", ages)

    def _trusts_clocks(self) -> bool:
        try:
            self._parts.clocks.check()
        except UnavailableError:
            return False
        return True


class _Family:
    """One measurement with its values by labels."""

    def __init__(
        self, kind: _Kind, name: str, text: str, labels: Labels, values: Mapping[Labels, float]
    ) -> None:
        self._kind, self._name, self._text, self._labels = kind, f"vyrox_{name}", text, labels
        self._values = dict(values)

    def metric(self) -> "Metric":
        from prometheus_client import core

        kinds = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}
        family = kinds[self._kind](self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        metric: Metric = family
        return metric


class _HistogramFamily:
    """One histogram, as it is at this moment."""

    def __init__(self, histogram: Histogram) -> None:
        self._name, self._text = f"vyrox_{histogram.name}_seconds", histogram.text
        self._labels, self._bounds = histogram.labels, histogram.bounds
        self._buckets = {
            labels: (numbers.copy(), histogram.sums[labels])
            for labels, numbers in histogram.buckets.items()
        }

    def metric(self) -> "Metric":
        from prometheus_client import core

        family = core.HistogramMetricFamily(self._name, self._text, labels=self._labels)
        bounds = (*map(str, self._bounds), "+Inf")
        for labels, (numbers, total) in self._buckets.items():
            below = itertools.accumulate(numbers)
            family.add_metric(labels, list(zip(bounds, below, strict=True)), total)
        return family


_Measured = _Family | _HistogramFamily


def _text(families: list[_Measured]) -> bytes:
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.registry import Collector

    class Collected(Collector):
        def collect(self) -> Iterator["Metric"]:
            return (each.metric() for each in families)

    registry = CollectorRegistry()
    registry.register(Collected())
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _events() -> dict[Labels, float]:
    counts = {**dict.fromkeys(_SHOWN_AS_ZERO, 0), **log.counts}
    return {(name,): number for name, number in counts.items()}


def _counter(counter: LabelledCounter, *, names: bool) -> _Family:
    values = _shown(counter.labels, counter.counts, names=names)
    labels = counter.labels if names else tuple(n for n in counter.labels if n != "tenant")
    return _Family("counter", counter.name, counter.text, labels, values)


def _shown(labels: Labels, counts: Mapping[Labels, float], *, names: bool) -> dict[Labels, float]:
    """Return the numbers without the tenants, unless they may be named."""
    sums: defaultdict[Labels, float] = defaultdict(float)
    for values, number in counts.items():
        pairs = zip(labels, values, strict=True)
        sums[tuple(value for name, value in pairs if names or name != "tenant")] += number
    return sums


def _gauge(name: str, text: str, value: float) -> _Family:
    return _Family("gauge", name, text, (), {(): float(value)})


def _of_stores(gauges: Gauges, *, names: bool) -> Iterator[_Family]:
    yield _gauge(
        "unfinished_alerts", "Alerts without a verdict, at most 10,000.", gauges.unfinished
    )
    text = "Since the oldest alert without a verdict came; 0 if there is none."
    yield _gauge("oldest_alert_age_seconds", text, gauges.oldest_age_s)
    for name, text, values in (
        ("dead_letters", "Alerts that nothing could finish.", gauges.dead),
        ("quarantined", "Payloads that are not alerts, and wait.", gauges.quarantined),
    ):
        yield _by_tenant(name, text, {(each,): n for each, n in values.items()}, (), names=names)
    # A state without one is 0: a line that ends where nothing is left would look like an outage.
    states = {**dict.fromkeys(get_args(ProposalState), 0), **gauges.proposals}
    yield _by("proposals", "Proposals of the last 24 hours.", "state", states)
    states = {**dict.fromkeys(get_args(ClaimState), 0), **gauges.claims}
    yield _by("claims", "Actions whose result is kept, at most 10,000.", "state", states)
    pending = {"containment": gauges.containments_pending, "lift": gauges.lifts_pending}
    yield _by(
        "confirmations_pending",
        "Devices whose action was sent, and that were not read back yet.",
        "kind",
        pending,
    )
    lag = gauges.poller_lag_s
    text = "Since a poll read all that the vendor had, of the tenant who waits longest."
    yield _by("poller_lag_seconds", text, "vendor", lag)
    text = "Entries of the audit log; the service's own chain has no tenant."
    yield _by_tenant("audit_entries", text, gauges.heads, ("stream",), names=names)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> _Family:
    found: dict[Labels, float] = {(key,): number for key, number in values.items()}
    return _Family("gauge", name, text, (label,), found)


def _by_tenant(
    name: str,
    text: str,
    values: Mapping[Labels, float],
    others: Labels,
    *,
    names: bool,
) -> _Family:
    """Return the values whose keys begin with a tenant, summed up unless it may be named."""
    labels = ("tenant", *others)
    sums: defaultdict[Labels, float] = defaultdict(float)
    for key, number in values.items():
        tenant = key[0] if key[0] == SERVICE else metrics.tenant_label(key[0])
        sums[(tenant, *key[1:])] += number
    shown = _shown(labels, sums, names=names)
    if not shown and not names and not others:
        shown[()] = 0
    return _Family("gauge", name, text, labels if names else others, shown)
