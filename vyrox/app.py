"""The application: what is opened once, and the two groups of routes that use it.

`create_app` returns one Starlette application whose lifespan opens everything long-lived, and which
serves both groups on one port, for development. `vyrox.serve` takes the application of each group
out of it and gives each its own listener.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Lifespan

from vyrox.containment.responder import MakeClient
from vyrox.errors import UnavailableError, VyroxError
from vyrox.http.application import Endpoint, RequestContext, handle_http_exception
from vyrox.lifespan import open_resources
from vyrox.routes import ingestion, proxy
from vyrox.settings import Settings

_PROXY_POSTS: dict[str, Endpoint] = {"/execute": proxy.execute, "/lift": proxy.lift}


def create_app(settings: Settings, make: MakeClient | None = None) -> Starlette:
    """Return the application for `settings`; nothing is opened before its lifespan starts.

    Its `state.ingestion_app` and `state.proxy_app` serve one group of routes each, while its
    lifespan runs. `make` makes the vendors' clients; None: the real ones.

    Raises:
        SettingsError: VYROX_HMAC_SECRET is not set.
    """
    settings.require_hmac_secret()
    public, private = ingestion.create_routes(), proxy.create_routes()
    ingestion_app = _Application(public, ingestion.POSTS)
    # The private listener has no 503 (contract 19).
    proxy_app = _Application(private, _PROXY_POSTS, cut_short=VyroxError)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_resources(settings, make) as (for_ingestion, for_proxy):
            app.state.ingestion = ingestion_app.state.ingestion = for_ingestion
            app.state.proxy = proxy_app.state.proxy = for_proxy
            yield

    # The first route that matches serves: `/health` is ingestion's (contract 29).
    posts = {**ingestion.POSTS, **_PROXY_POSTS}
    app = _Application([*public, *private], posts, lifespan=lifespan)
    app.state.ingestion_app = ingestion_app
    app.state.proxy_app = proxy_app
    return app


class _Application(Starlette):
    """Starlette with `RequestContext` for its outermost layer."""

    def __init__(
        self,
        routes: list[BaseRoute],
        posts: Mapping[str, Endpoint],
        *,
        cut_short: type[VyroxError] = UnavailableError,
        lifespan: Lifespan[Starlette] | None = None,
    ) -> None:
        super().__init__(routes=routes, lifespan=lifespan)
        # A redirect would repeat the Host that the client sent.
        self.router.redirect_slashes = False
        self._posts = posts
        self._cut_short = cut_short

    def build_middleware_stack(self) -> ASGIApp:
        handlers = {HTTPException: handle_http_exception}
        layers = ExceptionMiddleware(self.router, handlers)
        return RequestContext(layers, self._cut_short, self._posts)


def __getattr__(name: str) -> Starlette:
    """Make `app` for `uvicorn vyrox.app:app` when it is asked for, from the environment."""
    if name != "app":
        raise AttributeError(name)
    try:
        return create_app(Settings.from_process())
    except VyroxError as exc:
        raise SystemExit(f"vyrox: {exc}") from exc
