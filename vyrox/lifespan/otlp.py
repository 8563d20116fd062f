"""Sends spans to a collector, as OTLP over HTTP (contract 106). Needs the extra `otel`.

The SDK's queue is bounded, and a thread of its own empties it. So a collector that is away or slow
delays nothing, and nothing is lost but spans.
"""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

import httpx
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from vyrox import log, tracing
from vyrox.http.outgoing import open_transport, why_failed
from vyrox.ids import new_id
from vyrox.models import Outbound
from vyrox.settings.telemetry import TelemetrySettings
from vyrox.store.threads import Threads

MAX_WAITING: Final = 4096
"""Spans that wait. Beyond it the oldest are lost."""

MAX_SENT: Final = 256
"""Spans of one request: to encode them holds the interpreter for some milliseconds."""

INTERVAL_MS: Final = 2000
"""How long a span waits for others."""

TIMEOUT_S: Final = 5.0
"""For each step of a request."""

REQUEST_S: Final = 15.0
"""For a whole request: a byte now and then must not keep the thread."""

FLUSH_S: Final = 2.0
"""How long the end of the service waits for the last spans."""

RETRY_S: Final = (1.0, 2.0, 4.0)
"""Times between two attempts, where the collector may take the same spans later."""

MAX_CHUNKS: Final = 16
"""Parts of a response that are read, to use the connection again."""

_LATER: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@asynccontextmanager
async def open_collector(
    telemetry: TelemetrySettings, url: str, outbound: Outbound, *, names: bool
) -> AsyncIterator[None]:
    """Send spans to `url` until the block ends."""
    # By the trace's id, which is the alert's: an alert has all of its spans, or none.
    ids = _Ids()
    provider = TracerProvider(
        TraceIdRatioBased(telemetry.share),
        Resource(
            {
                "service.name": telemetry.service,
                "service.version": version("vyrox"),
                "service.instance.id": new_id(),
            }
        ),
        shutdown_on_exit=False,
        id_generator=ids,
    )
    exporter = _Exporter(f"{url.rstrip('/')}/v1/traces", telemetry, outbound)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, MAX_WAITING, INTERVAL_MS, MAX_SENT, TIMEOUT_S * 1000)
    )
    tracing.use(tracing.Tracing(provider.get_tracer("vyrox"), ids.first, names=names))
    try:
        yield
    finally:
        tracing.use(None)
        exporter.end()
        await _end(provider)


async def _end(provider: TracerProvider) -> None:
    """Send the last spans. A thread that takes longer than FLUSH_S ends with the process."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def shutdown() -> None:
        provider.shutdown()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=shutdown, name="last spans", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), FLUSH_S)


class _Ids(RandomIdGenerator):
    """Makes the ids of spans; those of an alert's first span are known."""

    def __init__(self) -> None:
        self.first = tracing.FirstIds()

    def generate_trace_id(self) -> int:
        place = self.first.place
        return super().generate_trace_id() if place is None else place.trace_id

    def generate_span_id(self) -> int:
        place = self.first.place
        return super().generate_span_id() if place is None else place.span_id


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in a thread that ends with the process, however long a server of names takes.

    The end of a process waits for the threads that asyncio has for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names = Threads(1, "collector's name")

    async def getaddrinfo(  # type: ignore[override]  # only what httpx passes
        self, host: str, port: int, **options: int
    ) -> Sequence[object]:
        return await self._names.submit(partial(socket.getaddrinfo, host, port, **options))

    def close(self) -> None:
        if not self.is_closed():
            self._names.end()
        super().close()


class _Exporter(SpanExporter):
    """Sends encoded spans, in the thread of the SDK.

    Not the exporter of the SDK: that reads the environment, follows no OUTBOUND_PROXY, and logs
    each failure.
    """

    def __init__(self, url: str, telemetry: TelemetrySettings, outbound: Outbound) -> None:
        self._url = url
        # Not a client that blocks: that has no limit for a whole request.
        self._loop = asyncio.Runner(loop_factory=_Loop)
        self._sending = threading.Lock()
        self._http = httpx.AsyncClient(
            transport=open_transport(outbound, httpx.Limits(max_connections=1)),
            headers={**telemetry.headers, "content-type": "application/x-protobuf"},
            timeout=TIMEOUT_S,
            trust_env=False,
        )
        self._ending = threading.Event()
        self._lost = 0

    def end(self) -> None:
        """From now on, attempt nothing twice."""
        self._ending.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them, with a few attempts. Whatever fails is logged once."""
        try:
            body = encode_spans(spans).SerializeToString()
            reason = self._send(body)
        except Exception as exc:  # noqa: BLE001  (its thread must go on, and spans are not worth more)
            reason = why_failed(exc)
        if reason is None:
            self._succeeded()
            return SpanExportResult.SUCCESS
        self._failed(reason, len(spans))
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the connections, unless a request is in progress: it ends with the process."""
        if self._sending.acquire(blocking=False):
            self._loop.run(self._http.aclose())
            self._loop.close()

    def force_flush(self, timeout_millis: int = 0) -> bool:  # noqa: ARG002
        """Nothing waits here."""
        return True

    def _send(self, body: bytes) -> str | None:
        """Return why the collector has not taken it, or None."""
        for wait_s in (*RETRY_S, None):
            may_repeat = True
            try:
                with self._sending:
                    status = self._loop.run(self._post(body))
            except (httpx.TransportError, TimeoutError) as exc:
                reason = why_failed(exc)
            else:
                if 200 <= status < 300:
                    return None
                reason, may_repeat = f"HTTP {status}", status in _LATER
            # During an outage no batch is worth waiting: more spans come all the time.
            is_last = wait_s is None or self._lost or not may_repeat
            if is_last or self._ending.wait(wait_s):
                return reason
        raise AssertionError

    async def _post(self, body: bytes) -> int:
        async with (
            asyncio.timeout(REQUEST_S),
            self._http.stream("POST", self._url, content=body) as response,
        ):
            chunks = response.aiter_raw()
            for _ in range(MAX_CHUNKS):
                if await anext(chunks, None) is None:
                    break
            return response.status_code

    def _failed(self, reason: str, spans: int) -> None:
        if not self._lost:
            log.event("tracing.not_sent", logging.WARNING, reason=reason, spans=spans)
        else:
            log.counts["tracing.not_sent"] += 1
        self._lost += spans

    def _succeeded(self) -> None:
        if self._lost:
            log.event("tracing.sent_again", lost=self._lost)
            self._lost = 0
