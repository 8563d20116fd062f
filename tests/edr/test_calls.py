"""What a failed call means: nothing was done, or the outcome is unknown.

Row by row, on real sockets.
"""

import asyncio
import datetime
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.edr.vendor import SECRET, Refusing, allowed, deadline, order_for, unread
from tests.loop_time import set_loop_time
from vyrox.edr.client import Check, Deadline
from vyrox.edr.transport import calls
from vyrox.edr.transport.calls import (
    MAX_RESPONSE_BYTES,
    VendorRequest,
    VendorResponse,
    exchange,
    open_http,
)
from vyrox.errors import UnavailableError, VendorError, VendorOutcomeUnknownError
from vyrox.models import Device

PATIENCE_S = 60.0
DEADLINE_S = 30.0
ALMOST_S = DEADLINE_S - 0.05
"""Moved on by so much, the clock is shortly before the end of a deadline that has just begun."""

UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "InvalidURL"}
UNSENT.add("ProxyError")  # the proxy has refused to connect
"""The exceptions of httpx that come before a connection has carried anything."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

exceptions_of_httpx = pytest.mark.parametrize(
    "name",
    [
        name
        for name in httpx.__all__
        if isinstance(kind := getattr(httpx, name), type) and issubclass(kind, Exception)
    ],
)


def a_call(
    url: str = "https://vendor.example/", *, changes: bool, check: Check = allowed
) -> VendorRequest:
    order = order_for(Device("a"), check=check) if changes else None
    return VendorRequest(name="contain", method="POST", url=url, body=b"{}", order=order)


async def failure(
    url: str,
    *,
    changes: bool,
    seconds: float = DEADLINE_S,
    transport: httpx.AsyncBaseTransport | None = None,
) -> VendorError:
    """Return what a call that must fail raises."""
    async with open_http(transport) as http:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(VendorError) as caught:
                await exchange(http, a_call(url, changes=changes), deadline(seconds))
    return caught.value


class Listener:
    """What a raw server has heard."""

    def __init__(self) -> None:
        self.url = ""
        self.heard = b""
        self.closed = asyncio.Event()

    async def read_request(self, reader: asyncio.StreamReader) -> None:
        self.heard += await reader.readuntil(b"\r\n\r\n")
        self.heard += await reader.readexactly(2)


@asynccontextmanager
async def listening(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    """Serve one raw conversation after another; `talk` gets the request read already."""
    listener = Listener()
    serving: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            listener.closed.set()
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    listener.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/"
    try:
        yield listener
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def says(*parts: bytes) -> Talk:
    """Return a conversation: the request, then these bytes, then the end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    return talk


@exceptions_of_httpx
def test_exception_has_an_entry_in_the_tree_of_httpx(name: str) -> None:
    # A class that a new httpx adds needs a decision: was anything sent when it is raised?
    assert name in UNSENT or name in {
        "CloseError",
        "CookieConflict",
        "DecodingError",
        "HTTPError",
        "HTTPStatusError",
        "LocalProtocolError",
        "NetworkError",
        "ProtocolError",
        "ProxyError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",
        "RequestError",
        "RequestNotRead",
        "ResponseNotRead",
        "StreamClosed",
        "StreamConsumed",
        "StreamError",
        "TimeoutException",
        "TooManyRedirects",
        "TransportError",
        "WriteError",
        "WriteTimeout",
    }


def instance(name: str) -> Exception:
    kind = getattr(httpx, name)
    request = httpx.Request("POST", "https://vendor.example/")
    made: Exception
    if name == "HTTPStatusError":
        made = kind(SECRET, request=request, response=httpx.Response(500))
    elif name in {"StreamConsumed", "StreamClosed", "ResponseNotRead", "RequestNotRead"}:
        made = kind()
    else:
        made = kind(SECRET)
    return made


def raising(error: Exception) -> httpx.MockTransport:
    def handle(_request: httpx.Request) -> httpx.Response:
        raise error

    return httpx.MockTransport(handle)


@exceptions_of_httpx
async def test_exchange_maps_every_exception_of_httpx(name: str) -> None:
    url = "https://vendor.example/"
    reading = await failure(url, changes=False, transport=raising(instance(name)))
    assert type(reading) is VendorError
    changing = await failure(url, changes=True, transport=raising(instance(name)))
    assert type(changing) is (VendorError if name in UNSENT else VendorOutcomeUnknownError)
    assert SECRET not in f"{reading} {changing}"


@pytest.mark.parametrize("changes", [False, True])
async def test_exchange_with_nobody_listening_has_sent_nothing(changes: bool) -> None:
    with socket.socket() as bound:  # no other process can listen there meanwhile
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        assert type(await failure(url, changes=changes)) is VendorError


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((), id="hangs-up"),
        pytest.param((b"HTTP/1.1 202 Acc",), id="cut-in-status-line"),
        pytest.param((b"HTTP/1.1 202 Accepted\r\ncontent-length: 99\r\n\r\n{",), id="cut-in-body"),
        pytest.param(
            (b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",),
            id="cut-in-chunk",
        ),
        pytest.param((b"\x00\xff garbled\r\n\r\n",), id="garbled"),
        pytest.param((b"HTTP/1.1 202 Accepted\r\nx: " + b"x" * 200_000,), id="endless-header"),
        pytest.param(
            (
                b"HTTP/1.1 202 Accepted\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
                % len(gzip.compress(bytes(1000))),
                gzip.compress(bytes(1000)),
            ),
            id="compressed",
        ),
    ],
)
async def test_exchange_without_a_whole_answer(parts: tuple[bytes, ...]) -> None:
    async with listening(says(*parts)) as listener:
        assert type(await failure(listener.url, changes=False)) is VendorError
        assert type(await failure(listener.url, changes=True)) is VendorOutcomeUnknownError


async def test_exchange_after_a_reset_does_not_know() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with listening(talk) as listener:
        assert type(await failure(listener.url, changes=True)) is VendorOutcomeUnknownError


async def test_exchange_reads_no_more_than_its_limit() -> None:
    written = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        for _ in range(1000):
            writer.write(bytes(1_000_000))
            await writer.drain()
            written += 1_000_000

    async with listening(talk) as listener:
        assert type(await failure(listener.url, changes=True)) is VendorOutcomeUnknownError
        async with asyncio.timeout(PATIENCE_S):
            await listener.closed.wait()
    assert written < 100_000_000


async def test_exchange_takes_an_answer_of_exactly_its_limit() -> None:
    body = bytes(MAX_RESPONSE_BYTES)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with listening(says(head, body)) as listener, open_http() as http:
        answer = await exchange(http, a_call(listener.url, changes=True), deadline())
    assert len(answer.body) == MAX_RESPONSE_BYTES


async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """VendorResponse a byte at a time, each soon enough for any timeout of one read."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    while await reader.read(1000):
        pass


@pytest.mark.parametrize("talk", [dribble, hang])
@pytest.mark.parametrize(
    ("changes", "kind"), [(True, VendorOutcomeUnknownError), (False, VendorError)]
)
async def test_exchange_ends_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch, talk: Talk, changes: bool, kind: type[VendorError]
) -> None:
    offset = set_loop_time(monkeypatch)

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        offset[0] = ALMOST_S
        reader.feed_data(head)
        await talk(reader, writer)

    async with listening(then) as listener:
        assert type(await failure(listener.url, changes=changes)) is kind
        async with asyncio.timeout(PATIENCE_S):
            await listener.closed.wait()


async def test_exchange_whose_time_ends_in_the_handshake_has_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "CONNECT_SHARE", 0.1 / DEADLINE_S)  # its end comes first
    async with listening(hang) as listener:
        url = listener.url.replace("http:", "https:")
        assert type(await failure(url, changes=True)) is VendorError


class Stops(httpx.AsyncBaseTransport):
    """Reports its progress, as httpcore does, and then never ends."""

    def __init__(self, events: tuple[str, ...], offset: list[float]) -> None:
        self._events = events
        self._offset = offset

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for event in self._events:
            await request.extensions["trace"](event, {})
        self._offset[0] = DEADLINE_S
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize(
    ("events", "sent"),
    [
        pytest.param(("connection.connect_tcp.started",), False, id="connecting"),
        pytest.param(
            ("connection.connect_tcp.complete", "connection.start_tls.started"), False, id="tls"
        ),
        pytest.param(
            ("connection.start_tls.complete", "http11.send_request_headers.started"),
            True,
            id="sending",
        ),
        pytest.param(("http11.receive_response_headers.started",), True, id="receiving"),
        pytest.param(("renamed.connection.start_tls.started",), True, id="unknown-words"),
        pytest.param((), True, id="silence"),
    ],
)
async def test_exchange_that_stops_has_sent_nothing_where_that_is_proved(
    monkeypatch: pytest.MonkeyPatch, events: tuple[str, ...], sent: bool
) -> None:
    stops = Stops(events, set_loop_time(monkeypatch))
    error = await failure("https://vendor.example/", changes=True, transport=stops)
    assert isinstance(error, VendorOutcomeUnknownError) is sent


async def test_httpcore_tells_how_far_it_has_come_in_these_words(tmp_path: Path) -> None:
    told: list[str] = []

    async def trace(event: str, _info: object) -> None:
        told.append(event)

    async def tell(url: str, http: httpx.AsyncClient) -> None:
        await http.send(http.build_request("GET", url, extensions={"trace": trace}))

    head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    context = self_signed(tmp_path)
    async with listening(says(head)) as listener, open_http() as http:
        await tell(listener.url, http)
    async with listening(says(head), context) as listener, open_http() as http:
        with pytest.raises(httpx.ConnectError):
            await tell(listener.url, http)
    for event in ("connection.connect_tcp.started", "http11.send_request_headers.started"):
        assert event in told
    assert told[-1] == "connection.start_tls.failed"


@pytest.mark.parametrize("host", ["xn--a.example", "a" * 64 + ".example\u00e9", "a:b:c"])
async def test_exchange_with_an_impossible_host_has_sent_nothing(host: str) -> None:
    failed = await failure(f"https://{host}/", changes=True)
    assert type(failed) is VendorError


async def test_exchange_that_waits_for_a_connection_has_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1), trust_env=False)
    async with listening(hang) as listener, open_http(transport) as http:
        call = a_call(listener.url, changes=True)
        holding = asyncio.create_task(exchange(http, call, deadline(PATIENCE_S)))
        async with asyncio.timeout(PATIENCE_S):
            while not transport._pool.connections:  # noqa: ASYNC110  (no event exists)
                await asyncio.sleep(0.01)
            monkeypatch.setattr(calls, "CONNECT_SHARE", 0.1 / DEADLINE_S)
            with pytest.raises(VendorError) as caught:
                await exchange(http, call, deadline(DEADLINE_S))
        assert type(caught.value) is VendorError
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding


async def test_exchange_sends_nothing_once_the_time_is_up() -> None:
    def handle(_request: httpx.Request) -> httpx.Response:
        raise AssertionError("it was sent")

    error = await failure(
        "https://vendor.example/", changes=True, seconds=0.0, transport=httpx.MockTransport(handle)
    )
    assert type(error) is VendorError


class Overslept(Deadline):
    """A deadline that passes while the process is stopped, before the loop can notice."""

    looks = 0

    def remaining_s(self) -> float:
        self.looks += 1
        return 10.0 if self.looks <= 3 else 0.0


async def test_exchange_looks_at_the_time_between_connecting_and_sending() -> None:
    heard = asyncio.Queue[bytes]()

    async def talk(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await heard.put(await reader.read())

    async with listening(talk) as listener, open_http() as http, asyncio.timeout(PATIENCE_S):
        with pytest.raises(VendorError, match="the deadline has passed") as caught:
            await exchange(http, a_call(listener.url, changes=True), Overslept(30))
        assert type(caught.value) is VendorError
        assert await heard.get() == b""


def self_signed(directory: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = directory / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def test_exchange_sends_nothing_to_a_server_nobody_vouches_for(tmp_path: Path) -> None:
    async with listening(says(b"HTTP/1.1 202 OK\r\n\r\n"), self_signed(tmp_path)) as listener:
        error = await failure(listener.url, changes=True)
    assert type(error) is VendorError
    assert "not sent: TLS: the certificate is not accepted: self-signed certificate" in str(error)


async def test_exchange_does_not_follow_a_redirect() -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return unread(httpx.Response(307, headers={"location": "https://evil.example/"}))

    async with open_http(httpx.MockTransport(handle)) as http:
        answer = await exchange(http, a_call(changes=True), deadline(), "Bearer t")
    assert (answer.status, asked) == (307, ["https://vendor.example/"])


async def test_open_http_takes_no_proxy_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    async with listening(says(head)) as listener, open_http() as http:
        assert (await exchange(http, a_call(listener.url, changes=True), deadline())).succeeded


async def test_open_http_keeps_no_cookie_and_asks_for_plain_bytes() -> None:
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return unread(httpx.Response(200, headers={"set-cookie": "tenant=acme; Path=/"}))

    async with open_http(httpx.MockTransport(handle)) as http:
        for _ in range(2):
            await exchange(http, a_call(changes=False), deadline(), "Bearer t")
    assert "cookie" not in requests[1].headers
    assert requests[0].headers["accept-encoding"] == "identity"
    assert requests[0].headers["user-agent"].startswith("vyrox/")
    assert requests[0].headers["authorization"] == "Bearer t"


async def test_exchange_that_is_cancelled_stays_cancelled() -> None:
    async with listening(hang) as listener, open_http() as http:
        task = asyncio.create_task(exchange(http, a_call(listener.url, changes=True), deadline()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_call_and_answer_show_nothing_of_what_they_hold() -> None:
    call = VendorRequest(
        name="token", method="POST", url="https://v.example/", body=SECRET.encode()
    )
    answer = VendorResponse(request=call, status=200, headers=httpx.Headers(), body=SECRET.encode())
    assert SECRET not in f"{call!r} {answer!r} {answer.unusable('odd')} {answer.refusal()}"


async def test_answer_with_a_name_that_is_not_unicode_can_be_read_contract_44() -> None:
    """A host chooses its name and those of its processes; none may keep it from being contained."""
    call = VendorRequest(name="devices", method="GET", url="https://v.example/")
    body = rb'["\ud83d", "' + b'\xff"]'
    answer = VendorResponse(request=call, status=200, headers=httpx.Headers(), body=body)
    assert answer.decode(msgspec.json.Decoder(list[str])) == ["\ufffd", "\ufffd"]


def never_sent(_request: httpx.Request) -> httpx.Response:
    raise AssertionError("it was sent")


async def _no_database() -> None:
    raise UnavailableError("away")


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(Refusing(), id="refused"),
        pytest.param(_no_database, id="database_away"),
        pytest.param(None, id="database_hangs"),
    ],
)
async def test_exchange_sends_nothing_for_an_order_that_must_not_leave_contract_42(
    monkeypatch: pytest.MonkeyPatch, check: Check | None
) -> None:
    offset = set_loop_time(monkeypatch)

    async def hangs() -> None:
        offset[0] = DEADLINE_S
        await asyncio.Event().wait()

    async with open_http(httpx.MockTransport(never_sent)) as http:
        with pytest.raises(VendorError, match="nothing was sent") as caught:
            await exchange(http, a_call(changes=True, check=check or hangs), deadline(DEADLINE_S))
    assert type(caught.value) is VendorError


async def test_exchange_checks_the_order_once_more_when_it_is_connected_contract_42(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting for the connection takes time, in which the tenant can be frozen."""
    monkeypatch.setattr(calls, "ORDER_CHECK_VALID_S", 0.0)
    heard = asyncio.Queue[bytes]()

    async def talk(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await heard.put(await reader.read())

    async with listening(talk) as listener, open_http() as http, asyncio.timeout(PATIENCE_S):
        call = a_call(listener.url, changes=True, check=Refusing(allowed=1))
        with pytest.raises(VendorError, match="nothing was sent") as caught:
            await exchange(http, call, deadline())
        assert type(caught.value) is VendorError
        assert await heard.get() == b""


async def test_exchange_with_one_host_takes_no_connection_from_another_contract_42(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "MAX_CONNECTIONS", 1)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    began = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        await hang(reader, writer)

    async with (
        listening(talk) as hanging,
        listening(says(head)) as other,
        open_http() as http,
        asyncio.timeout(PATIENCE_S),
    ):
        call = a_call(hanging.url, changes=False)
        held = asyncio.create_task(exchange(http, call, deadline(PATIENCE_S)))
        await began.wait()
        assert (await exchange(http, a_call(other.url, changes=False), deadline())).succeeded
        with pytest.raises(VendorError):
            await exchange(http, call, deadline(0.2))
        held.cancel()
        await asyncio.wait([held])
