"""uvicorn's HTTP protocol with limits, deadlines and JSON refusals.

The application never sees a request that is refused here. Each refusal sends one JSON response that
repeats nothing of the request (contract 1), writes one log line and ends the connection. So no byte
after refused input is ever parsed as another request.
"""

import asyncio
import contextlib
import enum
import logging
from typing import Any, Final

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
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
from vyrox.http.deadlines import TimedHttpProtocol
from vyrox.http.framing import check_framing
from vyrox.http.joined_writes import JoinedWrites
from vyrox.ids import new_id

MAX_HEADER_BYTES: Final = 16 * 1024
"""Size of the request line and the header together. Vendors send about 1 KiB. llhttp itself has no
limit."""

MAX_HEADER_FIELDS: Final = 64
"""Fields of one request, including chunked trailers."""

MAX_UNANSWERED_REQUESTS: Final = 16
"""Requests of one connection that wait for a response. uvicorn queues all that a client sends, so
without this limit the client decides how much memory they take."""

MAX_LINGER_BYTES: Final = 4 * 1024 * 1024
"""Bytes that are read and dropped after a refusal. Closing a socket with unread input resets it,
and the reset may arrive before the response."""


class Reading(enum.Enum):
    """What the parser expects next."""

    NOTHING = enum.auto()
    HEADER = enum.auto()
    BODY = enum.auto()


class BoundedHttpProtocol(TimedHttpProtocol):
    """One connection whose requests are limited in bytes, fields and time.

    The request timer stops at the last byte of a request: it never ends a request in progress.
    uvicorn's `timeout_keep_alive` ends a connection that is idle between two requests.
    """

    linger_timeout_s: float = 2.0
    """How long a refused client may take to read its response and close."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take what `uvicorn.Server` passes to every protocol class."""
        super().__init__(config, server_state, app_state, _loop)
        self._reading = Reading.NOTHING
        self._framing_bytes = 0  # fed to the parser since its last progress with the request
        self._field_count = 0
        # The request that the application serves. uvicorn's `cycle` is the newest one.
        self._served_cycle: RequestResponseCycle | None = None
        self._final_response: bytes | None = None  # set by a refusal, sent after earlier responses
        self._drained_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the request timer: the first request must arrive in time."""
        super().connection_made(transport)
        self._start_request_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and let the request in progress see the disconnect."""
        self._stop_request_timer()
        self._cancel_request_timer()
        if self._response_timer is not None:
            self._response_timer.cancel()
        if self._served_cycle is not None and not self._served_cycle.response_complete:
            # uvicorn notifies only the newest request. This one would write to a closed connection.
            self._served_cycle.disconnected = True
            self._served_cycle.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the response timer: the client does not read."""
        super().pause_writing()
        self._watch_response()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count the bytes of a header.

        The parser stores a line until it is complete, so the bytes must be counted before. If a
        header starts in the segment in which another request ends, counting starts with the next
        piece. Such a header may have up to twice the limit.
        """
        if self._final_response is not None:
            self._drain(data)
            return
        self._unset_keepalive_if_required()
        if self._request_deadline is None:
            self._start_request_timer()
        try:
            self._feed(data)
        except HeadersTooLargeError as exc:
            self._refuse(exc)
        except httptools.HttpParserCallbackError as exc:
            # The context is the error that a callback below raised, or uvicorn's own if it cannot
            # split or decode the URL. The text of uvicorn's error repeats the URL, so only the
            # type is logged.
            cause = exc.__context__
            if not isinstance(cause, VyroxError):
                cause = MalformedRequestError(type(cause).__name__)
            self._refuse(cause)
        except httptools.HttpParserError as exc:
            self._refuse(MalformedRequestError(str(exc)))  # one of the parser's constants

    def on_message_begin(self) -> None:
        """Start the request timer, also if the last request ended in the same segment."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._reading = Reading.HEADER
        self._field_count = 0
        if self._request_deadline is None:
            self._start_request_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the field, and drop it if it is a trailer.

        uvicorn would add trailers to the header that the application already reads, so a client
        could add a signature or an authorization after the body.
        """
        self._field_count += 1
        if self._field_count > MAX_HEADER_FIELDS:
            raise HeadersTooLargeError("header fields")
        if self._reading is Reading.HEADER:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the framing, then pass the request to the application."""
        check_framing(self.parser.get_http_version(), self.headers)
        if self.parser.should_upgrade():
            # The parser drops the body of an upgrade request, so a signature would be verified over
            # no bytes. The bytes that follow belong to a protocol that is not supported.
            raise MalformedRequestError("upgrade or CONNECT")
        if self._unanswered >= MAX_UNANSWERED_REQUESTS:
            raise OverloadedError("unanswered requests on one connection")
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1: it must be ignored
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":
            self.cycle.transport = JoinedWrites(self.cycle)
        self._unanswered += 1
        if self._response_timer is None:
            self._watch_response()
        self._reading = Reading.BODY
        self._framing_bytes = 0
        self._set_request_deadline(self._request_began_at + self.request_timeout_s)

    def on_body(self, body: bytes) -> None:
        """Reset the count: the bytes before this part were the framing of a body."""
        self._framing_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the request timer: from now on the client waits for the service.

        If the application responded without waiting for the body, the connection is idle now. The
        body has stopped uvicorn's idle timer, so it must be started again.
        """
        super().on_message_complete()
        self._reading = Reading.NOTHING
        self._framing_bytes = 0
        self._stop_request_timer()
        if not self._unanswered:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Start the next response, or send the refusal that waited for this one."""
        super().on_response_complete()
        self._unanswered -= 1
        self._unsent_bytes = None
        if self._final_response is not None and not self._unanswered:
            self._send_final_response()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served_cycle = cycle
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

    def _time_out_request(self) -> None:
        self._stop_request_timer()
        if self.flow.read_paused:
            # The client could not send: its earlier request is still in progress.
            self._set_request_deadline(self.loop.time() + self.headers_timeout_s)
        elif self._reading is not Reading.NOTHING:
            self._refuse(RequestTimeoutError("request did not arrive in time"))
        elif not self._unanswered:
            # No byte arrived, or only empty lines, as from a load balancer's probe.
            self.transport.close()

    def _refuse(self, error: VyroxError) -> None:
        """Stop reading, log, and respond as soon as every earlier request has its response."""
        self._stop_request_timer()
        request_id = new_id()
        log.event("http.refused", logging.WARNING, request_id=request_id, reason=str(error))
        self._final_response = self._encode(error, request_id)
        if self._reading is Reading.BODY:
            self._abandon_request()
        if not self._unanswered:
            self._send_final_response()

    def _abandon_request(self) -> None:
        """Remove the request whose body is refused from the application."""
        if self._unanswered > 1:
            self.pipeline.popleft()  # the newest: the application has not seen it yet
            self._unanswered -= 1
            return
        # The application sees a client that has disconnected, and writes nothing more.
        self.cycle.disconnected = True
        self.cycle.waiting_for_100_continue = False
        self.cycle.message_event.set()
        self._unanswered = 0
        if self.cycle.response_started:
            self._final_response = b""  # a second response would be read as the next request's

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
        # The parser knows the method only after the request line.
        past_method = self._reading is not Reading.NOTHING and self.url
        is_head = past_method and self.parser.get_method() == b"HEAD"
        return b"".join([STATUS_LINE[error.status], *lines, b"\r\n", b"" if is_head else body])

    def _send_final_response(self) -> None:
        """Send the final response. Close when the client does, or at the linger limits."""
        if self.transport.is_closing():
            return  # the response before announced it, and may not be sent completely yet
        self.flow.resume_reading()
        self.transport.write(self._final_response or b"")
        # TLS cannot be half-closed, and neither can a connection whose client has disconnected.
        with contextlib.suppress(NotImplementedError, OSError):
            self.transport.write_eof()
        self._cancel_request_timer()
        self._request_timer = self.loop.call_later(self.linger_timeout_s, self.transport.abort)
