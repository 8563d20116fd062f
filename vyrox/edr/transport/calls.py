"""One request to a vendor and its response. No other module calls a vendor.

This module decides what a failure means. If the request changes nothing, every failure is a
VendorError. If it changes something, a failure is a VendorError only if certainly no byte was sent
or the vendor refused the request. Every other failure is a VendorOutcomeUnknownError.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Final, Literal, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from vyrox import metrics, tracing
from vyrox.adapters.tolerant_json import tolerant
from vyrox.edr.client import Deadline, Order, ResponseTooLargeError
from vyrox.edr.transport.reasons import reason
from vyrox.errors import UnavailableError, VendorError, VendorOutcomeUnknownError
from vyrox.http.outgoing import open_transport, tls_context, why_failed
from vyrox.models import DIRECT, Outbound

T = TypeVar("T")

MAX_RESPONSE_BYTES: Final = 1 << 20
"""The largest response about a host is a list of processes, which is much smaller."""

MAX_CONNECTIONS: Final = 256
"""Connections to one host. Each host has its own pool, so one that hangs does not use up the
connections to other hosts. One tenant uses up to `rate_limits.MAX_CONCURRENT_REQUESTS` of them."""

ORDER_CHECK_VALID_S: Final = 0.2
"""How long the check of an order is valid. Waiting for a connection can take seconds; then the
order is checked again before the first byte is sent."""

CONNECT_S: Final = 10.0
"""Time limit for each of three steps: a free connection in the pool, connecting, and TLS."""

CONNECT_SHARE: Final = 0.3
"""The same limit, as a share of the remaining deadline. httpcore leaves a socket open if it is
cancelled during TLS, so its own timeouts must come first."""

_VENDOR_NAMES: Final = {
    "crowdstrike": "crowdstrike",
    "sentinelone": "sentinelone",
    "s1gov": "sentinelone",
    "microsoft": "defender",
    "/defender": "defender",
}
"""What the vendors' addresses contain, those of the mock among them."""

_VENDORS: Final = re.compile("|".join(_VENDOR_NAMES))

USER_AGENT: Final = f"vyrox/{version('vyrox')}"

_TRANSPORT_ERRORS: Final = (
    TimeoutError,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.CookieConflict,
)
_NOT_SENT_ERRORS: Final = (
    httpx.ConnectError,  # refused, unreachable, no such name, TLS
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,  # the proxy refuses the tunnel
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
"""Raised before a connection exists."""


def open_http(
    transport: httpx.AsyncBaseTransport | None = None, outbound: Outbound = DIRECT
) -> httpx.AsyncClient:
    """Return the HTTP client for the requests to all vendors. The caller closes it.

    It follows no redirect, because that would send the credentials to another server. It uses no
    proxy and no certificates from the environment. It stores no cookie, because all tenants share
    the client. Without a `transport`, requests go to the network.
    """
    return httpx.AsyncClient(
        transport=transport or _PoolPerHost(outbound),
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # Compressed responses are rejected: a few bytes could become gigabytes.
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
    )


class _PoolPerHost(httpx.AsyncBaseTransport):
    """One pool of connections for each host. There are few hosts: operators configure them."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._tls = tls_context(outbound)
        self._pools: dict[tuple[str, bytes, int | None], httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        host = (url.scheme, url.raw_host, url.port)
        if host not in self._pools:
            limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=20)
            self._pools[host] = open_transport(self._outbound, limits, self._tls)
        return await self._pools[host].handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


@dataclass(frozen=True, kw_only=True, repr=False)
class VendorRequest:
    """One request. The repr shows nothing, because the body may contain a secret.

    Attributes:
        name: For the event log.
        order: The action that it carries out. None: the request changes nothing.
        max_bytes: A longer response is refused.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    url: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    order: Order | None = None
    max_bytes: int = MAX_RESPONSE_BYTES

    @property
    def changes(self) -> bool:
        """Whether it changes the state of a host."""
        return self.order is not None

    @property
    def full_url(self) -> str:
        """The URL with its query. A space is %20, because not every OData parser accepts a plus."""
        query = urlencode(self.query, quote_via=quote, safe="$'")
        return f"{self.url}?{query}" if query else self.url


@dataclass(frozen=True, kw_only=True, repr=False)
class VendorResponse:
    """One response. The repr shows nothing, because the body may contain a token."""

    request: VendorRequest
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the status is a 2xx."""
        return 200 <= self.status < 300

    def decode(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Return the body of a success.

        Raises:
            VendorError: The vendor refused the request; or the body cannot be read, and the request
                changes nothing.
            VendorOutcomeUnknownError: The body cannot be read, and the request changes something.
        """
        if not self.succeeded:
            raise self.refusal()
        try:
            # It contains names of hosts and processes, which an attacker may have chosen.
            return decoder.decode(tolerant(self.body).content)
        except (ValueError, RecursionError) as exc:
            raise self.unusable("the response cannot be read") from exc

    def refusal(self) -> VendorError:
        """Return the error for a request that the vendor refused, with the reason."""
        return VendorError(f"{self.request.name}: {self._description()}")

    def unusable(self, problem: str) -> VendorError:
        """Return the error for a response that does not show what the vendor has done."""
        return _unusable(self.request, f"{problem}: {self._description()}")

    def _description(self) -> str:
        return f"HTTP {self.status} {reason(self.body)}".rstrip()


async def exchange(
    http: httpx.AsyncClient,
    request: VendorRequest,
    deadline: Deadline,
    authorization: str | None = None,
) -> VendorResponse:
    """Send `request` and return the response, with any status.

    Every request is sent here. If it changes something, its order is checked before each attempt,
    so also before a retry after a 429 or a 401.

    Args:
        deadline: For the whole exchange. With a timeout for each read only, a vendor that sends one
            byte a second would never reach it.
        authorization: The whole value of the header.

    Raises:
        VendorError: Nothing was sent, or the request changes nothing.
        VendorOutcomeUnknownError: It may have been sent, and no complete response came.
    """
    began, outcome = time.perf_counter(), "failed"
    vendor = _vendor_of(request.url)
    with tracing.step("vendor call", vendor=vendor, call=request.name) as span:
        try:
            response = await _exchange(http, request, deadline, authorization)
            outcome = "429" if response.status == 429 else f"{response.status // 100}xx"
        except VendorOutcomeUnknownError:
            outcome = "unknown"
            raise
        finally:
            span.set(outcome=outcome)
            metrics.VENDOR_CALLS.add(vendor, request.name, outcome)
            metrics.VENDOR.observe(time.perf_counter() - began, vendor)
    return response


def _vendor_of(url: str) -> str:
    found = _VENDORS.search(url)
    return _VENDOR_NAMES[found[0]] if found else metrics.OTHER


async def _exchange(
    http: httpx.AsyncClient,
    request: VendorRequest,
    deadline: Deadline,
    authorization: str | None,
) -> VendorResponse:
    """As `exchange`."""
    sending = _Sending(request, deadline)
    await sending.check()
    headers = {"accept": "application/json"}
    if request.body is not None:
        headers["content-type"] = request.content_type
    if authorization is not None:
        headers["authorization"] = authorization
    connect_s = min(CONNECT_S, CONNECT_SHARE * deadline.remaining_s())
    try:
        http_request = http.build_request(
            request.method,
            request.full_url,
            content=request.body,
            headers=headers,
            timeout=httpx.Timeout(None, connect=connect_s, pool=connect_s),
            extensions={"trace": sending.trace},
        )
    except (httpx.InvalidURL, UnicodeError) as exc:  # UnicodeError: the host name is not valid
        raise VendorError(f"{request.name}: not sent: {type(exc).__name__}") from exc
    try:
        async with asyncio.timeout_at(deadline.at):
            http_response = await http.send(http_request, stream=True)
            try:
                body = await _read(http_response, request)
            finally:
                await http_response.aclose()
    except _TRANSPORT_ERRORS as exc:
        if isinstance(exc, _NOT_SENT_ERRORS) or sending.is_unsent:
            raise VendorError(f"{request.name}: not sent: {why_failed(exc)}") from exc
        raise _unusable(request, why_failed(exc)) from exc
    return VendorResponse(
        request=request, status=http_response.status_code, headers=http_response.headers, body=body
    )


class _Sending:
    """Whether a request was sent, as the lower library reports it (httpx, "trace extension")."""

    def __init__(self, request: VendorRequest, deadline: Deadline) -> None:
        self._request = request
        self._deadline = deadline
        self._checked_at: float | None = None
        self._is_tunnelling = False
        self.is_unsent = False
        """Certainly no byte was sent. If the library reports nothing, this stays False, and the
        request counts as sent."""

    async def check(self) -> None:
        """Return if the request may be sent now.

        Raises:
            VendorError: The deadline has passed, or the order may not be carried out any more.
        """
        self._check_time()
        order = self._request.order
        if order is None or self._is_fresh():
            return
        try:
            async with asyncio.timeout_at(self._deadline.at):
                await order.check()
        except (TimeoutError, UnavailableError) as exc:
            why = f"the guard rails could not be read: {str(exc) or 'timeout'}"
            raise VendorError(f"{self._request.name}: {why}; nothing was sent") from exc
        except VendorError as exc:
            raise VendorError(f"{self._request.name}: {exc}") from exc
        self._checked_at = asyncio.get_running_loop().time()
        self._check_time()

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        is_sending = event.endswith(".send_request_headers.started")
        if is_sending:
            # The proxy gets a CONNECT first, which carries nothing of the request.
            self._is_tunnelling = getattr(info.get("request"), "method", b"") == b"CONNECT"
        self.is_unsent = self._is_tunnelling or event.startswith("connection.")
        if is_sending and not self._is_tunnelling:
            # The process may have been suspended while it connected. The approval may be old now.
            self.is_unsent = True
            await self.check()
            self.is_unsent = False

    def _check_time(self) -> None:
        if self._deadline.remaining_s() == 0.0:
            raise VendorError(f"{self._request.name}: not sent: the deadline has passed")

    def _is_fresh(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._checked_at is not None and now - self._checked_at < ORDER_CHECK_VALID_S


async def _read(http_response: httpx.Response, request: VendorRequest) -> bytes:
    if http_response.headers.get("content-encoding", "identity") != "identity":
        raise _unusable(request, "the response is compressed")
    body = bytearray()
    async for chunk in http_response.aiter_raw():
        body += chunk
        if len(body) > request.max_bytes:
            raise _unusable(request, "the response is too large", ResponseTooLargeError)
    return bytes(body)


def _unusable(
    request: VendorRequest, problem: str, kind: type[VendorError] = VendorError
) -> VendorError:
    if request.changes:
        return VendorOutcomeUnknownError(f"{request.name}: sent, outcome unknown: {problem}")
    return kind(f"{request.name}: {problem}")
