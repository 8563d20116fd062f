"""`vyrox serve`: both listeners in one process and one event loop, with one lifespan."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import uvicorn
from starlette.applications import Starlette

from vyrox import log
from vyrox.app import create_app
from vyrox.errors import SettingsError
from vyrox.http.connection_limit import (
    backlog,
    limited_protocol,
    max_connections,
    private_protocol,
    raise_file_limit,
)
from vyrox.http.listener import Server, address_of, bind
from vyrox.http.protocol import BoundedHttpProtocol
from vyrox.settings import Settings

COLLECTOR_THRESHOLDS: Final = (10_000, 20, 50)
"""When the garbage collector runs. With its defaults it would check all objects several times a
second under load, and requests leave almost no cycles behind."""

SWITCH_INTERVAL_S: Final = 0.0001
"""How long the event loop may keep the interpreter's lock while the thread that writes to SQLite
waits for it. Every request waits for a commit, and Python's default of 5 ms equals several."""

GRACE_S: Final = 20
"""How long requests in progress may run after SIGTERM. Platforms send SIGKILL after 30 s."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish the requests in progress and return.

    Raises:
        SettingsError: A required setting is missing, or the ports are the same.
        OperatorError: An address is in use, or a store cannot be opened. No port accepts
            connections before the stores are open.
    """
    app = create_app(settings)
    if settings.ingestion_port == settings.proxy_port != 0:
        raise SettingsError("INGESTION_PORT (or PORT) and PROXY_PORT must not be the same")
    opening = asyncio.current_task()
    assert opening is not None  # noqa: S101  (a coroutine runs in a task)
    _on_signal(opening.cancel)
    with (
        bind(
            settings.ingestion_host, settings.ingestion_port, "INGESTION_HOST, INGESTION_PORT"
        ) as public,
        bind(settings.proxy_host, settings.proxy_port, "PROXY_HOST, PROXY_PORT") as private,
        contextlib.suppress(asyncio.CancelledError),  # a signal before the servers run
    ):
        async with app.router.lifespan_context(app):
            files = raise_file_limit()
            waiting = backlog(files)
            for_public = limited_protocol(max_connections(files))
            for_private = private_protocol(files)
            _settle_interpreter()
            await _serve_both(
                {
                    _server(app.state.ingestion_app, for_public, waiting): public,
                    _server(app.state.proxy_app, for_private, waiting): private,
                }
            )
    log.event("stopped")


def _settle_interpreter() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    # The objects that exist now stay until the end. To check them again would take 50 ms each time.
    gc.collect()
    gc.freeze()


async def _serve_both(servers: dict[Server, socket.socket]) -> None:
    _on_signal(partial(_stop, servers))
    async with asyncio.TaskGroup() as group:
        for server, listener in servers.items():
            # uvloop's `create_server` does not report that it cannot listen, so listen here.
            listener.listen(server.config.backlog)
            group.create_task(_serve_one(server, listener, servers))
        public, private = map(address_of, servers.values())
        log.event("serving", ingestion=public, proxy=private)


async def _serve_one(
    server: Server, listener: socket.socket, servers: dict[Server, socket.socket]
) -> None:
    try:
        await server.serve([listener])
    finally:
        _stop(servers)  # one listener must not run without the other


def _stop(servers: dict[Server, socket.socket]) -> None:
    for server in servers:
        server.should_exit = True


def _on_signal(callback: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            loop.add_signal_handler(number, callback)


def _server(app: Starlette, protocol: type[BoundedHttpProtocol], waiting: int) -> Server:
    return Server(
        uvicorn.Config(
            app,
            http=protocol,
            backlog=waiting,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # X-Forwarded-For can be forged
            timeout_graceful_shutdown=GRACE_S,
        )
    )
