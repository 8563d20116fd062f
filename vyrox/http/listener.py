"""A TCP listener: its socket, its address as text, and uvicorn without signal handlers."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from vyrox.errors import OperatorError

DATE_S: Final = 1.0


class Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to its caller, and the processor to others."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield

    async def main_loop(self) -> None:
        """Renew the date of the responses each second, until `stop`.

        uvicorn looks ten times a second whether it is to end.
        """
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_S):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Finish the requests in progress, and end."""
        self.should_exit = True
        self._stopping.set()


def small_server(app: ASGIApp) -> Server:
    """Return a server for a few callers: without a log, and with little patience at its end."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=1,
    )
    return Server(config)


def bind(host: str, port: int, setting: str = "") -> socket.socket:
    """Return a bound socket. It refuses connections until its owner calls `listen`.

    Args:
        host: A name or an address.
        port: 0 for a free port.
        setting: The name of the setting, for the error's text.

    Raises:
        OperatorError: The address is invalid, not local, or in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as unless_bound:
            # With its protocol: otherwise asyncio does not switch off the delay of small writes.
            listener = unless_bound.enter_context(
                socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            )
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            unless_bound.pop_all()
    except (OSError, UnicodeError) as exc:
        # UnicodeError: a part of the host name is empty or too long.
        reason = exc.strerror if isinstance(exc, OSError) else "invalid host name"
        named = f" ({setting})" if setting else ""
        raise OperatorError(f"cannot listen on {host}:{port}{named}: {reason}") from exc
    return listener


def address_of(listener: socket.socket) -> str:
    """Return host and port as they are written in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
