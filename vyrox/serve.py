"""`vyrox serve`: both listeners in one process and one event loop, with one lifespan."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import uvicorn
from starlette.applications import Starlette

from vyrox import log
from vyrox.app import create_app
from vyrox.errors import OperatorError, SettingsError
from vyrox.http.connection_limit import (
    backlog,
    limited_protocol,
    max_connections,
    private_protocol,
    raise_file_limit,
)
from vyrox.http.protocol import BoundedHttpProtocol
from vyrox.settings import Settings

COLLECTOR_THRESHOLDS: Final = (10_000, 20, 50)
"""Of the garbage collector. Its defaults walk through everything several times a second under load,
and requests leave almost no cycles behind."""

SWITCH_INTERVAL_S: Final = 0.0001
"""How long the event loop may keep the interpreter's lock from the thread that writes to SQLite:
everybody waits for its commit. Python's own 5 ms is several commits."""

GRACE_S: Final = 20
"""For requests in flight after SIGTERM. Platforms kill after 30 s."""


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to `serve`, which has two of them to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish what is in flight and return.

    Raises:
        SettingsError: A required setting is missing, or the ports are the same.
        OperatorError: An address is taken, or a store cannot be opened. No port was open before.
    """
    app = create_app(settings)
    if settings.ingestion_port == settings.proxy_port != 0:
        raise SettingsError("INGESTION_PORT (or PORT) and PROXY_PORT must not be the same")
    opening = asyncio.current_task()
    assert opening is not None  # noqa: S101  (a coroutine runs in a task)
    _on_signal(opening.cancel)
    with (
        _bind("INGESTION", settings.ingestion_host, settings.ingestion_port) as public,
        _bind("PROXY", settings.proxy_host, settings.proxy_port) as private,
        contextlib.suppress(asyncio.CancelledError),  # by a signal, before there was a server
    ):
        async with app.router.lifespan_context(app):
            files = raise_file_limit()
            limit = max_connections(files)
            _settle_interpreter()
            await _serve_both(
                {
                    _server(
                        app.state.ingestion_app, limited_protocol(limit), backlog(files)
                    ): public,
                    _server(app.state.proxy_app, private_protocol(files), backlog(files)): private,
                }
            )
    log.event("stopped")


def _settle_interpreter() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    # What is there by now stays: looking through it again would stop all requests for 50 ms.
    gc.collect()
    gc.freeze()


async def _serve_both(servers: dict[_Server, socket.socket]) -> None:
    _on_signal(partial(_stop, servers))
    async with asyncio.TaskGroup() as group:
        for server, listener in servers.items():
            # Here, because uvloop's `create_server` says nothing when it cannot listen.
            listener.listen(server.config.backlog)
            group.create_task(_serve_one(server, listener, servers))
        public, private = map(_address, servers.values())
        log.event("serving", ingestion=public, proxy=private)


async def _serve_one(
    server: _Server, listener: socket.socket, servers: dict[_Server, socket.socket]
) -> None:
    try:
        await server.serve([listener])
    finally:
        _stop(servers)  # neither goes on without the other


def _stop(servers: dict[_Server, socket.socket]) -> None:
    for server in servers:
        server.should_exit = True


def _on_signal(callback: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup does with SIGHUP
            loop.add_signal_handler(number, callback)


def _server(app: Starlette, protocol: type[BoundedHttpProtocol], waiting: int) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=protocol,
            backlog=waiting,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a forged X-Forwarded-For is not to be believed
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def _bind(name: str, host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet: until it does, connections are refused."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as exc:
        # UnicodeError: the host has a part that is empty or too long for a name.
        reason = exc.strerror if isinstance(exc, OSError) else "no host name"
        raise OperatorError(f"{name}_HOST/{name}_PORT {host}:{port}: {reason}") from exc
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
