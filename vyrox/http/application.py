"""The application of a listener: request ids, and errors as JSON (contract 1 and 2)."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from vyrox import log
from vyrox.errors import UnavailableError, VyroxError
from vyrox.http.explaining import explained
from vyrox.http.responses import JsonResponse, error_response
from vyrox.http.senders import sender_of
from vyrox.ids import new_id

MAX_LOGGED_CHARACTERS: Final = 128
"""How much is logged of the method and of the path of a request that no route serves."""

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")

_DETAILS: Final = {404: "not found", 405: "method not allowed"}

Endpoint = Callable[[Request], Awaitable[Response]]

Respond = Callable[[Scope, VyroxError], Response]
"""Makes the response to a request that ended with an error."""


def respond_as_json(scope: Scope, error: VyroxError) -> Response:
    """Return the response that programs read (contract 1)."""
    return error_response(error, explained(scope, error))


class JsonApplication(Starlette):
    """Starlette with `RequestContext` around its routes."""

    def __init__(
        self,
        routes: Sequence[BaseRoute],
        *,
        shutdown_error: type[VyroxError] = UnavailableError,
        lifespan: Lifespan[Starlette] | None = None,
        around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        """Create it.

        Args:
            shutdown_error: Becomes the response to a request that the shutdown cancels.
            around: Adds a layer outside of all others.
        """
        super().__init__(routes=routes, lifespan=lifespan)
        # A redirect would repeat the Host that the client sent.
        self.router.redirect_slashes = False
        self._endpoints = post_endpoints(routes)
        self._shutdown_error = shutdown_error
        self._around = around

    def build_middleware_stack(self) -> ASGIApp:
        """Return the layers of this application. Starlette calls this once."""
        handlers = {HTTPException: handle_http_exception}
        layers = ExceptionMiddleware(self.router, handlers)
        return self._around(RequestContext(layers, self._shutdown_error, self._endpoints))


def post_endpoints(routes: Iterable[BaseRoute]) -> dict[str, Endpoint]:
    """Return the endpoint of each route that serves only POST and whose path has no parameters."""
    return {
        route.path: route.endpoint
        for route in routes
        if isinstance(route, Route) and route.methods == {"POST"} and not route.param_convertors
    }


class RequestContext:
    """The layer around the routes of an application.

    It gives each request an id, adds the id to the response, and turns errors into responses. An
    unexpected error becomes a 500 that says nothing about it.
    """

    def __init__(
        self,
        app: ASGIApp,
        shutdown_error: type[VyroxError] = UnavailableError,
        endpoints: dict[str, Endpoint] | None = None,
        respond: Respond = respond_as_json,
    ) -> None:
        """Add the layer to `app`.

        Args:
            app: Serves every request that `endpoints` does not serve.
            shutdown_error: Becomes the response to a request that the shutdown cancels.
            endpoints: Endpoints of POST by path, called directly. The way through Starlette's
                layers costs as much as authenticating an alert.
            respond: Makes the response to an error.
        """
        self._app = app
        self._shutdown_error = shutdown_error
        self._endpoints = endpoints or {}
        self._respond = respond

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
            is_post = scope.get("method") == "POST"
            endpoint = self._endpoints.get(scope["path"]) if is_post else None
            if endpoint is None:
                await self._app(scope, receive, send_with_id)
            else:
                response = await endpoint(Request(scope, receive))
                await response(scope, receive, send_with_id)
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001  (all become responses)
            error = self._log_error(exc, scope, request_id)
            if error is not None and not started:
                await self._respond(scope, error)(scope, receive, send_with_id)

    def _log_error(self, exc: BaseException, scope: Scope, request_id: str) -> VyroxError | None:
        """Log `exc`. Return the error to respond with, or None if the client has disconnected."""
        match exc:
            case ClientDisconnect():
                log.event("request.client_disconnected", logging.WARNING, request_id=request_id)
                return None
            case VyroxError():
                _log_refusal(exc, scope, request_id)
                return exc
            case asyncio.CancelledError():
                # The shutdown cancels this request. If the cancellation went on to uvicorn, uvicorn
                # would respond in plain text.
                log.event("request.cancelled", logging.WARNING, request_id=request_id)
                return self._shutdown_error()
            case _:
                # The log line contains the traceback. The response must not.
                log.event("request.failed", logging.ERROR, request_id=request_id)
                return VyroxError()


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    sent = [value for name, value in headers if name == b"x-request-id"]
    if len(sent) == 1 and _REQUEST_ID.fullmatch(sent[0]):
        return sent[0].decode()
    return new_id()


def _log_refusal(error: VyroxError, scope: Scope, request_id: str) -> None:
    log.event(
        f"request.refused.{error.status}",
        logging.ERROR if error.status == 500 else logging.WARNING,
        request_id=request_id,
        path=scope["path"],
        error=type(error).__name__,
        reason=str(error),
        tenant=getattr(error, "tenant_id", None),
        address=sender_of(scope),
        **error.log_fields,
    )


def request_id_of(request: Request) -> str:
    """Return the request's id (contract 2)."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id


def header_values(request: Request, name: bytes) -> list[bytes]:
    """Return the values of every header called `name` (lower case), as bytes."""
    return [value for header, value in request.scope["headers"] if header == name]


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Log a request that Starlette refuses (404, 405), and return the response as JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101  (registered for this class only)
    log.paced_event(
        f"request.refused.{error.status_code}",
        request_id=request_id_of(request),
        method=_escaped(request.scope["method"]),
        path=_escaped(request.scope["path"]),
        address=sender_of(request.scope),
    )
    detail = _DETAILS.get(error.status_code, "bad request")
    headers = _allowed(request) if error.status_code == 405 else error.headers
    return JsonResponse({"detail": detail}, error.status_code, headers)


def _allowed(request: Request) -> dict[str, str]:
    """Return the methods of the path. Starlette names those of one route of it."""
    routes = [each for each in request.app.routes if isinstance(each, Route)]
    here = [each for each in routes if each.matches(request.scope)[0] is not Match.NONE]
    return {"allow": ", ".join(sorted({one for each in here for one in each.methods or ()}))}


def _escaped(text: str) -> str:
    """Return at most MAX_LOGGED_CHARACTERS of printable ASCII: the client chose `text`."""
    return ascii(text[:MAX_LOGGED_CHARACTERS])[1:-1][:MAX_LOGGED_CHARACTERS]
