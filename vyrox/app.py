"""The application: the groups of routes, and one lifespan that opens what they use.

`create_app` returns one application that serves both groups on one port, for development. It also
holds one application for each group, and the console. `vyrox.serve` runs each of these on its own
listener.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import ASGIApp

from vyrox.console.application import create_console
from vyrox.containment.responder import MakeClient
from vyrox.errors import VyroxError
from vyrox.http.application import JsonApplication
from vyrox.http.by_host import ByHost, hosts_of
from vyrox.lifespan.opening import open_resources
from vyrox.routes import ingestion, interactions, proxy, tenant_paths
from vyrox.routes.documents import serving
from vyrox.settings import DEFAULT_CONSOLE_PORT, Settings


def create_app(settings: Settings, make: MakeClient | None = None) -> Starlette:
    """Return the application for `settings`; nothing is opened before its lifespan starts.

    Its `state.ingestion_app`, `state.proxy_app` and `state.console_app` serve one listener each,
    while its lifespan runs. `make` makes the vendors' clients; None: the real ones.

    Raises:
        SettingsError: VYROX_HMAC_SECRET is not set.
    """
    settings.require_hmac_secret()
    origin = settings.console_origin_at(settings.console_port or DEFAULT_CONSOLE_PORT)
    console_app = create_console(origin)

    def by_host(others: ASGIApp) -> ASGIApp:
        # Only a request for the console's name reaches the console, and it reaches nothing else.
        if not settings.console_on_public:
            return others
        return ByHost(console_app, hosts_of(origin), others)

    public = [
        *ingestion.create_routes(),
        *tenant_paths.create_routes(),
        *interactions.create_routes(),
    ]
    private = [*proxy.create_routes(), *serving.create_routes()]
    ingestion_app = JsonApplication(public, around=by_host)
    # The private listener has no 503 (contract 19).
    proxy_app = JsonApplication(private, shutdown_error=VyroxError)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_resources(settings, make) as opened:
            app.state.ingestion = ingestion_app.state.ingestion = opened.ingestion
            app.state.proxy = proxy_app.state.proxy = opened.proxy
            console_app.state.console = opened.console
            app.state.summary = opened.summary
            yield

    # The first matching route serves a request, so `/health` is that of ingestion (contract 29).
    app = JsonApplication([*public, *private], lifespan=lifespan, around=by_host)
    for each in (app, ingestion_app, proxy_app, console_app):
        each.state.trusted_proxies = settings.trusted_proxies
    app.state.ingestion_app = ingestion_app
    app.state.proxy_app = proxy_app
    app.state.console_app = console_app
    return app


def __getattr__(name: str) -> Starlette:
    """Create `app` from the environment when `uvicorn vyrox.app:app` asks for it."""
    if name != "app":
        raise AttributeError(name)
    try:
        return create_app(Settings.from_process())
    except VyroxError as exc:
        raise SystemExit(f"vyrox: {exc}") from exc
