"""What every route shares: request ids, bounded bodies, errors as JSON (contract 1 and 2)."""

import asyncio
import logging
import re
import uuid
from typing import Final

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vyrox import log
from vyrox.errors import (
    BodyTooLargeError,
    OverloadedError,
    RequestTimeoutError,
    UnavailableError,
    UnsupportedEncodingError,
    VyroxError,
)

BODY_TIMEOUT_S: Final = 30.0
"""For the whole body to arrive."""

MAX_ARRIVING_BYTES: Final = 128 * 1024 * 1024
"""Of bodies that have not arrived to the end, over all connections. Whoever sends them has proved
nothing yet, and must not decide how much memory the service takes."""

DRAINED_BYTES: Final = 4 * 1024 * 1024
DRAINED_S: Final = 2.0
"""How much, and for how long, a body that is too large is read on, so that its sender gets to
reading the answer (contract, MAX_BODY_BYTES)."""

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")

_DETAILS: Final = {404: "not found", 405: "method not allowed"}


class JsonResponse(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Return `content` as JSON."""
        return msgspec.json.encode(content)


class RequestContext:
    """The outermost layer of each listener's application.

    Gives every request its id, puts the id on the answer, turns what no handler caught into a 500
    without a word of it, and answers what the shutdown cuts short.
    """

    def __init__(self, app: ASGIApp, cut_short: type[VyroxError] = UnavailableError) -> None:
        """`cut_short` is the answer to a request that the shutdown does not wait for."""
        self._app = app
        self._cut_short = cut_short

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        started = False
        error: VyroxError | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            log.event("request.hung_up", logging.WARNING, request_id=request_id)
        except asyncio.CancelledError:
            # Shutdown waits no longer. It ends here, because uvicorn would answer it in plain text.
            log.event("request.cancelled", logging.WARNING, request_id=request_id)
            error = self._cut_short()
        except Exception:  # noqa: BLE001  (a traceback must not leave the process; it is logged)
            log.event("request.failed", logging.ERROR, request_id=request_id)
            error = VyroxError()
        if error is not None and not started:
            await error_response(error)(scope, receive, send_with_id)


def _request_id(headers: Headers) -> str:
    sent = [value for name, value in headers.raw if name == b"x-request-id"]
    if len(sent) == 1 and _REQUEST_ID.fullmatch(sent[0]):
        return sent[0].decode()
    return str(uuid.uuid4())


def header_values(request: Request, name: bytes) -> list[bytes]:
    """Return the values of every header called `name` (lower case), as bytes."""
    return [value for header, value in request.headers.raw if header == name]


async def read_body(request: Request, limit: int) -> bytes:
    """Return the request's whole body, at most `limit` bytes.

    Raises:
        UnsupportedEncodingError: It is compressed.
        BodyTooLargeError: It is, or says it is, larger.
        OverloadedError: All bodies that are arriving come to more than MAX_ARRIVING_BYTES.
        RequestTimeoutError: It did not arrive within BODY_TIMEOUT_S.
        ClientDisconnect: The sender hung up.
    """
    encodings = request.headers.getlist("content-encoding")
    if any(encoding.lower() != "identity" for encoding in encodings):
        raise UnsupportedEncodingError("content-encoding")
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) > limit:
        raise BodyTooLargeError(f"{declared} bytes declared")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                _arriving.size_bytes += len(chunk)
                if size > limit:
                    raise BodyTooLargeError(f"more than {limit} bytes")
                if _arriving.size_bytes > MAX_ARRIVING_BYTES:
                    raise OverloadedError(f"{_arriving.size_bytes} bytes of bodies are arriving")
                chunks.append(chunk)
    except TimeoutError as exc:
        raise RequestTimeoutError(f"{size} bytes after {BODY_TIMEOUT_S} s") from exc
    finally:
        _arriving.size_bytes -= size
    return b"".join(chunks)


class _Arriving:
    """How much of unfinished bodies is held, over all connections of the process."""

    size_bytes = 0


_arriving: Final = _Arriving()


def error_response(error: VyroxError) -> Response:
    """Return the answer to `error`: its status, detail and headers, and nothing else of it."""
    kind = _DrainingResponse if isinstance(error, BodyTooLargeError) else JsonResponse
    return kind({"detail": error.detail}, error.status, error.headers)


class _DrainingResponse(JsonResponse):
    """Sends the answer, then reads on for a while before it ends.

    A sender that writes its whole body before it reads would otherwise find its connection reset
    and never see why.
    """

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        drained = 0
        try:
            async with asyncio.timeout(DRAINED_S):
                while drained < DRAINED_BYTES:
                    message = await receive()
                    drained += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            pass  # the sender has had its time; the connection is closed either way
        await send({"type": "http.response.body", "body": b""})


async def handle_vyrox_error(request: Request, error: Exception) -> Response:
    """Log what went wrong, with the request id, and return the generic answer."""
    assert isinstance(error, VyroxError)  # noqa: S101  (registered for this tree alone)
    level = logging.ERROR if error.status == 500 else logging.WARNING
    log.event(
        f"request.refused.{error.status}",
        level,
        request_id=request.state.request_id,
        path=request.scope["path"],
        error=type(error).__name__,
        reason=str(error),
        tenant=getattr(error, "tenant_id", None),
    )
    return error_response(error)


async def handle_http_exception(_request: Request, error: Exception) -> Response:
    """Return the JSON form of what Starlette itself refuses: 404 and 405."""
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for this class alone)
    detail = _DETAILS.get(error.status_code, "bad request")
    return JsonResponse({"detail": detail}, error.status_code, error.headers)
