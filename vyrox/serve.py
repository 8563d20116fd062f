"""`vyrox serve`: all listeners in one process and one event loop, with one lifespan."""

import asyncio
import contextlib
import dataclasses
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette

from vyrox import log
from vyrox.app import create_app
from vyrox.errors import OperatorError
from vyrox.http.connection_limit import (
    backlog,
    console_backlog,
    console_protocol,
    limited_protocol,
    max_connections,
    private_protocol,
    raise_file_limit,
)
from vyrox.http.listener import Server, address_of, bind
from vyrox.http.protocol import BoundedHttpProtocol
from vyrox.lifespan.fatal import check_fatal
from vyrox.settings import DEFAULT_CONSOLE_PORT, Settings

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
        OperatorError: What `check_fatal` finds; an address is in use, or a store cannot be opened.
            No port accepts connections before the stores are open.
    """
    check_fatal(settings)
    opening = asyncio.current_task()
    assert opening is not None  # noqa: S101  (a coroutine runs in a task)
    _on_signal(opening.cancel)
    with contextlib.ExitStack() as stack:
        public, private, console = _bind_all(settings, stack)
        if console is not None:
            origin = settings.console_origin_at(console.getsockname()[1])
            settings = dataclasses.replace(settings, console_origin=origin)
        app = create_app(settings)
        stack.enter_context(contextlib.suppress(asyncio.CancelledError))  # a signal at the start
        async with app.router.lifespan_context(app):
            files = raise_file_limit()
            waiting = backlog(files)
            for_public = limited_protocol(max_connections(files))
            servers = {
                "ingestion": (_server(app.state.ingestion_app, for_public, waiting), public),
                "proxy": (_server(app.state.proxy_app, private_protocol(files), waiting), private),
            }
            if console is not None:
                for_people = console_protocol(files)
                few = console_backlog(files)
                servers["console"] = (_server(app.state.console_app, for_people, few), console)
            _settle_interpreter()
            summary = msgspec.structs.asdict(app.state.summary)
            await _serve_all(servers, app.state.console_app, summary)
    log.event("stopped")


def _bind_all(
    settings: Settings, stack: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket, socket.socket | None]:
    """Return the sockets of the public, the private and the console's listener, if it has one."""
    opened = stack.enter_context
    public = bind(
        settings.ingestion_host, settings.ingestion_port, "INGESTION_HOST, INGESTION_PORT"
    )
    opened(public)
    private = opened(bind(settings.proxy_host, settings.proxy_port, "PROXY_HOST, PROXY_PORT"))
    console = None if settings.console_on_public else _bind_console(settings)
    return public, private, None if console is None else opened(console)


def _bind_console(settings: Settings) -> socket.socket | None:
    """Return the console's socket; None if its default port is taken, which is logged.

    Raises:
        OperatorError: The address is invalid, or the port was set and is taken.
    """
    port = DEFAULT_CONSOLE_PORT if settings.console_port is None else settings.console_port
    try:
        return bind(settings.console_host, port, "CONSOLE_HOST, CONSOLE_PORT")
    except OperatorError as exc:
        cause = exc.__cause__
        is_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
        if settings.console_port is not None or not is_taken:
            raise
        log.event("console.port_taken", logging.WARNING, port=port)
        return None


def _settle_interpreter() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.enable()  # `vyrox.cli.service`
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    # The objects that exist now stay until the end. To check them again would take 50 ms each time.
    gc.collect()
    gc.freeze()


async def _serve_all(
    servers: dict[str, tuple[Server, socket.socket]],
    console: Starlette,
    summary: dict[str, object],
) -> None:
    running = [server for server, _ in servers.values()]
    _on_signal(partial(_stop, running, console))
    async with asyncio.TaskGroup() as group:
        for server, listener in servers.values():
            # uvloop's `create_server` does not report that it cannot listen, so listen here.
            listener.listen(server.config.backlog)
            group.create_task(_serve_one(server, listener, running, console))
        addresses: dict[str, object] = {
            name: address_of(listener) for name, (_, listener) in servers.items()
        }
        log.event("serving", logging.INFO, **summary, **addresses)


async def _serve_one(
    server: Server, listener: socket.socket, running: list[Server], console: Starlette
) -> None:
    try:
        await server.serve([listener])
    finally:
        _stop(running, console)  # no listener may run alone


def _stop(running: list[Server], console: Starlette) -> None:
    console.state.is_stopping = True  # its long responses end themselves
    for server in running:
        server.stop()


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
