"""One call to a vendor and its answer: the only place where httpx is called.

What a failure means is decided here, once. A call that changes nothing fails with VendorError,
whatever happened. One that changes something fails with VendorError only where it is proved that no
byte of it was sent or that the vendor refused it; all else is VendorOutcomeUnknownError.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Final, Literal, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from vyrox.adapters.tolerant_json import tolerant
from vyrox.edr.client import Deadline, Order
from vyrox.edr.transport.reasons import reason
from vyrox.errors import UnavailableError, VendorError, VendorOutcomeUnknownError

T = TypeVar("T")

MAX_ANSWER_BYTES: Final = 1 << 20
"""The largest answer that is expected is a list of processes, well below this."""

MAX_CONNECTIONS: Final = 256
"""To one host of a vendor. A host that hangs does not take the connections to the others. One
tenant's calls to one vendor take 32 of them (`rate_limits.AT_ONCE`)."""

FRESH_S: Final = 0.2
"""An order that was checked longer ago is checked again before the first byte is sent: waiting for
a connection can take seconds."""

CONNECT_S: Final = 10.0
"""Each for a place in the pool, for the connection and for its TLS."""

CONNECT_SHARE: Final = 0.3
"""Of what is left of the deadline, likewise: httpcore leaves a socket open where it is cancelled
from outside in the middle of TLS, so its own limits must come first."""

USER_AGENT: Final = f"vyrox/{version('vyrox')}"

_FOREIGN: Final = (
    TimeoutError,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.CookieConflict,
)
_UNSENT: Final = (
    httpx.ConnectError,  # refused, unreachable, no such name, TLS
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
"""Raised before there is a connection to send anything on."""


def open_http(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Return the client that all vendors' calls share; the caller closes it.

    It follows no redirect, which would carry the credentials along; it takes no proxy and no
    certificates from the environment; it keeps no cookie, which would travel from one tenant's
    calls to another's.

    Args:
        transport: None is the network.
    """
    return httpx.AsyncClient(
        transport=transport or _PoolPerHost(),
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # Nothing is unpacked: an answer of a few bytes could become gigabytes.
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
    )


class _PoolPerHost(httpx.AsyncBaseTransport):
    """A pool of connections for each host. Operators configure the hosts, so they are few."""

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._pools: dict[tuple[str, bytes, int | None], httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        host = (url.scheme, url.raw_host, url.port)
        if host not in self._pools:
            limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=20)
            self._pools[host] = httpx.AsyncHTTPTransport(
                verify=self._tls, trust_env=False, limits=limits
            )
        return await self._pools[host].handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


@dataclass(frozen=True, kw_only=True, repr=False)
class VendorRequest:
    """One request; its repr shows nothing, for the body may hold a secret.

    Attributes:
        name: For the event log.
        order: The action that it carries out. None: it changes nothing at the vendor.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    url: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    order: Order | None = None

    @property
    def changes(self) -> bool:
        """Whether it changes the state of a host."""
        return self.order is not None

    @property
    def full_url(self) -> str:
        """The URL with its query, in which a space is %20: not every OData parser takes a plus."""
        query = urlencode(self.query, quote_via=quote, safe="$'")
        return f"{self.url}?{query}" if query else self.url


@dataclass(frozen=True, kw_only=True, repr=False)
class VendorResponse:
    """What came back; its repr shows nothing, for the body may hold a token."""

    call: VendorRequest
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the status says so."""
        return 200 <= self.status < 300

    def decode(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Return the body of a success.

        Raises:
            VendorError: The vendor refused the call, or the answer to a call that changes nothing
                cannot be read.
            VendorOutcomeUnknownError: The answer to a call that changes something cannot be read.
        """
        if not self.succeeded:
            raise self.refusal()
        try:
            # Host and process names in it come from the host that is to be contained.
            return decoder.decode(tolerant(self.body).content)
        except (ValueError, RecursionError) as exc:
            raise self.unusable("the answer cannot be read") from exc

    def refusal(self) -> VendorError:
        """Return the error that says that the vendor has not done what was asked, and why."""
        return VendorError(f"{self.call.name}: {self._says()}")

    def unusable(self, why: str) -> VendorError:
        """Return the error for an answer that does not tell what the vendor has done."""
        return _unusable(self.call, f"{why}: {self._says()}")

    def _says(self) -> str:
        return f"HTTP {self.status} {reason(self.body)}".rstrip()


async def exchange(
    http: httpx.AsyncClient,
    call: VendorRequest,
    deadline: Deadline,
    authorization: str | None = None,
) -> VendorResponse:
    """Return the answer to `call`, whatever its status.

    This is the one place where a call leaves. The order of a changing call is checked here, before
    each attempt: a repeat after a 429 or a 401 comes through here as well.

    Args:
        deadline: For the whole exchange. Timeouts of single reads would let a vendor that sends a
            byte a second go on for ever.
        authorization: The whole value of the header.

    Raises:
        VendorError: Nothing was sent, or the call changes nothing.
        VendorOutcomeUnknownError: It may have been sent, and no whole answer came.
    """
    sending = _Sending(call, deadline)
    await sending.check()
    headers = {"accept": "application/json"}
    if call.body is not None:
        headers["content-type"] = call.content_type
    if authorization is not None:
        headers["authorization"] = authorization
    connect_s = min(CONNECT_S, CONNECT_SHARE * deadline.remaining_s())
    try:
        request = http.build_request(
            call.method,
            call.full_url,
            content=call.body,
            headers=headers,
            timeout=httpx.Timeout(None, connect=connect_s, pool=connect_s),
            extensions={"trace": sending.trace},
        )
    except (httpx.InvalidURL, UnicodeError) as exc:  # the latter from a host name that is no IDNA
        raise VendorError(f"{call.name}: not sent: {type(exc).__name__}") from exc
    try:
        async with asyncio.timeout_at(deadline.at):
            response = await http.send(request, stream=True)
            try:
                body = await _read(response, call)
            finally:
                await response.aclose()
    except _FOREIGN as exc:
        if isinstance(exc, _UNSENT) or sending.is_unsent:
            raise VendorError(f"{call.name}: not sent: {type(exc).__name__}") from exc
        raise _unusable(call, type(exc).__name__) from exc
    return VendorResponse(
        call=call, status=response.status_code, headers=response.headers, body=body
    )


class _Sending:
    """How far a request has got, as the lower library tells it (httpx, "trace extension")."""

    def __init__(self, call: VendorRequest, deadline: Deadline) -> None:
        self._call = call
        self._deadline = deadline
        self._checked_at: float | None = None
        self.is_unsent = False
        """It is certain that no byte was sent. If the library reports nothing, this stays False,
        and the request counts as sent."""

    async def check(self) -> None:
        """Return if the call may leave now.

        Raises:
            VendorError: The time is up; or the order must not be carried out any more.
        """
        self._check_time()
        order = self._call.order
        if order is None or self._is_fresh():
            return
        try:
            async with asyncio.timeout_at(self._deadline.at):
                await order.check()
        except (TimeoutError, UnavailableError) as exc:
            why = f"the guard rails could not be read: {str(exc) or 'timeout'}"
            raise VendorError(f"{self._call.name}: {why}; nothing was sent") from exc
        except VendorError as exc:
            raise VendorError(f"{self._call.name}: {exc}") from exc
        self._checked_at = asyncio.get_running_loop().time()
        self._check_time()

    async def trace(self, event: str, _info: Mapping[str, object]) -> None:
        self.is_unsent = event.startswith("connection.")
        if event.endswith(".send_request_headers.started"):
            # A process that was stopped while it connected must not act on an old approval.
            self.is_unsent = True
            await self.check()
            self.is_unsent = False

    def _check_time(self) -> None:
        if self._deadline.remaining_s() == 0.0:
            raise VendorError(f"{self._call.name}: not sent: the time is up")

    def _is_fresh(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._checked_at is not None and now - self._checked_at < FRESH_S


async def _read(response: httpx.Response, call: VendorRequest) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _unusable(call, "the answer is compressed")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _unusable(call, "the answer is too large")
    return bytes(body)


def _unusable(call: VendorRequest, why: str) -> VendorError:
    if call.changes:
        return VendorOutcomeUnknownError(f"{call.name}: sent, outcome unknown: {why}")
    return VendorError(f"{call.name}: {why}")
