"""Responses as JSON: of a route, and of an error (contract 1)."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vyrox.errors import BodyTooLargeError, VyroxError

MAX_DRAINED_BYTES: Final = 4 * 1024 * 1024
"""How much of a body that is too large is still read (contract, MAX_BODY_BYTES)."""

MAX_DRAINING_S: Final = 2.0
"""How long a body that is too large is still read."""

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class JsonResponse(Response):
    """A JSON response."""

    def __init__(
        self, content: object, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """`content` is anything that msgspec encodes."""
        self.status_code = status_code
        self.background = None
        self.body = msgspec.json.encode(content)
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]
        if headers:
            self.raw_headers += [(n.lower().encode(), v.encode()) for n, v in headers.items()]


def error_response(error: VyroxError, more: Mapping[str, str] = _NOTHING) -> Response:
    """Return the response to `error`: its status, detail and headers.

    Args:
        more: Further members of the body, which are not for every caller (contract 83).
    """
    kind = _DrainingResponse if isinstance(error, BodyTooLargeError) else JsonResponse
    return kind({"detail": error.detail, **more}, error.status, error.headers)


class _DrainingResponse(JsonResponse):
    """Sends the response, then reads the rest of the body for a while.

    Many clients write their whole body before they read. Without the draining, such a client would
    see a connection reset instead of the response.
    """

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        drained = 0
        try:
            async with asyncio.timeout(MAX_DRAINING_S):
                while drained < MAX_DRAINED_BYTES:
                    message = await receive()
                    drained += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            pass  # the connection is closed in any case
        await send({"type": "http.response.body", "body": b""})
