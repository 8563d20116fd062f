"""What is measured while the service works: counters with labels, and histograms (contract 98).

To measure costs a few hundred nanoseconds and no lock: only the event loop's thread does it.
`lifespan.measuring` reads it all when it is asked, and this module imports nothing for that.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

MAX_SERIES: Final = 400
"""Different labels of one measurement. Further ones are counted with `other` in every place."""

MAX_TENANTS: Final = 100
"""Tenants that are shown by name. Further ones are `other`."""

OTHER: Final = "other"

FAST: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
CALLS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
WAITS: Final = (0.02, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0)

Labels = tuple[str, ...]


class LabelledCounter:
    """Numbers by labels."""

    def __init__(self, name: str, text: str, labels: Labels) -> None:
        """`name` is without `vyrox_` and `_total`."""
        self.name, self.text, self.labels = name, text, labels
        self.counts: defaultdict[Labels, int] = defaultdict(int)

    def add(self, *values: str, number: int = 1) -> None:
        """Count `number` more."""
        self.counts[_bounded(self.counts, values)] += number


class Histogram:
    """How long something took, by labels."""

    def __init__(
        self, name: str, text: str, bounds: tuple[float, ...], labels: Labels = ()
    ) -> None:
        """`name` is without `vyrox_` and `_seconds`."""
        self.name, self.text, self.bounds, self.labels = name, text, bounds, labels
        self.buckets: dict[Labels, list[int]] = {}
        self.sums: defaultdict[Labels, float] = defaultdict(float)

    def observe(self, seconds: float, *values: str) -> None:
        """Add one observation."""
        values = _bounded(self.buckets, values)
        buckets = self.buckets.get(values)
        if buckets is None:
            buckets = self.buckets[values] = [0] * (len(self.bounds) + 1)
        buckets[bisect_left(self.bounds, seconds)] += 1
        self.sums[values] += seconds

    def timed(self) -> "_Timed":
        """Observe how long the block takes, also if it fails."""
        return _Timed(self)


class _Timed:
    """A generator would take three times as long."""

    __slots__ = ("_began", "_histogram")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(time.perf_counter() - self._began)


def _bounded(known: Mapping[Labels, object], values: Labels) -> Labels:
    if values in known or len(known) < MAX_SERIES:
        return values
    return (OTHER,) * len(values)


DELIVERIES: Final = LabelledCounter(
    "deliveries",
    "Alerts that arrived, by webhook or poll, and refused requests, by their outcome.",
    ("vendor", "outcome", "tenant"),
)
AUTH_FAILURES: Final = LabelledCounter(
    "authentication_failures",
    "Requests that were refused with 401, by the path's first part and what was wrong.",
    ("route", "kind"),
)
VENDOR_CALLS: Final = LabelledCounter(
    "vendor_calls",
    "Requests to the vendors' APIs, by their outcome.",
    ("vendor", "call", "outcome"),
)
ERRORS: Final = LabelledCounter("errors", "Events of the log at level error.", ())
"""So that one rule can see any of them."""

COMMIT: Final = Histogram("commit", "One commit of the database with all that waited.", FAST)
REDIS: Final = Histogram("redis", "One call to Redis.", FAST)
LOOP_LAG: Final = Histogram("event_loop_lag", "How much later than asked a task woke up.", FAST)
VENDOR: Final = Histogram("vendor_call", "One request to a vendor's API.", CALLS, ("vendor",))
TRIAGE: Final = Histogram("triage", "From an alert's arrival to its stored verdict.", WAITS)
NOTIFICATION: Final = Histogram("notification", "From a notification to its delivery.", WAITS)

COUNTERS: Final = (DELIVERIES, AUTH_FAILURES, VENDOR_CALLS, ERRORS)
HISTOGRAMS: Final = (COMMIT, REDIS, LOOP_LAG, VENDOR, TRIAGE, NOTIFICATION)

_tenants: set[str] = set()


def tenant_label(tenant_id: str) -> str:
    """Return the tenant's name, or OTHER if there are MAX_TENANTS others."""
    if tenant_id in _tenants:
        return tenant_id
    if len(_tenants) >= MAX_TENANTS:
        return OTHER
    _tenants.add(tenant_id)
    return tenant_id


def count_polled(vendor: str, tenant_id: str, new: int, unreadable: int) -> None:
    """Count what a poll has found: new alerts, and what went to quarantine."""
    for outcome, number in (("polled", new), ("unreadable", unreadable)):
        if number:
            DELIVERIES.add(vendor, outcome, tenant_label(tenant_id), number=number)


Fields = Mapping[str, object]

_SENDERS: Final = frozenset({"crowdstrike", "sentinelone", "defender", "generic"})

_REFUSED: Final = {
    401: "unauthorized",
    422: "unreadable",
    429: "busy",
    503: "unavailable",
}
"""The outcome of a refused delivery, by status. Any other: `refused`."""


def _delivery(outcome: str) -> Callable[[Fields], None]:
    counts = DELIVERIES.counts

    def count(fields: Fields) -> None:
        # The sender has proved who it is, so it can name no tenant but its own.
        vendor, tenant_id = fields.get("source"), fields.get("tenant")
        values = (vendor, outcome, tenant_id)
        if values in counts:  # the short way, for every alert but the first
            counts[values] += 1  # type: ignore[index]  # only texts are in it
        else:
            DELIVERIES.add(str(vendor), outcome, tenant_label(str(tenant_id)))

    return count


def _refusal(status: int) -> Callable[[Fields], None]:
    outcome = _REFUSED.get(status, "refused")

    def count(fields: Fields) -> None:
        _, first, *rest = f"{fields.get('path', '')}/".split("/", 3)
        if first == "webhook" and rest[0] in _SENDERS:
            DELIVERIES.add(rest[0], outcome, "")
        if status == 401:
            # Before the colon is one of few words; what follows may come from the request.
            kind = str(fields.get("reason")).partition(":")[0]
            AUTH_FAILURES.add(first, "malformed" if fields.get("how") else kind)

    return count


_OUTCOMES: Final = (
    *("accepted", "redelivered", "waiting", "ignored", "polled"),
    *(*_REFUSED.values(), "refused"),
)

# They are there before the first delivery: Prometheus does not see that a number that appears has
# increased.
DELIVERIES.counts.update(
    {(vendor, outcome, ""): 0 for vendor in sorted(_SENDERS) for outcome in _OUTCOMES}
)

ERRORS.counts[()] = 0

OF_EVENTS: Final[dict[str, Callable[[Fields], None]]] = {
    "alert.accepted": _delivery("accepted"),
    "alert.redelivered": _delivery("redelivered"),
    "alert.waiting": _delivery("waiting"),
    "alert.ignored": _delivery("ignored"),
    **{
        f"request.refused.{status}": _refusal(status)
        for status in (400, 401, 403, 404, 408, 409, 410, 413, 415, 422, 429, 500, 503)
    },
}
"""What an event of the log adds to a counter with labels. `log.counts` counts all of them."""
