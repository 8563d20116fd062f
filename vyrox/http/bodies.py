"""Request bodies, bounded in size, in time, and in memory (contract 1)."""

import asyncio
from collections.abc import Collection
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from vyrox import log
from vyrox.errors import BodyTooLargeError, RequestTimeoutError, UnsupportedEncodingError
from vyrox.http.shared_timeout import SharedTimeout

BODY_TIMEOUT_S: Final = 30.0
"""How long the whole body may take to arrive."""

MAX_INCOMPLETE_BYTES: Final = 128 * 1024 * 1024
"""Total size of the partly received bodies of one group of routes. The senders are not
authenticated yet, so this memory must be bounded."""

PLAIN: Final = frozenset({b"identity", b"", b"utf-8"})
"""Values of Content-Encoding that mean none, in lower case. Some senders put their character set
there, or send it empty."""

MAX_QUOTED: Final = 16
"""Characters of an encoding in the log. A secret that was put there by mistake has at least 32."""

_body_timeout: Final = SharedTimeout(
    BODY_TIMEOUT_S,
    lambda: RequestTimeoutError(
        f"the body did not arrive within {BODY_TIMEOUT_S} s, or newer bodies needed its memory"
    ),
)


class IncompleteBodies:
    """The partly received bodies of one group of routes, bounded by MAX_INCOMPLETE_BYTES.

    Beyond the limit, the body that has been arriving longest is dropped. An unauthenticated client
    that keeps its bodies unfinished loses them; a body that arrives at a normal pace is accepted.
    """

    def __init__(self) -> None:
        """Start with no bodies."""
        self.size_bytes = 0
        self._sizes: dict[asyncio.Task[object], int] = {}  # the oldest body first

    def add(self, task: asyncio.Task[object], size_bytes: int) -> None:
        """Count `size_bytes` more of the body that `task` reads; drop the oldest bodies if needed.

        Raises:
            RequestTimeoutError: The body that `task` reads is the oldest.
        """
        self._sizes[task] = self._sizes.get(task, 0) + size_bytes
        self.size_bytes += size_bytes
        while self.size_bytes > MAX_INCOMPLETE_BYTES:
            oldest = next(iter(self._sizes))
            self.remove(oldest)
            log.counts["http.body_dropped"] += 1
            if oldest is task:
                raise RequestTimeoutError(f"more than {MAX_INCOMPLETE_BYTES} bytes are arriving")
            _body_timeout.expire(oldest)

    def remove(self, task: asyncio.Task[object]) -> None:
        """Stop counting the body that `task` reads."""
        self.size_bytes -= self._sizes.pop(task, 0)


async def read_body(
    request: Request,
    limit: int,
    incomplete: IncompleteBodies,
    encodings: Collection[bytes] = PLAIN,
) -> bytes:
    """Return the request's whole body as sent, at most `limit` bytes.

    Args:
        encodings: The encodings that are accepted, in lower case.

    Raises:
        UnsupportedEncodingError: The body has another encoding.
        BodyTooLargeError: The body is larger, or its Content-Length is.
        RequestTimeoutError: The body did not arrive within BODY_TIMEOUT_S, or newer bodies needed
            its memory.
        ClientDisconnect: The client disconnected.
    """
    for name, value in request.scope["headers"]:
        if name == b"content-length" and int(value) > limit:
            raise BodyTooLargeError(f"{int(value)} bytes declared")
        if name == b"content-encoding" and value.lower() not in encodings:
            quoted = ascii(value[:MAX_QUOTED].decode("latin-1"))
            raise UnsupportedEncodingError(f"content-encoding {quoted}")
    with _body_timeout:
        message = await request.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise BodyTooLargeError(f"more than {limit} bytes")
            return body
        return await _read_chunks(message, request.receive, limit, incomplete)


async def _read_chunks(
    message: Message, receive: Receive, limit: int, incomplete: IncompleteBodies
) -> bytes:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (a coroutine runs in a task)
    chunks: list[bytes] = []
    size = 0
    try:
        while True:
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise BodyTooLargeError(f"more than {limit} bytes")
            incomplete.add(task, len(chunk))
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()
    finally:
        incomplete.remove(task)
