"""The mock on a socket, for callers in other processes and for faults that need a connection."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vyrox.http.listener import Server, address_of, bind
from vyrox.trial.mock_edr.delivery import CLOSE, RESET

GRACE_S: Final = 1
"""For requests in flight when the mock is stopped; a fault may hold one for long."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER, on, for no time at all."""


class _ResettableProtocol(HttpToolsProtocol):
    """Lets the application end the connection that a request came on."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"] |= {RESET: self._reset, CLOSE: self.transport.close}

    def _reset(self) -> None:
        descriptor = self.transport.get_extra_info("socket").fileno()
        # A second handle of the same connection: asyncio's and uvloop's own do not take options.
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


class Servable(Protocol):
    """A mock, as an application."""

    app: Starlette


@asynccontextmanager
async def serving(mock: Servable, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve `mock` until the block ends, and give its URL.

    Args:
        port: 0 for a free one.

    Raises:
        OperatorError: The address cannot be had.
    """
    config = uvicorn.Config(
        mock.app,
        http=_ResettableProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config)
    with bind(host, port) as listener:
        listener.listen()  # from here on connections wait instead of failing
        task = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://{address_of(listener)}"
        finally:
            server.stop()
            await task
