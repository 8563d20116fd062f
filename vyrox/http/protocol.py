"""uvicorn's HTTP protocol with limits, deadlines and JSON refusals.

The application never sees what is refused here. Each refusal is one JSON answer that repeats
nothing of the request (contract 1), one log line, and the end of the connection, so that no byte
behind refused input is ever read as another request.
"""

import asyncio
import contextlib
import enum
import fcntl
import logging
import termios
from array import array
from typing import Any, Final

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from vyrox import log
from vyrox.errors import (
    HeadersTooLargeError,
    MalformedRequestError,
    OverloadedError,
    RequestTimeoutError,
    VyroxError,
)
from vyrox.http.joined_writes import JoinedWrites
from vyrox.ids import new_id

# The request line and the header together. Vendors send about 1 KiB; llhttp itself has no limit.
MAX_HEADER_BYTES: Final = 16 * 1024

# Chunked trailers count as well.
MAX_HEADER_FIELDS: Final = 64

# Requests taken from one connection before they are answered. uvicorn queues as many as were sent,
# and reads more after each answer, so without a limit the sender decides how much memory that is.
MAX_UNANSWERED_REQUESTS: Final = 16

# What is still read, and dropped, after a refusal. Closing a socket with unread input resets it,
# and the reset may overtake the answer.
MAX_LINGER_BYTES: Final = 4 * 1024 * 1024


class Reading(enum.Enum):
    """What the parser expects next."""

    NOTHING = enum.auto()
    HEADER = enum.auto()
    BODY = enum.auto()


def check_framing(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Check that every server on the way must see the same request in these bytes.

    Args:
        version: The HTTP version as the parser names it, such as "1.1".
        headers: Names in lower case.

    Raises:
        MalformedRequestError: The version, the Host or the Transfer-Encoding leaves it open.

    Source:
        RFC 9112, 3.2 (Host), 6.1 and 6.3 (Transfer-Encoding).
    """
    hosts = [value for name, value in headers if name == b"host"]
    encodings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if version not in {"1.0", "1.1"}:
        raise MalformedRequestError("HTTP version is not 1.0 or 1.1")
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise MalformedRequestError("not exactly one Host")
    if not encodings:
        return
    # The parser takes "gzip, chunked" and "chunked " for chunked; a proxy in front may not.
    if version == "1.0" or encodings != [b"chunked"]:
        raise MalformedRequestError("Transfer-Encoding is not chunked")
    if any(name == b"content-length" for name, _ in headers):
        raise MalformedRequestError("Content-Length beside Transfer-Encoding")


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection whose requests are bounded in bytes, fields and time.

    The clock of a request runs while the client is sending it, and stops with its last byte: it
    does not end a request at work. Another ends a client that takes nothing of its answer. An idle
    connection between two requests is ended by uvicorn's `timeout_keep_alive`.
    """

    # From the connection, or the first byte of a later request, to the end of the header. Vendors
    # send a header in one segment; who takes longer is broken or holding connections open.
    headers_timeout_s: float = 10.0

    # From the same moment to the last byte of the body: 1 MiB at 35 KB/s.
    request_timeout_s: float = 30.0

    # A client that takes nothing of its answer is looked at so often, and given up the second time:
    # what it has not taken stays in memory. Whoever is no stranger may be slow (`limited_to`).
    answer_timeout_s: float = 300.0

    # How long a refused client may take to read its answer and close.
    linger_timeout_s: float = 2.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take what `uvicorn.Server` gives every protocol class."""
        super().__init__(config, server_state, app_state, _loop)
        self._reading = Reading.NOTHING
        self._deadline: float | None = None  # of the request that is arriving
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._answer_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes: int | None = None  # when it was last looked at; None: since written to
        self._began_at = 0.0
        self._framing_bytes = 0  # fed to the parser since it last got on with the request
        self._field_count = 0
        self._unanswered = 0  # requests with a whole header and no whole answer
        self._at_work: RequestResponseCycle | None = None  # uvicorn's `cycle` is the newest
        self._last_answer: bytes | None = None  # set by a refusal, sent after the answers due
        self._drained_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request."""
        super().connection_made(transport)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop_clock()
        self._cancel_timer()
        if self._answer_timer is not None:
            self._answer_timer.cancel()
        if self._at_work is not None and not self._at_work.response_complete:
            # uvicorn tells the newest request alone. This one would write to what is closed.
            self._at_work.disconnected = True
            self._at_work.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the clock of an answer that the client does not take."""
        super().pause_writing()
        self._watch_answer()

    def data_received(self, data: bytes) -> None:
        """Feed the parser no more than the header limit leaves room for.

        The parser hands over a line when it is whole and keeps it in memory until then, so the
        bytes are counted here. A header that starts in the segment in which another request ends
        is counted from its next piece on: it may be up to twice the limit, never more.
        """
        if self._last_answer is not None:
            self._drain(data)
            return
        self._unset_keepalive_if_required()
        if self._deadline is None:
            self._start_clock()
        try:
            self._feed(data)
        except HeadersTooLargeError as exc:
            self._refuse(exc)
        except httptools.HttpParserCallbackError as exc:
            # The context is what a callback below raised, or uvicorn's own where it cannot split
            # or decode the URL. That one's text repeats the URL: only its type is told.
            cause = exc.__context__
            if not isinstance(cause, VyroxError):
                cause = MalformedRequestError(type(cause).__name__)
            self._refuse(cause)
        except httptools.HttpParserError as exc:
            self._refuse(MalformedRequestError(str(exc)))  # one of the parser's constants

    def on_message_begin(self) -> None:
        """Start the clock, where the request begins in the segment that ended the last one."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._reading = Reading.HEADER
        self._field_count = 0
        if self._deadline is None:
            self._start_clock()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the field; keep it if it stands in the header.

        uvicorn appends trailers to the header that the application is already reading, where a
        signature or an authorization could be slipped in behind the body.
        """
        self._field_count += 1
        if self._field_count > MAX_HEADER_FIELDS:
            raise HeadersTooLargeError("header fields")
        if self._reading is Reading.HEADER:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless its framing is refused."""
        check_framing(self.parser.get_http_version(), self.headers)
        if self.parser.should_upgrade():
            # The parser drops the body of an upgrade request: a signature would be verified over
            # nothing, and what follows belongs to a protocol that is not spoken here.
            raise MalformedRequestError("upgrade or CONNECT")
        if self._unanswered >= MAX_UNANSWERED_REQUESTS:
            raise OverloadedError("unanswered requests on one connection")
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1: it must be ignored
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":
            self.cycle.transport = JoinedWrites(self.cycle)
        self._unanswered += 1
        if self._answer_timer is None:
            self._watch_answer()
        self._reading = Reading.BODY
        self._framing_bytes = 0
        self._set_deadline(self._began_at + self.request_timeout_s)

    def on_body(self, body: bytes) -> None:
        """Take the bytes before this part for what they were: framing that led to a body."""
        self._framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock: from here on the client waits for the service.

        Unless it has its answer: the application may not have waited for the body. Then the
        connection is idle, and the last of the body has ended uvicorn's clock for that.
        """
        super().on_message_complete()
        self._reading = Reading.NOTHING
        self._framing_bytes = 0
        self._stop_clock()
        if not self._unanswered:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Start the next request's answer, or send the refusal that waited for this one."""
        super().on_response_complete()
        self._unanswered -= 1
        self._unsent_bytes = None
        if self._last_answer is not None and not self._unanswered:
            self._part()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._at_work = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        while data:
            room = MAX_HEADER_BYTES - self._framing_bytes
            if not room:
                raise HeadersTooLargeError("header bytes")
            piece, data = data[:room], data[room:]
            self._framing_bytes += len(piece)
            self.parser.feed_data(piece)

    def _drain(self, data: bytes) -> None:
        self._drained_bytes += len(data)
        if self._drained_bytes > MAX_LINGER_BYTES:
            self.transport.abort()

    def _start_clock(self) -> None:
        self._began_at = self.loop.time()
        self._set_deadline(self._began_at + self.headers_timeout_s)

    def _set_deadline(self, at: float) -> None:
        self._deadline = at
        # One timer outlives many requests, each of which only moves the deadline: a timer for each
        # would cost more than parsing its header.
        if self._timer is None or at < self._wakes_at:
            self._cancel_timer()
            self._wakes_at = at
            self._timer = self.loop.call_at(at, self._wake)

    def _stop_clock(self) -> None:
        self._deadline = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch_answer(self) -> None:
        self._unsent_bytes = None
        # It outlives many requests, like the other one.
        if self._answer_timer is None:
            self._answer_timer = self.loop.call_later(self.answer_timeout_s, self._check_answer)

    def _check_answer(self) -> None:
        self._answer_timer = None
        if not self.transport.get_write_buffer_size():
            if self._unanswered:
                self._watch_answer()
            return
        before, unsent = self._unsent_bytes, self._count_unsent()
        # More may be written while it is neither paused nor closed, and as much be taken.
        at_work = self._unanswered and not self.flow.write_paused
        if before is not None and unsent >= before and (self.transport.is_closing() or not at_work):
            self.transport.abort()
        else:
            self._watch_answer()
            self._unsent_bytes = unsent

    def _count_unsent(self) -> int:
        # The kernel's part too: it makes room in large steps, seldom where a client reads slowly.
        queued = array("i", [0])
        with contextlib.suppress(OSError):  # a system that does not tell: the rest has to do
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
        return self.transport.get_write_buffer_size() + queued[0]

    def _wake(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() < self._deadline:
            self._set_deadline(self._deadline)
        else:
            self._time_out()

    def _time_out(self) -> None:
        self._stop_clock()
        if self.flow.read_paused:
            # The client could not send: its earlier request is still at work.
            self._set_deadline(self.loop.time() + self.headers_timeout_s)
        elif self._reading is not Reading.NOTHING:
            self._refuse(RequestTimeoutError("request did not arrive in time"))
        elif not self._unanswered:
            # Nothing came, or empty lines only. A load balancer's probe looks like this.
            self.transport.close()

    def _refuse(self, error: VyroxError) -> None:
        """Read no further, log, and answer when every earlier request has its answer."""
        self._stop_clock()
        request_id = new_id()
        log.event("http.refused", logging.WARNING, request_id=request_id, reason=str(error))
        self._last_answer = self._encode(error, request_id)
        if self._reading is Reading.BODY:
            self._abandon_request()
        if not self._unanswered:
            self._part()

    def _abandon_request(self) -> None:
        """Take the request whose body is refused away from the application."""
        if self._unanswered > 1:
            self.pipeline.popleft()  # the newest: the application has not seen it yet
            self._unanswered -= 1
            return
        # To the application it looks as if the client had hung up: it writes nothing any more.
        self.cycle.disconnected = True
        self.cycle.waiting_for_100_continue = False
        self.cycle.message_event.set()
        self._unanswered = 0
        if self.cycle.response_started:
            self._last_answer = b""  # a second answer would be taken for the next request's

    def _encode(self, error: VyroxError, request_id: str) -> bytes:
        body = msgspec.json.encode({"detail": error.detail})
        fields = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "x-request-id": request_id,
            **error.headers,
            "connection": "close",
        }
        lines = [b"%s: %s\r\n" % field for field in self.server_state.default_headers]
        lines += [f"{name}: {value}\r\n".encode() for name, value in fields.items()]
        # The method is known once the parser is past it.
        past_method = self._reading is not Reading.NOTHING and self.url
        is_head = past_method and self.parser.get_method() == b"HEAD"
        return b"".join([STATUS_LINE[error.status], *lines, b"\r\n", b"" if is_head else body])

    def _part(self) -> None:
        """Send the last answer and close once the client has, or the linger limits are reached."""
        if self.transport.is_closing():
            return  # the answer before said so, and may still be on its way
        self.flow.resume_reading()
        self.transport.write(self._last_answer or b"")
        # TLS cannot be half-closed, and a client that has gone cannot either.
        with contextlib.suppress(NotImplementedError, OSError):
            self.transport.write_eof()
        self._cancel_timer()
        self._timer = self.loop.call_later(self.linger_timeout_s, self.transport.abort)
