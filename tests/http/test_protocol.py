"""The HTTP protocol on a real socket: what it refuses, how it says so, and what it lets through."""

import asyncio
import contextlib
import gc
import logging
import socket
import struct
import uuid
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, ClassVar, cast

import msgspec
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tests.loop_time import time_passes_while_idle
from vyrox import log
from vyrox.errors import MalformedRequestError
from vyrox.http.connection_limit import limited_protocol
from vyrox.http.framing import check_framing
from vyrox.http.protocol import (
    MAX_HEADER_BYTES,
    MAX_HEADER_FIELDS,
    MAX_LINGER_BYTES,
    MAX_UNANSWERED_REQUESTS,
    BoundedHttpProtocol,
)

App = Callable[[Scope, Receive, Send], Awaitable[None]]

PATIENCE_S = 30.0
"""Longer than any answer takes; a test that waits this long has failed."""

BAD_REQUEST = (400, "bad request")
TIMED_OUT = (408, "request timed out")
TOO_LARGE = (431, "request header fields too large")

POST = b"POST /first HTTP/1.1\r\nHost: vyrox\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: vyrox\r\nConnection: close\r\n\r\n"


class Answer(msgspec.Struct, frozen=True):
    """One answer as it came over the wire."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def field(self, name: str) -> str:
        (value,) = [value for field, value in self.fields if field == name]
        return value


class BytewiseProtocol(BoundedHttpProtocol):
    """Sees every byte in a segment of its own."""

    def data_received(self, data: bytes) -> None:
        for i in range(len(data)):
            super().data_received(data[i : i + 1])


class HastyProtocol(BoundedHttpProtocol):
    """Has little patience. `serving` it, time passes only while nothing happens."""

    headers_timeout_s = 0.1
    request_timeout_s = 0.2
    linger_timeout_s = 0.1


class WatchedProtocol(BoundedHttpProtocol):
    """Sets `closed` when the server closes a connection. Its linger timeout never expires."""

    closed: ClassVar[asyncio.Event]
    linger_timeout_s = 2 * PATIENCE_S

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.closed.set()


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None where the client has gone."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def answer(send: Send, body: bytes) -> None:
    length = str(len(body)).encode()
    fields = [(b"content-type", b"text/plain"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the method, the path and the body."""
    body = await read_body(receive)
    if body is not None:
        await answer(send, b"%s %s " % (scope["method"].encode(), scope["raw_path"]) + body)


TALK_BYTES = 16 * 1024 * 1024


async def talkative(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with more than all buffers on the way hold, in pieces; "/next" in a word."""
    if scope["path"] == "/next":
        await answer(send, b"next")
        return
    length = [(b"content-length", b"%d" % TALK_BYTES)]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    piece = b"x" * (TALK_BYTES // 64)
    for left in range(63, -1, -1):
        await send({"type": "http.response.body", "body": piece, "more_body": left > 0})


@contextlib.asynccontextmanager
async def serving(
    app: App = echo, protocol: type[HttpToolsProtocol] = BoundedHttpProtocol
) -> AsyncIterator[int]:
    """Run a uvicorn server in this loop and yield its port.

    `Server.serve` is taken apart because its signal handlers and its polling shutdown belong to a
    process of its own.
    """
    config = uvicorn.Config(
        app, "127.0.0.1", 0, http=protocol, lifespan="off", log_config=None, server_header=False
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    await server.on_tick(0)
    is_hasty = issubclass(protocol, HastyProtocol)
    with time_passes_while_idle() if is_hasty else contextlib.nullcontext():
        try:
            yield server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.servers[0].close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*server.server_state.tasks)
                await server.servers[0].wait_closed()


@contextlib.asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader, is_head: bool = False) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    found = Answer(int(status_line.split()[1]), fields, b"")
    length = 0 if is_head else int(found.field("content-length"))
    return msgspec.structs.replace(found, body=await reader.readexactly(length))


async def read_answers(reader: asyncio.StreamReader, is_head: bool = False) -> list[Answer]:
    """Return every answer up to the end of the connection, which must be one."""
    answers = []
    while not reader.at_eof():
        try:
            answers.append(await read_answer(reader, is_head))
        except asyncio.IncompleteReadError as exc:
            if exc.partial:
                raise
        except ConnectionError:
            break
    return answers


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()


async def exchange(port: int, data: bytes, *, is_head: bool = False) -> list[Answer]:
    """Send `data` and return every answer up to the end of the connection.

    The answers are read while `data` is still going out, as a refusal does not wait for its end.
    """
    async with connected(port) as (reader, writer):
        answers, _ = await asyncio.gather(read_answers(reader, is_head), send(writer, data))
        return answers


def check_refusal(found: Answer, refusal: tuple[int, str]) -> None:
    """Check the whole response: it must not contain any part of the request."""
    status, detail = refusal
    assert found.status == status
    assert found.body == msgspec.json.encode({"detail": detail})
    assert [name for name, _ in found.fields] == [
        "date",
        "content-type",
        "content-length",
        "x-request-id",
        "connection",
    ]
    assert found.field("content-type") == "application/json"
    assert found.field("content-length") == str(len(found.body))
    assert uuid.UUID(found.field("x-request-id")).version == 4
    assert found.field("connection") == "close"


def refusals(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage() == "http.refused"]


def head_of(size_bytes: int, body_bytes: int = 0) -> bytes:
    """Return a request line and header of exactly this size."""
    start = POST + b"Content-Length: %d\r\nX-Filler: " % body_bytes
    return start + b"f" * (size_bytes - len(start) - 4) + b"\r\n\r\n"


def fields(count: int) -> bytes:
    return b"".join(b"X-%d: x\r\n" % i for i in range(count))


@pytest.fixture
def closed() -> asyncio.Event:
    WatchedProtocol.closed = asyncio.Event()
    return WatchedProtocol.closed


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test may leave an error or a traceback in the log."""
    caplog.set_level(logging.INFO)
    log._lines_in_second.clear()  # so many refusals in one second are not all written
    yield
    assert [
        record for record in caplog.get_records("call") if record.levelno >= logging.ERROR
    ] == []
    assert [record for record in caplog.get_records("call") if record.exc_info] == []


# The verdict on each input, followed by NEXT: the statuses of all answers. A refused input must
# have no answer behind its refusal; an accepted one has exactly one before the answer to NEXT.
# A change of the HTTP parser that changes a verdict must be seen here.
CORPUS = {
    "allow_get": (b"GET /first HTTP/1.1\r\nHost: vyrox\r\n\r\n", [200, 200]),
    "allow_content_length": (POST + b"Content-Length: 4\r\n\r\nbody", [200, 200]),
    "allow_content_length_leading_zero": (POST + b"Content-Length: 04\r\n\r\nbody", [200, 200]),
    "allow_content_length_trailing_space": (POST + b"Content-Length: 4 \r\n\r\nbody", [200, 200]),
    "allow_chunked": (CHUNKED + b"4\r\nbody\r\n0\r\n\r\n", [200, 200]),
    "allow_chunked_upper_case": (POST + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", [200, 200]),
    "allow_chunk_extension": (CHUNKED + b"4;a=b\r\nbody\r\n0\r\n\r\n", [200, 200]),
    "allow_trailers": (CHUNKED + b"4\r\nbody\r\n0\r\nX-Trailer: x\r\n\r\n", [200, 200]),
    "allow_upgrade_in_trailers": (
        CHUNKED + b"4\r\nbody\r\n0\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        [200, 200],
    ),
    "allow_underscore_field": (POST + b"Transfer_Encoding: chunked\r\n\r\n", [200, 200]),
    "allow_empty_value": (POST + b"X-Empty:\r\n\r\n", [200, 200]),
    "allow_high_byte_in_value": (POST + b"X-High: \xff\r\n\r\n", [200, 200]),
    "allow_empty_lines_before": (b"\r\n\r\nGET /first HTTP/1.1\r\nHost: vyrox\r\n\r\n", [200, 200]),
    "allow_absolute_form": (b"GET http://other/first HTTP/1.1\r\nHost: vyrox\r\n\r\n", [200, 200]),
    "allow_asterisk_form": (b"OPTIONS * HTTP/1.1\r\nHost: vyrox\r\n\r\n", [200, 200]),
    "allow_double_slash": (b"GET //other/first HTTP/1.1\r\nHost: vyrox\r\n\r\n", [200, 200]),
    "allow_upgrade_not_in_connection": (
        POST + b"Upgrade: h2c\r\nContent-Length: 4\r\n\r\nbody",
        [200, 200],
    ),
    # These end the connection themselves: NEXT is not answered.
    "allow_http_10": (b"GET /first HTTP/1.0\r\n\r\n", [200]),
    "allow_close_and_more": (POST + b"Connection: close\r\n\r\n", [200]),
    "allow_close_and_garbage": (POST + b"Connection: close\r\n\r\n\0\0\0\0", [200]),
    # The first request is whole. What follows it is refused, after its answer.
    "reject_body_beyond_content_length": (POST + b"Content-Length: 4\r\n\r\nbodyXX", [200, 400]),
    "reject_garbage_behind_chunks": (CHUNKED + b"0\r\n\r\nX\r\n", [200, 400]),
    # Two lengths.
    "reject_length_then_chunked": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
    ),
    "reject_chunked_then_length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        [400],
    ),
    "reject_length_in_trailers": (CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n", [400]),
    "reject_length_twice": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", [400]),
    "reject_length_listed": (POST + b"Content-Length: 1, 1\r\n\r\nx", [400]),
    "reject_length_plus": (POST + b"Content-Length: +1\r\n\r\nx", [400]),
    "reject_length_negative": (POST + b"Content-Length: -1\r\n\r\nx", [400]),
    "reject_length_hex": (POST + b"Content-Length: 0x1\r\n\r\nx", [400]),
    "reject_length_underscore": (POST + b"Content-Length: 1_0\r\n\r\nx", [400]),
    "reject_length_empty": (POST + b"Content-Length:\r\n\r\nx", [400]),
    "reject_length_overflow": (POST + b"Content-Length: 18446744073709551617\r\n\r\nx", [400]),
    # Transfer codings that one server may undo and another may not.
    "reject_gzip_chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", [400]),
    "reject_chunked_gzip": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", [400]),
    "reject_identity": (POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", [400]),
    "reject_coding_twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
    ),
    "reject_coding_prefixed": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [400]),
    "reject_coding_parameter": (POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", [400]),
    "reject_coding_quoted": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', [400]),
    "reject_coding_empty": (POST + b"Transfer-Encoding:\r\n\r\n", [400]),
    "reject_coding_trailing_space": (POST + b"Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n", [400]),
    "reject_coding_vertical_tab": (POST + b"Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", [400]),
    "reject_space_before_colon": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", [400]),
    "reject_coding_folded": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", [400]),
    "reject_chunked_in_http_10": (
        b"POST /first HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
    ),
    # Chunk sizes.
    "reject_chunk_negative": (CHUNKED + b"-1\r\nx\r\n0\r\n\r\n", [400]),
    "reject_chunk_hex_prefix": (CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n", [400]),
    "reject_chunk_trailing_space": (CHUNKED + b"1 \r\nx\r\n0\r\n\r\n", [400]),
    "reject_chunk_overflow": (CHUNKED + b"10000000000000001\r\nx\r\n0\r\n\r\n", [400]),
    "reject_chunk_longer_than_said": (CHUNKED + b"1\r\nxyz\r\n0\r\n\r\n", [400]),
    "reject_chunk_bare_lf": (CHUNKED + b"1\nx\n0\n\n", [400]),
    "reject_chunk_extension_bare_lf": (CHUNKED + b"1;a\nb\r\nx\r\n0\r\n\r\n", [400]),
    # Lines.
    "reject_bare_lf": (b"GET /first HTTP/1.1\nHost: vyrox\n\n", [400]),
    "reject_bare_lf_in_header": (POST + b"X-A: a\nX-B: b\r\n\r\n", [400]),
    "reject_bare_lf_at_end": (POST + b"\n", [400]),
    "reject_bare_cr": (POST + b"X-A: a\rX-B: b\r\n\r\n", [400]),
    "reject_folded_line": (POST + b"X-A: a\r\n b\r\n\r\n", [400]),
    "reject_folded_first_line": (b"GET /first HTTP/1.1\r\n Host: vyrox\r\n\r\n", [400]),
    "reject_nul_in_value": (POST + b"X-A: a\0b\r\n\r\n", [400]),
    "reject_control_in_value": (POST + b"X-A: a\x01b\r\n\r\n", [400]),
    "reject_high_byte_in_name": (POST + b"X-\xff: a\r\n\r\n", [400]),
    "reject_no_name": (POST + b": a\r\n\r\n", [400]),
    "reject_no_colon": (POST + b"X-A\r\n\r\n", [400]),
    # Host.
    "reject_no_host": (b"GET /first HTTP/1.1\r\n\r\n", [400]),
    "reject_two_hosts": (POST + b"Host: other\r\n\r\n", [400]),
    "reject_two_hosts_in_http_10": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", [400]),
    # Versions and request lines.
    "reject_http_09": (b"GET /first HTTP/0.9\r\n\r\n", [400]),
    "reject_http_09_without_version": (b"GET /first\r\n\r\n", [400]),
    "reject_http_12": (b"GET /first HTTP/1.2\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_http_20": (b"GET /first HTTP/2.0\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_http2_preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "reject_version_lower_case": (b"GET /first http/1.1\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_version_trailing_space": (b"GET /first HTTP/1.1 \r\nHost: vyrox\r\n\r\n", [400]),
    "reject_method_lower_case": (b"get /first HTTP/1.1\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_method_unknown": (b"STEAL /first HTTP/1.1\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_leading_space": (b" GET /first HTTP/1.1\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_tls_hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
    # URLs: refused by the parser, by its URL splitter, or by uvicorn behind it.
    "reject_path_not_ascii": ("GET /erst\u00e9 HTTP/1.1\r\nHost: vyrox\r\n\r\n".encode(), [400]),
    "reject_query_not_ascii": (b"GET /first?\xff HTTP/1.1\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_path_nul": (b"GET /fi\0rst HTTP/1.1\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_url_port": (b"GET http://a:99999999/ HTTP/1.1\r\nHost: vyrox\r\n\r\n", [400]),
    "reject_url_without_path": (b"GET http://other HTTP/1.1\r\nHost: vyrox\r\n\r\n", [400]),
    # The parser gives the application an empty body for these.
    "reject_h2c": (
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody",
        [400],
    ),
    "reject_websocket": (
        b"GET /first HTTP/1.1\r\nHost: vyrox\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        [400],
    ),
    "reject_connect": (b"CONNECT vyrox:443 HTTP/1.1\r\nHost: vyrox\r\n\r\n", [400]),
}


@pytest.mark.parametrize("protocol", [BoundedHttpProtocol, BytewiseProtocol])
@pytest.mark.parametrize(("data", "statuses"), CORPUS.values(), ids=CORPUS.keys())
async def test_verdict_is_frozen(
    data: bytes,
    statuses: list[int],
    protocol: type[BoundedHttpProtocol],
    caplog: pytest.LogCaptureFixture,
) -> None:
    paths = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await echo(scope, receive, send)

    async with serving(app, protocol) as port:
        answers = await exchange(port, data + NEXT)

    assert [found.status for found in answers] == statuses
    assert ("/next" in paths) == (statuses == [200, 200])
    if statuses[-1] == 400:
        check_refusal(answers[-1], BAD_REQUEST)
        (record,) = refusals(caplog)
        assert record.levelno == logging.WARNING
        assert record.__dict__["fields"]["request_id"] == answers[-1].field("x-request-id")
        assert "first" not in record.__dict__["fields"]["reason"]
    else:
        assert refusals(caplog) == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(POST + b"Content-Length: 4\r\n\r\nbody", id="content_length"),
        pytest.param(CHUNKED + b"2\r\nbo\r\n2;x=y\r\ndy\r\n0\r\n\r\n", id="chunks"),
        pytest.param(
            POST + b"Upgrade: h2c\r\nContent-Length: 4\r\n\r\nbody", id="upgrade_not_in_connection"
        ),
    ],
)
@pytest.mark.parametrize("protocol", [BoundedHttpProtocol, BytewiseProtocol])
async def test_body_reaches_the_application(
    data: bytes, protocol: type[BoundedHttpProtocol]
) -> None:
    async with serving(protocol=protocol) as port:
        answers = await exchange(port, data + NEXT)
    assert [found.body for found in answers] == [b"POST /first body", b"GET /next "]


def test_check_framing_does_not_rest_on_the_parser() -> None:
    fields = [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
    check_framing("1.1", fields)
    with pytest.raises(MalformedRequestError):
        check_framing("1.1", [*fields, (b"content-length", b"4")])
    with pytest.raises(MalformedRequestError):
        check_framing("1.1", [*fields, (b"transfer-encoding", b"chunked")])


# What is sent, and whether it is accepted.
LIMITS = {
    "allow_header_of_16_kib": (head_of(MAX_HEADER_BYTES), True),
    "reject_header_of_16_kib_and_1": (head_of(MAX_HEADER_BYTES + 1), False),
    "allow_64_fields": (POST + fields(MAX_HEADER_FIELDS - 1) + b"\r\n", True),
    "reject_65_fields": (POST + fields(MAX_HEADER_FIELDS) + b"\r\n", False),
    "allow_62_trailers": (CHUNKED + b"0\r\n" + fields(MAX_HEADER_FIELDS - 2) + b"\r\n", True),
    "reject_63_trailers": (CHUNKED + b"0\r\n" + fields(MAX_HEADER_FIELDS - 1) + b"\r\n", False),
    "allow_header_of_16_kib_with_body": (
        head_of(MAX_HEADER_BYTES, body_bytes=100_000) + b"b" * 100_000,
        True,
    ),
    "allow_1_mib_body": (POST + b"Content-Length: 1048576\r\n\r\n" + b"b" * 1048576, True),
    "allow_1_mib_chunk": (CHUNKED + b"100000\r\n" + b"b" * 1048576 + b"\r\n0\r\n\r\n", True),
    "allow_20000_chunks_of_1_byte": (CHUNKED + b"1\r\nb\r\n" * 20_000 + b"0\r\n\r\n", True),
    "reject_10_mb_header": (POST + b"X-Bomb: " + b"b" * 10_000_000, False),
    "reject_100000_fields": (POST + b"X: x\r\n" * 100_000, False),
    "reject_100000_empty_fields": (POST + b"X:\r\n" * 100_000, False),
    "reject_60_kb_path": (b"GET /" + b"p" * 60_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", False),
    "reject_60_kb_of_empty_lines": (b"\r\n" * 30_000, False),
    "reject_1_mb_chunk_extension": (
        CHUNKED + b"1;" + b"e" * 1_000_000 + b"\r\nb\r\n0\r\n\r\n",
        False,
    ),
    "reject_1_mb_of_chunk_size_zeros": (CHUNKED + b"0" * 1_000_000, False),
    "reject_endless_trailer": (CHUNKED + b"0\r\nX: " + b"t" * 1_000_000, False),
    "reject_endless_trailers": (CHUNKED + b"0\r\n" + b"X: x\r\n" * 100_000, False),
}


@pytest.mark.parametrize(("data", "accepted"), LIMITS.values(), ids=LIMITS.keys())
async def test_size_is_bounded(data: bytes, accepted: bool) -> None:
    async with serving() as port:
        answers = await exchange(port, data + NEXT)
    if accepted:
        assert [found.status for found in answers] == [200, 200]
    else:
        (found,) = answers
        check_refusal(found, TOO_LARGE)


async def test_header_behind_another_request_is_bounded_too() -> None:
    async with serving() as port:
        answers = await exchange(port, head_of(200) + head_of(2 * MAX_HEADER_BYTES))
    assert [found.status for found in answers] == [200, 431]


async def test_limits_count_each_request_anew() -> None:
    trailers = CHUNKED + b"0\r\nX: " + b"t" * 10_000 + b"\r\n\r\n"
    request = (
        (POST + fields(MAX_HEADER_FIELDS - 1) + b"\r\n") + trailers + head_of(MAX_HEADER_BYTES)
    )
    async with serving(protocol=BytewiseProtocol) as port:
        answers = await exchange(port, request * 3 + NEXT)
    assert [found.status for found in answers] == [200] * 10


async def test_trailers_never_join_the_header() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await answer(send, b",".join(name for name, _ in scope["headers"]))

    async with serving(app) as port:
        first, _ = await exchange(port, CHUNKED + b"0\r\nX-Signature: x\r\n\r\n" + NEXT)
    assert first.body == b"host,transfer-encoding"


@pytest.mark.parametrize(
    ("data", "is_head"),
    [
        pytest.param(b"HEAD /first HTTP/1.1\r\n\r\n", True, id="no_host"),
        pytest.param(b"HEAD /first HTTP/1.1\r\nX-A\r\n\r\n", True, id="bad_field"),
        pytest.param(b"HEAD /first HTTP/9\r\n\r\n", True, id="bad_version"),
        pytest.param(b"HEADER /first HTTP/1.1\r\n\r\n", False, id="not_head"),
    ],
)
async def test_refused_head_has_no_body(data: bytes, is_head: bool) -> None:
    async with serving() as port:
        (found,) = await exchange(port, data, is_head=is_head)
    body = msgspec.json.encode({"detail": "bad request"})
    assert found.body == (b"" if is_head else body)
    check_refusal(msgspec.structs.replace(found, body=body), BAD_REQUEST)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not exactly one Host"),
        (POST + b"Content-Length: a\r\n\r\n", "Invalid character in Content-Length"),
        (b"GET http://secret:99999999/ HTTP/1.1\r\nHost: a\r\n\r\n", "HttpParserInvalidURLError"),
        (POST + fields(MAX_HEADER_FIELDS) + b"\r\n", "header fields"),
    ],
)
async def test_refusal_is_logged_once(
    data: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as port:
        await exchange(port, data)
    assert [record.__dict__["fields"]["reason"] for record in refusals(caplog)] == [reason]


async def test_connection_serves_one_request_after_another() -> None:
    async with serving() as port, connected(port) as (reader, writer):
        for i in range(3):
            await send(writer, POST + b"Content-Length: 1\r\n\r\n%d" % i)
            assert (await read_answer(reader)).body == b"POST /first %d" % i


async def test_pipelined_requests_are_all_answered_in_order() -> None:
    requests = [
        b"POST /%d HTTP/1.1\r\nHost: vyrox\r\nContent-Length: 4\r\n\r\nbody" % i
        for i in range(MAX_UNANSWERED_REQUESTS - 1)
    ]
    async with serving() as port:
        answers = await exchange(port, b"".join(requests) + NEXT)
    expected = [b"POST /%d body" % i for i in range(MAX_UNANSWERED_REQUESTS - 1)]
    assert [found.body for found in answers] == [*expected, b"GET /next "]


async def test_unanswered_requests_are_bounded() -> None:
    async with serving() as port:
        answers = await exchange(port, (POST + b"\r\n") * 1000)
    assert [found.status for found in answers] == [200] * MAX_UNANSWERED_REQUESTS + [503]
    assert answers[-1].body == msgspec.json.encode({"detail": "service unavailable"})
    assert answers[-1].field("retry-after") == "5"
    assert answers[-1].field("connection") == "close"


class Gate:
    """An application that responds when `opened` is set."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await self.opened.wait()
        await echo(scope, receive, send)


async def headers_timeout_passes(port: int) -> None:
    """Wait until the server has lost patience with a connection opened now."""
    async with connected(port) as (reader, _):
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"G", id="method"),
        pytest.param(b"GET /fi", id="path"),
        pytest.param(POST, id="header"),
        pytest.param(POST + b"X-A: ", id="value"),
        pytest.param(POST + b"Content-Length: 4\r\n\r\n", id="no_body"),
        pytest.param(POST + b"Content-Length: 4\r\n\r\nbod", id="body"),
        pytest.param(CHUNKED + b"4\r\nbody\r\n", id="chunks"),
        pytest.param(CHUNKED + b"0\r\nX-A: a", id="trailers"),
    ],
)
async def test_slow_request_times_out(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(protocol=HastyProtocol) as port:
        (found,) = await exchange(port, data)
    check_refusal(found, TIMED_OUT)
    assert len(refusals(caplog)) == 1


@pytest.mark.parametrize("data", [b"", b"\r\n"], ids=["silent", "empty_line"])
async def test_connection_without_a_request_is_closed(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(protocol=HastyProtocol) as port:
        assert await exchange(port, data) == []
    assert refusals(caplog) == []


async def test_slow_header_on_a_used_connection_times_out() -> None:
    async with serving(protocol=HastyProtocol) as port:
        first, second = await exchange(port, POST + b"\r\nGET /ne")
    assert first.status == 200
    check_refusal(second, TIMED_OUT)


async def test_idle_time_ends_where_a_request_begins() -> None:
    class Idle(HastyProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.timeout_keep_alive = 0.05  # type: ignore[assignment]  # uvicorn says whole seconds

    async with serving(protocol=Idle) as port:
        async with connected(port) as (reader, writer):
            await send(writer, POST + b"\r\n")
            await read_answer(reader)
            await send(writer, b"GET")
            check_refusal((await read_answers(reader))[0], TIMED_OUT)
        async with connected(port) as (reader, writer):
            await send(writer, POST + b"\r\n")
            await read_answer(reader)
            assert await reader.read() == b""


async def test_idle_connection_has_no_deadline() -> None:
    async with serving(protocol=HastyProtocol) as port, connected(port) as (reader, writer):
        for _ in range(2):
            await send(writer, POST + b"\r\n")
            assert (await read_answer(reader)).status == 200
            for _ in range(3):
                await headers_timeout_passes(port)


async def test_empty_lines_do_not_keep_a_used_connection_open() -> None:
    async with serving(protocol=HastyProtocol) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"\r\n")
        await read_answer(reader)
        await send(writer, b"\r\n")
        assert await reader.read() == b""


async def test_body_may_take_longer_than_the_header() -> None:
    class Patient(HastyProtocol):
        request_timeout_s = 5.0

    async with serving(protocol=Patient) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"Content-Length: 4\r\n\r\n")
        await headers_timeout_passes(port)
        await send(writer, b"body")
        assert (await read_answer(reader)).body == b"POST /first body"


async def test_request_at_work_is_not_timed_out() -> None:
    gate = Gate()
    async with serving(gate, HastyProtocol) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"Content-Length: 4\r\n\r\nbody")
        for _ in range(2):
            await headers_timeout_passes(port)
            await send(writer, b"\r\n")  # starts the timer of a request that never comes
        await headers_timeout_passes(port)
        gate.opened.set()
        assert (await read_answer(reader)).body == b"POST /first body"


async def test_slow_answer_is_not_timed_out() -> None:
    opened = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = [(b"content-length", b"8")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"slow", "more_body": True})
        await opened.wait()
        await send({"type": "http.response.body", "body": b"slow"})

    async with serving(app, HastyProtocol) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"\r\n")
        for _ in range(3):
            await headers_timeout_passes(port)
        opened.set()
        assert (await read_answer(reader)).body == b"slowslow"


async def test_answer_that_is_not_taken_is_given_up() -> None:
    class Hasty(WatchedProtocol):
        closed = asyncio.Event()
        response_check_s = 0.05

    async with serving(talkative, Hasty) as port, connected(port) as (_, writer):
        await send(writer, POST + b"\r\n")
        await Hasty.closed.wait()


async def test_answer_that_is_taken_slowly_is_not_given_up() -> None:
    """At each check the client has read more, but too little for the server to write on."""

    class Hasty(BoundedHttpProtocol):
        watched = asyncio.Event()
        checked_while_paused = 0
        response_check_s = 0.2

        def _watch_response(self) -> None:
            super()._watch_response()
            self.watched.set()

        def _check_response(self) -> None:
            Hasty.checked_while_paused += self.flow.write_paused
            super()._check_response()

    piece = TALK_BYTES // 32
    async with serving(talkative, Hasty) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        taken = 0
        while Hasty.checked_while_paused < 3:
            await Hasty.watched.wait()
            Hasty.watched.clear()
            taken += len(await reader.readexactly(piece))
        assert len(await reader.readexactly(TALK_BYTES - taken)) > 0


class LookedAt(WatchedProtocol):
    """Has a small buffer, so that little of a response stays unsent. `newest` is the last one."""

    newest: ClassVar["LookedAt"]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        super().connection_made(transport)
        LookedAt.newest = self


@contextlib.asynccontextmanager
async def reading_little(port: int) -> AsyncIterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
            yield client


async def receive_bytes(client: socket.socket, count: int) -> None:
    while count:
        received = await asyncio.get_running_loop().sock_recv(client, count)
        assert received != b""
        count -= len(received)


async def close_at_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"x" * 60_000)


async def fail_half_way(scope: Scope, receive: Receive, send: Send) -> None:
    length = [(b"content-length", b"100000")]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": b"x" * 60_000, "more_body": True})
    raise LookupError


@pytest.mark.parametrize("app", [close_at_the_end, fail_half_way])
async def test_answer_that_is_not_taken_is_given_up_on_a_connection_that_is_being_closed(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it is too little for the server to stop writing."""

    class Hasty(LookedAt):
        closed = asyncio.Event()
        paused = False
        response_check_s = 0.05

        def pause_writing(self) -> None:
            super().pause_writing()
            Hasty.paused = True

    async with serving(app, Hasty) as port:
        async with reading_little(port) as client:
            await asyncio.get_running_loop().sock_sendall(client, NEXT)
            await Hasty.closed.wait()
        assert not Hasty.paused
    caplog.clear()  # uvicorn logs the failure


@pytest.mark.parametrize("cut", ["by_the_service", "by_the_client"])
async def test_cut_off_while_requests_wait_for_their_turn_is_no_error(
    cut: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The response in progress ends quietly, although a later request is uvicorn's newest."""

    class Watched(WatchedProtocol):
        closed = asyncio.Event()
        response_check_s = 0.05 if cut == "by_the_service" else 300.0
        paused = asyncio.Event()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.paused.set()

    finished = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await talkative(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"
        finished.set()

    async with serving(app, Watched) as port:
        async with connected(port) as (_, writer):
            await send(writer, 3 * (POST + b"\r\n"))
            await Watched.paused.wait()
            if cut == "by_the_client":
                writer.transport.abort()
            await Watched.closed.wait()
        async with asyncio.timeout(PATIENCE_S):
            await finished.wait()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_answer_that_is_still_being_made_is_not_given_up() -> None:
    """More may be written while as much is taken, and what is unsent is bounded."""

    class Watched(LookedAt):
        closed = asyncio.Event()

    began, gate = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = [(b"content-length", b"60004")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"x" * 60_000, "more_body": True})
        began.set()
        await gate.wait()
        await send({"type": "http.response.body", "body": b"last"})

    async with serving(app, Watched) as port, reading_little(port) as client:
        await asyncio.get_running_loop().sock_sendall(client, NEXT)
        await began.wait()
        for _ in range(3):
            LookedAt.newest._check_response()
        gate.set()
        await receive_bytes(client, 60_004)  # and a head, but not the connection's end


async def test_answer_that_follows_one_that_was_taken_is_not_given_up() -> None:
    """As much is unsent as the last time, and it is another answer."""

    class Watched(LookedAt):
        closed = asyncio.Event()
        answered = asyncio.Event()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.answered.set()

    sizes = iter([59_000, 60_000])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * next(sizes))

    async with serving(app, Watched) as port, reading_little(port) as client:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, POST + b"\r\n")
        await Watched.answered.wait()
        connection = LookedAt.newest
        connection._check_response()
        before = connection._count_unsent()
        await receive_bytes(client, 58_000)
        Watched.answered.clear()
        await loop.sock_sendall(client, POST + b"\r\n")
        await Watched.answered.wait()
        assert connection._count_unsent() >= before
        connection._check_response()
        assert not connection.transport.is_closing()
        connection._check_response()
        await Watched.closed.wait()  # the client has read nothing, so it is disconnected


def test_how_long_an_answer_may_wait_to_be_taken_contract_1() -> None:
    assert 2 * limited_protocol(1).response_check_s == 60
    assert 2 * BoundedHttpProtocol.response_check_s == 10 * 60


async def test_request_at_work_is_told_that_the_client_has_gone_while_others_wait() -> None:
    started, told = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        started.set()
        assert (await receive())["type"] == "http.disconnect"
        told.set()

    async with serving(app) as port:
        async with connected(port) as (_, writer):
            await send(writer, 2 * (POST + b"\r\n"))
            await started.wait()
            writer.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            await told.wait()


async def test_answer_that_comes_after_a_look_is_watched_too() -> None:
    """It is too little for the server to stop writing, and the request came long before it."""

    class Hasty(LookedAt):
        closed = asyncio.Event()
        looked = asyncio.Event()
        response_check_s = 0.05

        def _check_response(self) -> None:
            super()._check_response()
            self.looked.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Hasty.looked.wait()
        await close_at_the_end(scope, receive, send)

    async with serving(app, Hasty) as port, reading_little(port) as client:
        await asyncio.get_running_loop().sock_sendall(client, NEXT)
        await Hasty.closed.wait()


async def test_connection_that_is_gone_leaves_no_timer() -> None:
    """A timer would keep it in memory, and the private listener's runs for five minutes."""
    timers: list[asyncio.TimerHandle | None] = []

    class Watched(WatchedProtocol):
        closed = asyncio.Event()

        def connection_lost(self, exc: Exception | None) -> None:
            timers.extend([self._response_timer, self._request_timer])
            super().connection_lost(exc)

    async with serving(echo, Watched) as port:
        assert len(await exchange(port, NEXT)) == 1
        await Watched.closed.wait()
    assert [timer is not None and timer.cancelled() for timer in timers] == [True, True]


async def test_request_behind_a_late_body_is_not_idle() -> None:
    """Both arrive in one segment. The request takes longer than a connection may be idle."""

    class Idle(HastyProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.timeout_keep_alive = 0.05  # type: ignore[assignment]  # uvicorn says whole seconds

    gate = Gate()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/next":
            await gate(scope, receive, send)
        else:
            await answer(send, b"no")

    async with serving(app, Idle) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"Content-Length: 4\r\n\r\n")
        assert (await read_answer(reader)).body == b"no"
        await send(writer, b"late" + NEXT)
        async with connected(port) as (other, other_writer):  # idle for as long
            await send(other_writer, POST + b"\r\n")
            await read_answer(other)
            assert await other.read() == b""
        gate.opened.set()
        assert (await read_answer(reader)).status == 200


async def test_connection_that_was_answered_before_its_body_came_is_idle() -> None:
    """It is closed like any other, and the next request on it has a clock of its own."""

    class Idle(HastyProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.timeout_keep_alive = 0.05  # type: ignore[assignment]  # uvicorn says whole seconds

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no")

    early = POST + b"Content-Length: 4\r\n\r\n"
    async with serving(app, Idle) as port, connected(port) as (reader, writer):
        await send(writer, early)
        assert (await read_answer(reader)).body == b"no"
        await send(writer, b"late")
        assert await reader.read() == b""
    async with serving(app, HastyProtocol) as port, connected(port) as (reader, writer):
        await send(writer, early)
        assert (await read_answer(reader)).body == b"no"
        await send(writer, b"late")
        await headers_timeout_passes(port)
        await send(writer, early)
        assert (await read_answer(reader)).body == b"no"


async def test_time_out_waits_for_the_answer_before_it() -> None:
    gate = Gate()
    async with serving(gate, HastyProtocol) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"\r\nGET /ne")
        await headers_timeout_passes(port)
        await headers_timeout_passes(port)
        gate.opened.set()
        first, second = await read_answers(reader)
    assert first.status == 200
    check_refusal(second, TIMED_OUT)


async def test_client_that_is_held_back_is_not_timed_out() -> None:
    gate = Gate()
    async with serving(gate, HastyProtocol) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"\r\n" + POST + b"\r\n" + NEXT[:10])
        for _ in range(3):
            await headers_timeout_passes(port)
        await send(writer, NEXT[10:])
        gate.opened.set()
        assert [found.status for found in await read_answers(reader)] == [200, 200, 200]


async def test_refusal_waits_for_the_answer_before_it() -> None:
    gate = Gate()
    async with serving(gate) as port, connected(port) as (reader, writer):
        await send(writer, POST + b"\r\n" + POST + b"\r\n" + CHUNKED + b"no chunk" + NEXT)
        # Answered without the application, and after the server has read the above.
        assert len(await exchange(port, b"\0")) == 1
        gate.opened.set()
        *answered, refused = await read_answers(reader)
    assert [found.status for found in answered] == [200, 200]
    check_refusal(refused, BAD_REQUEST)
    assert gate.calls == 2


async def test_refusal_is_left_out_when_the_answer_before_it_closes() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = [(b"content-length", b"10000000"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"b" * 10_000_000})

    async with serving(app) as port:
        assert [found.status for found in await exchange(port, POST + b"\r\n\0")] == [200]


@pytest.mark.parametrize("rest", [b"no chunk", b""], ids=["reject_malformed", "reject_missing"])
async def test_early_answer_is_the_only_one(rest: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"early")

    async with serving(app, HastyProtocol) as port, connected(port) as (reader, writer):
        await send(writer, CHUNKED)
        assert (await read_answer(reader)).body == b"early"
        await send(writer, rest)
        assert await reader.read() == b""
    assert len(refusals(caplog)) == 1


async def test_answered_request_leaves_nothing_to_the_collector() -> None:
    """Ten thousand answers that wait for a collection are a service that grows."""
    cycles: list[weakref.ref[RequestResponseCycle]] = []

    class RecordingProtocol(BoundedHttpProtocol):
        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            cycles.append(weakref.ref(self.cycle))

    gc.collect()
    gc.disable()
    try:
        async with serving(protocol=RecordingProtocol) as port, connected(port) as (reader, writer):
            for _ in range(3):
                await send(writer, POST + b"Content-Length: 1\r\n\r\n1")
                await read_answer(reader)
        # The last one is the connection's present request, which goes with it.
        assert [cycle() for cycle in cycles[:2]] == [None, None]
    finally:
        gc.enable()


async def test_answer_leaves_in_one_piece() -> None:
    """Head and body in one write, and each later part of a body in one of its own."""
    pieces: list[bytes] = []

    class RecordingProtocol(BoundedHttpProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.transport = cast(asyncio.Transport, RecordingTransport(transport))

    class RecordingTransport:
        def __init__(self, transport: asyncio.Transport) -> None:
            self._transport = transport

        def write(self, data: bytes) -> None:
            pieces.append(data)
            self._transport.write(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self._transport, name)

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        length = [(b"content-length", b"6")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        for part, more in ((b"one", True), (b"two", False)):
            await send({"type": "http.response.body", "body": part, "more_body": more})

    async with serving(app, RecordingProtocol) as port:
        answers = await exchange(port, NEXT)
    assert [answer.body for answer in answers] == [b"onetwo"]
    assert len(pieces) == 2
    assert pieces[0].endswith(b"\r\n\r\none")


async def test_started_answer_is_cut_when_its_request_is_refused(closed: asyncio.Event) -> None:
    told = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        assert await read_body(receive) is None
        told.set()
        await send({"type": "http.response.body", "body": b"late"})

    async with serving(app, WatchedProtocol) as port, connected(port) as (reader, writer):
        await send(writer, CHUNKED)
        await reader.readuntil(b"\r\n\r\n")
        await send(writer, b"no chunk")
        assert await reader.read() == b""
        await told.wait()
        assert not closed.is_set()


async def test_expectation_is_met_once_the_body_is_read() -> None:
    head = POST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    async with serving() as port, connected(port) as (reader, writer):
        await send(writer, head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await send(writer, b"body")
        assert (await read_answer(reader)).body == b"POST /first body"


async def test_expectation_of_http_1_0_is_ignored() -> None:
    version_1_0 = POST.replace(b"HTTP/1.1", b"HTTP/1.0")
    head = version_1_0 + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    async with serving() as port:
        (found,) = await exchange(port, head + b"body")
    assert (found.status, found.body) == (200, b"POST /first body")


async def test_expectation_is_not_met_after_a_refusal() -> None:
    head = POST + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    async with serving() as port:
        (found,) = await exchange(port, head + b"no chunk")
    check_refusal(found, BAD_REQUEST)


async def test_refused_client_that_stays_is_cut_off(
    closed: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    class Lingering(HastyProtocol, WatchedProtocol):
        headers_timeout_s = 0.05  # must not run on after the refusal
        linger_timeout_s = 0.1

    async with serving(protocol=Lingering) as port, connected(port) as (reader, writer):
        await send(writer, b"\0")
        check_refusal((await read_answers(reader))[0], BAD_REQUEST)
        await closed.wait()
    assert len(refusals(caplog)) == 1


async def test_refused_client_that_sends_on_is_cut_off(closed: asyncio.Event) -> None:
    async with serving(protocol=WatchedProtocol) as port, connected(port) as (reader, writer):
        await send(writer, b"\0")
        check_refusal((await read_answers(reader))[0], BAD_REQUEST)
        await send(writer, b"\0" * (MAX_LINGER_BYTES + 1))
        await closed.wait()


async def test_refused_client_that_closes_is_let_go(closed: asyncio.Event) -> None:
    class HeldBack(WatchedProtocol):
        def data_received(self, data: bytes) -> None:
            self.flow.pause_reading()  # as uvicorn does where the application does not read
            super().data_received(data)

    async with serving(protocol=HeldBack) as port:
        check_refusal((await exchange(port, CHUNKED + b"no chunk"))[0], BAD_REQUEST)
        async with asyncio.timeout(PATIENCE_S):
            await closed.wait()


class Wire(asyncio.Transport):
    """A transport that cannot be half-closed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.written = b""

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def write_eof(self) -> None:
        raise self.error

    def abort(self) -> None:
        pass


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(107, "not connected")])
async def test_refusal_needs_no_half_close(error: Exception) -> None:
    config = uvicorn.Config(echo, lifespan="off", log_config=None)
    protocol = BoundedHttpProtocol(config, ServerState(), {})
    wire = Wire(error)
    protocol.connection_made(wire)
    protocol.data_received(b"\0")
    protocol.connection_lost(ConnectionResetError())
    assert wire.written.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("is_reset", [False, True], ids=["close", "reset"])
async def test_client_that_vanishes_leaves_no_trace(
    is_reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bodies = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bodies.append(await read_body(receive))
        await answer(send, b"")

    data = CHUNKED + b"4\r\nbody\r\n0\r\n\r\n"
    async with serving(app, HastyProtocol) as port:
        for size in range(len(data)):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            if is_reset:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            await send(writer, data[:size])
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        for _ in range(3):
            await headers_timeout_passes(port)
        assert len(await exchange(port, NEXT)) == 1
    assert set(bodies) == {None, b""}
    assert refusals(caplog) == []


UVLOOP: tuple[str, dict[str, Any]] = ("asyncio", {"use_uvloop": True})


@pytest.mark.parametrize("anyio_backend", [UVLOOP], ids=["uvloop"])
@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        pytest.param(b"\0", BAD_REQUEST, id="reject_garbage"),
        pytest.param(CORPUS["reject_h2c"][0], BAD_REQUEST, id="reject_h2c"),
        pytest.param(LIMITS["reject_10_mb_header"][0], TOO_LARGE, id="reject_10_mb_header"),
        pytest.param(POST, TIMED_OUT, id="reject_slow_header"),
        pytest.param(CHUNKED + b"4\r\nbo", TIMED_OUT, id="reject_slow_body"),
    ],
)
async def test_uvloop_behaves_alike(data: bytes, refusal: tuple[int, str]) -> None:
    class Hasty(BoundedHttpProtocol):  # uvloop has a clock of its own
        headers_timeout_s = request_timeout_s = 0.5 if refusal == TIMED_OUT else PATIENCE_S

    assert type(asyncio.get_running_loop()).__module__ == "uvloop"
    async with serving(protocol=Hasty) as port:
        first, second = await exchange(port, POST + b"\r\n" + data)
    assert first.status == 200
    check_refusal(second, refusal)
