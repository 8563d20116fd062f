"""A limit on the connections of each listener: clients must not use up the file descriptors.

Both listeners, the databases and Redis share the descriptors of one process. Over the limit, the
connection that has been idle longest is closed, so that a new one always gets in: a client that
holds connections open without a request loses them to those that have one.
"""

import asyncio
import contextlib
import resource
import socket
from typing import ClassVar, Final

from vyrox import log
from vyrox.http.protocol import BoundedHttpProtocol, Reading

RESERVED_FILES: Final = 512
"""For the private listener, the stores, and what `backlog` lets the kernel hand over at once."""

MAX_CONNECTIONS: Final = 10_000
"""However many files the process may open: each connection takes memory too."""

MAX_PRIVATE_CONNECTIONS: Final = 256
"""Of the private listener, which a few programs call."""

MAX_UNSENT_BYTES: Final = 64 * 1024
"""Of answers to one connection, in the system's buffer: on its own it grows to megabytes for each
client that takes nothing. No answer to a stranger is longer than some hundred bytes."""

ENOUGH_FILES: Final = 2 * MAX_CONNECTIONS


def raise_file_limit() -> int:
    """Raise the soft limit on open files as far as the hard one allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return ENOUGH_FILES if soft == resource.RLIM_INFINITY else soft


def max_connections(files: int) -> int:
    """Return how many connections strangers may have where the process may open `files`."""
    return min(MAX_CONNECTIONS, max(files - RESERVED_FILES, files // 2))


def backlog(files: int) -> int:
    """Return how many connections may wait for the loop, which takes all that wait at once.

    What arrives beyond it is dropped, and its sender's system tries again after a second or more.
    """
    return min(2048, _spare_files(files) // 4)


def max_private_connections(files: int) -> int:
    """Return how many connections the private listener may have.

    With the two backlogs, that leaves the stores a quarter of what the public listener leaves.
    """
    return min(MAX_PRIVATE_CONNECTIONS, _spare_files(files) // 4)


def _spare_files(files: int) -> int:
    return files - max_connections(files)


class _Connections:
    """The open connections of one listener, and which of them keep the service waiting."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[BoundedHttpProtocol] = set()
        # To be sent bytes, or to be rid of them: first the one that began to wait longest ago.
        self._waiting: dict[BoundedHttpProtocol, None] = {}

    def add(self, connection: BoundedHttpProtocol) -> None:
        self._open.add(connection)
        self._waiting[connection] = None
        if len(self._open) > self._limit:
            evicted = next(iter(self._waiting))
            self.remove(evicted)
            # Counted, and not a line of its own: strangers decide how often it happens.
            log.counts["http.evicted"] += 1
            evicted.transport.abort()

    def remove(self, connection: BoundedHttpProtocol) -> None:
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def note(self, connection: BoundedHttpProtocol, *, waiting: bool) -> None:
        if not waiting:
            self._waiting.pop(connection, None)
        elif connection in self._open:
            self._waiting[connection] = None


class LimitedHttpProtocol(BoundedHttpProtocol):
    """One connection out of those that a listener may have."""

    places: ClassVar[_Connections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and close another where there are too many."""
        super().connection_made(transport)
        self.places.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        self.places.remove(self)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Note that what is still answered goes nowhere."""
        super().eof_received()
        self.places.note(self, waiting=True)

    def on_message_complete(self) -> None:
        """Note whether a request is at work."""
        super().on_message_complete()
        self._note()

    def on_response_complete(self) -> None:
        """Note whether a request is at work."""
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        """Note that the client does not take its answer."""
        super().pause_writing()
        self._note()

    def resume_writing(self) -> None:
        """Note that it does."""
        super().resume_writing()
        self._note()

    def _note(self) -> None:
        # One may be unanswered and still arriving; an answer may have come before the body.
        at_work = self._unanswered - (self._reading is Reading.BODY) > 0
        lost = self.flow.write_paused or self.transport.is_closing()
        self.places.note(self, waiting=lost or not at_work)


class PublicHttpProtocol(LimitedHttpProtocol):
    """A connection of an unauthenticated client: it must take its answers within a short time."""

    answer_timeout_s = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bound what the system stores for a client that does not read."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # some systems refuse it where the client has gone
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_UNSENT_BYTES)


def limited_protocol(
    limit: int, base: type[LimitedHttpProtocol] = PublicHttpProtocol
) -> type[LimitedHttpProtocol]:
    """Return the protocol of one listener that keeps at most `limit` connections open.

    A connection with a request in progress is never closed to make room. If all are busy, the new
    connection is closed. A client that does not take its answers is not waited for.
    """
    return type("Limited", (base,), {"places": _Connections(limit)})


def private_protocol(files: int) -> type[LimitedHttpProtocol]:
    """Return the protocol of the private listener where the process may open `files`."""
    return limited_protocol(max_private_connections(files), LimitedHttpProtocol)
