"""The application: what is opened once, and the two groups of routes that use it.

`create_app` returns one Starlette application whose lifespan opens everything long-lived, and which
serves both groups on one port, for development. `vyrox.serve` takes the two sub-applications out of
it and gives each its own listener.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount

from vyrox import data_dir, log
from vyrox.asgi import RequestContext, handle_http_exception, handle_vyrox_error
from vyrox.background import every
from vyrox.clock import wall_clock
from vyrox.db import open_database
from vyrox.embedded import embedded_valkey
from vyrox.encryption import open_vault
from vyrox.errors import OperatorError, UnavailableError, VyroxError
from vyrox.health import INTERVAL_S as HEALTH_INTERVAL_S
from vyrox.health import Health
from vyrox.intake import Intake, delete_expired
from vyrox.queue import AlertQueue, connect
from vyrox.refill import Refill
from vyrox.routes import ingestion, proxy
from vyrox.settings import Settings
from vyrox.tenants import TenantDirectory

TENANTS_INTERVAL_S = 0.5
"""A change of a tenant is in force within a second."""

REFILL_INTERVAL_S = 2.0
RETENTION_INTERVAL_S = 3600.0
COUNTS_INTERVAL_S = 60.0


def create_app(settings: Settings) -> Starlette:
    """Return the application for `settings`; nothing is opened before its lifespan starts.

    Its `state.ingestion_app` and `state.proxy_app` are the sub-applications.

    Raises:
        SettingsError: VYROX_HMAC_SECRET is not set.
    """
    settings.require_hmac_secret()
    ingestion_app = _sub_application(ingestion.create_routes())
    proxy_app = _sub_application(proxy.create_routes())

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with open_ingestion(settings) as ingestion_app.state.ingestion:
            yield

    app = Starlette(routes=[Mount("/", ingestion_app)], lifespan=lifespan)
    app.state.ingestion_app = ingestion_app
    app.state.proxy_app = proxy_app
    return app


def _sub_application(routes: list[BaseRoute]) -> Starlette:
    # The handlers stand here because a parent's never see a sub-application's 404.
    app = Starlette(
        routes=routes,
        middleware=[Middleware(RequestContext)],
        exception_handlers={
            VyroxError: handle_vyrox_error,
            HTTPException: handle_http_exception,
        },
    )
    # A redirect would repeat the Host that the client sent.
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def open_ingestion(settings: Settings) -> AsyncIterator[ingestion.Ingestion]:
    """Open the stores, start the work that goes on beside the requests, and end both.

    Raises:
        OperatorError: The data directory is in use, or a store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        directory = data_dir.prepare(settings.data_dir)
        stack.enter_context(data_dir.owned(directory))
        try:
            database = await stack.enter_async_context(
                open_database(settings.database_url, directory)
            )
        except UnavailableError as exc:
            raise OperatorError(f"the database cannot be opened: {exc}") from exc
        redis_url = settings.redis_url
        if redis_url is None:
            redis_url = await stack.enter_async_context(embedded_valkey(directory))
        client = await stack.enter_async_context(connect(redis_url))
        tenants = TenantDirectory(
            database,
            open_vault(settings),
            settings.default_secrets,
            require_onboarding=settings.require_onboarding,
        )
        await tenants.refresh()
        intake = Intake(database, settings.redelivery_window_s)
        queue = AlertQueue(client, database, settings.queue_max_alerts)
        health = Health(database, queue, wall_clock)
        refill = Refill(client, queue, database)

        async def retain() -> None:
            await delete_expired(database, settings.retention_days * 86_400, wall_clock())

        await health.probe()
        # Should one of these end, which only a bug can do, the group ends the service: a process
        # that looks alive and accepts nothing would be worse.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for work in (
            intake.run(),
            queue.run(),
            every(TENANTS_INTERVAL_S, "tenants", tenants.refresh),
            every(HEALTH_INTERVAL_S, "health", health.probe),
            every(REFILL_INTERVAL_S, "refill", refill.run_if_due),
            every(RETENTION_INTERVAL_S, "retention", retain),
            every(COUNTS_INTERVAL_S, "counts", log.report_counts),
        ):
            stack.callback(group.create_task(work).cancel)
        yield ingestion.Ingestion(
            clock=wall_clock,
            max_body_bytes=settings.max_body_bytes,
            tenants=tenants,
            intake=intake,
            queue=queue,
            database=database,
            health=health,
        )


def __getattr__(name: str) -> Starlette:
    """Make `app` for `uvicorn vyrox.app:app` when it is asked for, from the environment."""
    if name != "app":
        raise AttributeError(name)
    try:
        return create_app(Settings.from_process())
    except VyroxError as exc:
        raise SystemExit(f"vyrox: {exc}") from exc
