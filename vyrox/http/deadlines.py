"""The two timers of one HTTP connection.

The request timer runs while the client sends a request. The response timer runs while the service
has bytes for the client, and closes the connection if the client reads none of them. Both outlive
many requests: a new asyncio timer for each request would cost more than parsing its header.
"""

import asyncio
import contextlib
import fcntl
import termios
from array import array
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


class TimedHttpProtocol(HttpToolsProtocol):
    """One connection with a request timer and a response timer."""

    headers_timeout_s: float = 10.0
    """From the connection, or from the first byte of a later request, to the end of the header.
    Vendors send a header in one segment."""

    request_timeout_s: float = 30.0
    """From the same moment to the last byte of the body: 1 MiB at 35 KB/s."""

    response_check_s: float = 300.0
    """How often an unfinished response is checked. The connection is closed at the second check
    that finds no progress. This is the private listener's value: its clients may be slow."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take what `uvicorn.Server` passes to every protocol class."""
        super().__init__(config, server_state, app_state, _loop)
        self._unanswered = 0  # requests with a complete header and no complete response
        self._request_began_at = 0.0
        self._request_deadline: float | None = None  # None: no request is arriving
        self._request_timer: asyncio.TimerHandle | None = None
        self._request_timer_fires_at = 0.0
        self._response_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes: int | None = None  # at the last check; None: written to since then

    def _start_request_timer(self) -> None:
        self._request_began_at = self.loop.time()
        self._set_request_deadline(self._request_began_at + self.headers_timeout_s)

    def _set_request_deadline(self, at: float) -> None:
        self._request_deadline = at
        if self._request_timer is None or at < self._request_timer_fires_at:
            self._cancel_request_timer()
            self._request_timer_fires_at = at
            self._request_timer = self.loop.call_at(at, self._check_request)

    def _stop_request_timer(self) -> None:
        self._request_deadline = None  # the asyncio timer stays for the next request

    def _cancel_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _check_request(self) -> None:
        self._request_timer = None
        if self._request_deadline is None:
            return
        if self.loop.time() < self._request_deadline:
            self._set_request_deadline(self._request_deadline)
        else:
            self._time_out_request()

    def _time_out_request(self) -> None:
        """End the request that did not arrive in time."""
        raise NotImplementedError

    def _watch_response(self) -> None:
        self._unsent_bytes = None
        if self._response_timer is None:
            self._response_timer = self.loop.call_later(self.response_check_s, self._check_response)

    def _check_response(self) -> None:
        self._response_timer = None
        if not self.transport.get_write_buffer_size():
            if self._unanswered:
                self._watch_response()
            return
        before, unsent = self._unsent_bytes, self._count_unsent()
        # While the application can still write, the size may stay the same although the client
        # reads.
        may_write = self._unanswered and not self.flow.write_paused
        if (
            before is not None
            and unsent >= before
            and (self.transport.is_closing() or not may_write)
        ):
            self.transport.abort()
        else:
            self._watch_response()
            self._unsent_bytes = unsent

    def _count_unsent(self) -> int:
        # The kernel's buffer counts too: the transport's own buffer shrinks in large steps only, so
        # a slow client seldom changes it.
        queued = array("i", [0])
        with contextlib.suppress(OSError):  # not every system can report it
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
        return self.transport.get_write_buffer_size() + queued[0]
