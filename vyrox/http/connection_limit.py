"""A limit on the connections of each listener.

All listeners, the databases and Redis share the file descriptors of one process, and clients must
not use them up. Over the limit, the connection that has been idle longest is closed. So a new
client always gets a connection, and clients that keep idle connections open lose them.
"""

import asyncio
import contextlib
import resource
import socket
from typing import ClassVar, Final

from vyrox import log
from vyrox.http.protocol import BoundedHttpProtocol, Reading

RESERVED_FILES: Final = 512
"""File descriptors for the private listener, the stores, and the connections of the backlogs."""

MAX_CONNECTIONS: Final = 10_000
"""Connections of the public listener, even if the process may open more files: each takes memory
too."""

MAX_PRIVATE_CONNECTIONS: Final = 256
"""Connections of the private listener. Only a few programs call it."""

MAX_CONSOLE_CONNECTIONS: Final = 128
"""Connections of the console's listener. Only browsers of approvers reach it."""

SEND_BUFFER_BYTES: Final = 64 * 1024
"""The kernel's send buffer of one public connection. By default it grows to megabytes for a client
that does not read. The longest response to an unauthenticated client is the
console's script, which fits."""

ENOUGH_FILES: Final = 2 * MAX_CONNECTIONS


def raise_file_limit() -> int:
    """Raise the soft limit on open files as far as needed and allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return ENOUGH_FILES if soft == resource.RLIM_INFINITY else soft


def max_connections(files: int) -> int:
    """Return the limit of the public listener if the process may open `files` files."""
    return min(MAX_CONNECTIONS, max(files - RESERVED_FILES, files // 2))


def backlog(files: int) -> int:
    """Return how many connections may wait until the event loop accepts them, all at once.

    The kernel drops connections beyond that. The client's system tries again after a second.
    """
    return min(2048, _spare_files(files) // 4)


def max_private_connections(files: int) -> int:
    """Return the limit of the private listener if the process may open `files` files.

    After all limits and backlogs, more than an eighth of the reserved files is left.
    """
    return min(MAX_PRIVATE_CONNECTIONS, _spare_files(files) // 4)


def max_console_connections(files: int) -> int:
    """Return the limit of the console's listener if the process may open `files` files."""
    return min(MAX_CONSOLE_CONNECTIONS, _spare_files(files) // 16)


def console_backlog(files: int) -> int:
    """Return how many connections of the console may wait until the event loop accepts them."""
    return max_console_connections(files) // 2


def _spare_files(files: int) -> int:
    return files - max_connections(files)


class _Connections:
    """The open connections of one listener, and which of them are idle."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[BoundedHttpProtocol] = set()
        # Idle: the service waits for the client, to send or to read. Longest idle first.
        self._idle: dict[BoundedHttpProtocol, None] = {}

    def add(self, connection: BoundedHttpProtocol) -> None:
        self._open.add(connection)
        self._idle[connection] = None
        if len(self._open) > self._limit:
            evicted = next(iter(self._idle))
            self.remove(evicted)
            # Only counted, not logged: unauthenticated clients decide how often it happens.
            log.counts["http.evicted"] += 1
            evicted.transport.abort()

    def remove(self, connection: BoundedHttpProtocol) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)

    def update(self, connection: BoundedHttpProtocol, *, is_idle: bool) -> None:
        if not is_idle:
            self._idle.pop(connection, None)
        elif connection in self._open:
            self._idle[connection] = None


class LimitedHttpProtocol(BoundedHttpProtocol):
    """One connection of a listener with a limit."""

    listener_connections: ClassVar[_Connections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and close the longest idle one if there are too many."""
        super().connection_made(transport)
        self.listener_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self.listener_connections.remove(self)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Mark the connection as idle: the client will not read a response."""
        super().eof_received()
        self.listener_connections.update(self, is_idle=True)

    def on_message_complete(self) -> None:
        """Update whether the connection is idle."""
        super().on_message_complete()
        self._update()

    def on_response_complete(self) -> None:
        """Update whether the connection is idle."""
        super().on_response_complete()
        self._update()

    def pause_writing(self) -> None:
        """Update whether the connection is idle: the client does not read."""
        super().pause_writing()
        self._update()

    def resume_writing(self) -> None:
        """Update whether the connection is idle: the client reads again."""
        super().resume_writing()
        self._update()

    def _update(self) -> None:
        # An unanswered request may still be arriving, and a response may precede the body.
        in_progress = self._unanswered - (self._reading is Reading.BODY) > 0
        is_lost = self.flow.write_paused or self.transport.is_closing()
        self.listener_connections.update(self, is_idle=is_lost or not in_progress)


class PublicHttpProtocol(LimitedHttpProtocol):
    """A connection of an unauthenticated client: it must read its responses soon."""

    response_check_s = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Limit the memory that the kernel uses for a client that does not read."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # some systems refuse it after a disconnect
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def limited_protocol(
    limit: int, base: type[LimitedHttpProtocol] = PublicHttpProtocol
) -> type[LimitedHttpProtocol]:
    """Return the protocol of one listener that keeps at most `limit` connections open.

    A connection with a request in progress is never closed to make room. If all are busy, the new
    connection is closed. A client that does not read its responses counts as idle.
    """
    return type("Limited", (base,), {"listener_connections": _Connections(limit)})


def private_protocol(files: int) -> type[LimitedHttpProtocol]:
    """Return the protocol of the private listener if the process may open `files` files."""
    return limited_protocol(max_private_connections(files), LimitedHttpProtocol)


def console_protocol(files: int) -> type[LimitedHttpProtocol]:
    """Return the protocol of the console's listener if the process may open `files` files."""
    return limited_protocol(max_console_connections(files))
