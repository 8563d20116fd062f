"""What every route shares: request ids, bounded bodies, errors as JSON (contract 1 and 2)."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vyrox import log
from vyrox.errors import (
    BodyTooLargeError,
    RequestTimeoutError,
    UnavailableError,
    UnsupportedEncodingError,
    VyroxError,
)
from vyrox.http.shared_timeout import SharedTimeout
from vyrox.ids import new_id

BODY_TIMEOUT_S: Final = 30.0
"""For the whole body to arrive."""

MAX_ARRIVING_BYTES: Final = 128 * 1024 * 1024
"""Total size of partly received bodies on one listener. The senders are not authenticated yet, so
this memory must be bounded."""

DRAINED_BYTES: Final = 4 * 1024 * 1024
DRAINED_S: Final = 2.0
"""How much, and for how long, a body that is too large is read on, so that its sender gets to
reading the answer (contract, MAX_BODY_BYTES)."""

MAX_LOGGED: Final = 128
"""Characters of the method or the path of a request that no route serves."""

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")

_DETAILS: Final = {404: "not found", 405: "method not allowed"}


class JsonResponse(Response):
    """A JSON answer."""

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


Endpoint = Callable[[Request], Awaitable[Response]]


class RequestContext:
    """The outermost layer of each listener's application.

    Gives every request its id, puts the id on the answer, turns errors into answers (what no
    handler caught into a 500 without a word of it), and answers what the shutdown cuts short.
    """

    def __init__(
        self,
        app: ASGIApp,
        cut_short: type[VyroxError] = UnavailableError,
        posts: Mapping[str, Endpoint] | None = None,
    ) -> None:
        """`app` serves what `posts` does not.

        Args:
            cut_short: The answer to a request that the shutdown does not wait for.
            posts: By path, the endpoints of POST that are served right here: going through
                Starlette's layers to a route costs as much as authenticating an alert.
        """
        self._app = app
        self._cut_short = cut_short
        self._posts = posts or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            endpoint = self._posts.get(scope["path"]) if scope.get("method") == "POST" else None
            if endpoint is None:
                await self._app(scope, receive, send_with_id)
            else:
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, send_with_id)
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001  (none may leave)
            error = self._logged(exc, scope, request_id)
            if error is not None and not started:
                await error_response(error)(scope, receive, send_with_id)

    def _logged(self, exc: BaseException, scope: Scope, request_id: str) -> VyroxError | None:
        """Log what ended a request; return what is to be answered, None where nobody listens."""
        match exc:
            case ClientDisconnect():
                log.event("request.client_disconnected", logging.WARNING, request_id=request_id)
                return None
            case VyroxError():
                _log_refusal(exc, scope["path"], request_id)
                return exc
            case asyncio.CancelledError():
                # Shutdown waits no longer. It ends here: uvicorn would answer it in plain text.
                log.event("request.cancelled", logging.WARNING, request_id=request_id)
                return self._cut_short()
            case _:
                # A traceback must not leave the process; it is logged.
                log.event("request.failed", logging.ERROR, request_id=request_id)
                return VyroxError()


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    sent = [value for name, value in headers if name == b"x-request-id"]
    if len(sent) == 1 and _REQUEST_ID.fullmatch(sent[0]):
        return sent[0].decode()
    return new_id()


def _log_refusal(error: VyroxError, path: str, request_id: str) -> None:
    log.event(
        f"request.refused.{error.status}",
        logging.ERROR if error.status == 500 else logging.WARNING,
        request_id=request_id,
        path=path,
        error=type(error).__name__,
        reason=str(error),
        tenant=getattr(error, "tenant_id", None),
    )


def request_id_of(request: Request) -> str:
    """Return the request's id (contract 2)."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id


def header_values(request: Request, name: bytes) -> list[bytes]:
    """Return the values of every header called `name` (lower case), as bytes."""
    return [value for header, value in request.scope["headers"] if header == name]


class IncompleteBodies:
    """The partly received bodies of one listener, bounded by MAX_ARRIVING_BYTES.

    Beyond the limit, the body that has been arriving longest is dropped. An unauthenticated client
    that keeps its bodies unfinished loses them; a body that arrives at a normal pace is accepted.
    """

    def __init__(self) -> None:
        """Start with no bodies."""
        self.size_bytes = 0
        self._sizes: dict[asyncio.Task[object], int] = {}  # the oldest body first

    def add(self, task: asyncio.Task[object], size_bytes: int) -> None:
        """Count `size_bytes` more of the body that `task` reads; drop others if needed.

        Raises:
            RequestTimeoutError: This body itself has been arriving longest.
        """
        self._sizes[task] = self._sizes.get(task, 0) + size_bytes
        self.size_bytes += size_bytes
        while self.size_bytes > MAX_ARRIVING_BYTES:
            oldest = next(iter(self._sizes))
            self.remove(oldest)
            log.counts["http.body_dropped"] += 1
            if oldest is task:
                raise RequestTimeoutError(f"more than {MAX_ARRIVING_BYTES} bytes are arriving")
            _body_time.end(oldest)

    def remove(self, task: asyncio.Task[object]) -> None:
        """Stop counting the body that `task` reads."""
        self.size_bytes -= self._sizes.pop(task, 0)


async def read_body(request: Request, limit: int, arriving: IncompleteBodies) -> bytes:
    """Return the request's whole body, at most `limit` bytes.

    Raises:
        UnsupportedEncodingError: It is compressed.
        BodyTooLargeError: It is, or says it is, larger.
        RequestTimeoutError: It did not arrive within BODY_TIMEOUT_S, or bodies that began to arrive
            later needed its memory.
        ClientDisconnect: The sender hung up.
    """
    for name, value in request.scope["headers"]:
        if name == b"content-length" and int(value) > limit:
            raise BodyTooLargeError(f"{int(value)} bytes declared")
        if name == b"content-encoding" and value.lower() != b"identity":
            raise UnsupportedEncodingError("content-encoding")
    with _body_time:
        message = await request.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise BodyTooLargeError(f"more than {limit} bytes")
            return body
        return await _read_chunks(message, request.receive, limit, arriving)


async def _read_chunks(
    message: Message, receive: Receive, limit: int, arriving: IncompleteBodies
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
            arriving.add(task, len(chunk))
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()
    finally:
        arriving.remove(task)


_body_time: Final = SharedTimeout(
    BODY_TIMEOUT_S,
    lambda: RequestTimeoutError(f"not there after {BODY_TIMEOUT_S} s, or memory was needed"),
)


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


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Return the JSON form of what Starlette itself refuses, and log it: 404 and 405."""
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for this class alone)
    log.paced_event(
        f"request.refused.{error.status_code}",
        request_id=request_id_of(request),
        method=_escaped(request.scope["method"]),
        path=_escaped(request.scope["path"]),
    )
    detail = _DETAILS.get(error.status_code, "bad request")
    return JsonResponse({"detail": detail}, error.status_code, error.headers)


def _escaped(text: str) -> str:
    """Return at most MAX_LOGGED characters of printable ASCII: the client chose `text`."""
    return ascii(text[:MAX_LOGGED])[1:-1][:MAX_LOGGED]
