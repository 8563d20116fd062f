"""What happened to one alert, as spans for OpenTelemetry (contract 106).

Nothing is stored for it: the trace of an alert and its first span have ids that are made of the
alert's id. So every container knows them, days later too. Incidents have such ids as well.
While no collector is set, each of these functions does nothing.
"""

import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from vyrox import metrics
from vyrox.clock import wall_clock

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, Tracer

MAX_ALERTS: Final = 100
"""Alerts of one delivery that get a first span: thousands would hold the event loop."""

MAX_TEXT: Final = 128
"""Characters of one attribute: callers choose some ids."""

Value = str | int | bool | None

Attributes = Mapping[str, Value]


class Place(NamedTuple):
    """The trace of an alert or an incident, and its first span."""

    trace_id: int
    span_id: int


def place_of(key: str) -> Place:
    """Return where the spans of an alert are, or those of an incident, by its id."""
    digest = sha256(key.encode("utf-8", "replace")).digest()
    return Place(int.from_bytes(digest[:16]), int.from_bytes(digest[16:24]))


class Step:
    """A part of the work, which becomes a span when its block ends. This one does not."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass

    def set(self, **attributes: Value) -> None:
        """Add what is known only now."""


class Delivery:
    """The arrival of alerts, each with its first span when the block ends. Not with this one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        pass

    def stored(self, alerts: Iterable[tuple[str, bool]]) -> None:
        """Take note that these alerts have rows: the id, and whether it had come before."""


_NO_STEP: Final = Step()
_NO_DELIVERY: Final = Delivery()


class FirstIds(threading.local):
    """The ids of the next span without a parent, for the SDK's generator of ids."""

    place: Place | None = None


class Tracing:
    """Makes spans with the SDK's tracer."""

    def __init__(self, tracer: "Tracer", first: FirstIds, *, names: bool) -> None:
        """Create it.

        Args:
            first: The tracer's generator of ids takes the next ids from it.
            names: Whether spans name tenants.
        """
        self._tracer = tracer
        self._first = first
        self._names = names

    def begin(
        self,
        name: str,
        parent: "SpanContext | None",
        attributes: Attributes,
        *,
        at: float | None = None,
        links: Iterable[str] = (),
    ) -> "Span":
        """Return a new span below `parent`."""
        from opentelemetry import trace
        from opentelemetry.context import Context

        context = Context()
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
        return self._tracer.start_span(
            name,
            context,
            attributes=self.shown(attributes),
            links=[trace.Link(context_of(key)) for key in links],
            start_time=None if at is None else in_ns(at),
        )

    def begin_first(self, name: str, key: str, attributes: Attributes, at: float) -> "Span":
        """Return the first span of an alert."""
        self._first.place = place_of(key)
        try:
            return self.begin(name, None, attributes, at=at)
        finally:
            self._first.place = None

    def shown(self, attributes: Attributes) -> dict[str, str | int | bool]:
        """Return what may leave the service, with the names that operators search for."""
        found: dict[str, str | int | bool] = {}
        for name, value in attributes.items():
            if value is None or (name == "tenant" and not self._names):
                continue
            shown = metrics.tenant_label(str(value)) if name == "tenant" else value
            found[f"vyrox.{name}"] = shown[:MAX_TEXT] if isinstance(shown, str) else shown
        return found


def in_ns(seconds: float) -> int:
    """Return Unix seconds as the SDK takes them."""
    return int(seconds * 1e9)


def context_of(key: str) -> "SpanContext":
    """Return the first span of an alert or an incident, wherever it was made."""
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(*place_of(key), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


_tracing: Tracing | None = None
"""Set while a collector is set and the service runs."""

_current: ContextVar["SpanContext | None"] = ContextVar("current span", default=None)
"""Whose block runs in this task."""


def use(tracing: Tracing | None) -> None:
    """From now on, make spans with `tracing`, or none."""
    global _tracing
    _tracing = tracing


def now() -> float:
    """Return the time, for `record`; 0 while no collector is set."""
    return 0.0 if _tracing is None else wall_clock()


def step(name: str, key: str | None = None, **attributes: Value) -> Step:
    """Return a block that becomes a span.

    Args:
        key: The id of the alert or incident; None: it is a part of the block that runs. If none
            runs, there is no span.
    """
    if _tracing is None:
        return _NO_STEP
    parent = _current.get() if key is None else context_of(key)
    return _NO_STEP if parent is None else _Step(_tracing, name, parent, attributes)


def record(
    name: str, key: str, began: float, *, links: Iterable[str] = (), **attributes: Value
) -> None:
    """Make a span of what has ended now.

    Args:
        began: From `now`.
        links: Ids of other alerts or incidents that it has to do with.
    """
    if _tracing is not None and began:
        _tracing.begin(name, context_of(key), attributes, at=began, links=links).end()


def delivery(name: str, began: float, **attributes: Value) -> Delivery:
    """Return a block that ends with the alerts in the queue.

    Args:
        name: How they have come.
        began: When the service had the request, in Unix seconds.
    """
    return _NO_DELIVERY if _tracing is None else _Delivery(_tracing, name, began, attributes)


class _Step(Step):
    def __init__(
        self, tracing: Tracing, name: str, parent: "SpanContext", attributes: Attributes
    ) -> None:
        self._tracing, self._name, self._parent = tracing, name, parent
        self._attributes = attributes
        self._token: Token[SpanContext | None]
        self._span: Span

    def __enter__(self) -> Self:
        self._span = self._tracing.begin(self._name, self._parent, self._attributes)
        self._token = _current.set(self._span.get_span_context())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _current.reset(self._token)
        _end(self._span, kind)

    def set(self, **attributes: Value) -> None:
        self._span.set_attributes(self._tracing.shown(attributes))


def _end(span: "Span", kind: type[BaseException] | None) -> None:
    """End the span. Of an error it has the kind alone: its text may name a host."""
    if kind is not None:
        from opentelemetry.trace import StatusCode

        span.set_attribute("vyrox.error", kind.__name__)
        span.set_status(StatusCode.ERROR)
    span.end()


class _Delivery(Delivery):
    def __init__(self, tracing: Tracing, name: str, began: float, attributes: Attributes) -> None:
        self._tracing, self._name, self._began = tracing, name, began
        self._attributes = attributes
        self._alerts: list[tuple[str, bool]] = []
        self._entered_at = self._stored_at = 0.0

    def __enter__(self) -> Self:
        self._entered_at = wall_clock()
        return self

    def stored(self, alerts: Iterable[tuple[str, bool]]) -> None:
        self._alerts += alerts
        self._stored_at = wall_clock()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        ended = wall_clock()
        for alert_id, came_before in self._alerts[:MAX_ALERTS]:
            self._make(alert_id, ended, kind, came_before=came_before)

    def _make(
        self, alert_id: str, ended: float, kind: type[BaseException] | None, *, came_before: bool
    ) -> None:
        outcome = "redelivered" if came_before else "accepted"
        attributes = {**self._attributes, "alert_id": alert_id, "outcome": outcome}
        if came_before:  # the alert has its first span
            span = self._tracing.begin(self._name, context_of(alert_id), attributes, at=self._began)
        else:
            span = self._tracing.begin_first(self._name, alert_id, attributes, self._began)
        steps = (("store", self._entered_at, self._stored_at), ("queue", self._stored_at, ended))
        for name, began, until in steps:
            part = self._tracing.begin(name, span.get_span_context(), {}, at=began)
            part.end(in_ns(until))
        _end(span, kind)
