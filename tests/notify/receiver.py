"""A receiver of notifications on a real socket, with a response for each request."""

import asyncio
import gzip
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn

from vyrox.http.listener import Server, address_of, bind

Behaviour = int | Literal["hang", "endless", "redirect", "bomb"]
"""A status, or what a bad receiver does."""


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """What was received, and how the next requests are answered; a 200 after that."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    behaviours: deque[Behaviour] = field(default_factory=deque)
    on_request: Callable[[Received], None] = lambda _: None
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.received]

    async def app(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        else:
            return  # interrupted: it was not received
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path = scope["raw_path"].decode() + (
            f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        )
        request = Received(path, headers, body)
        self.received.append(request)
        self.on_request(request)
        behaviour = self.behaviours.popleft() if self.behaviours else 200
        if behaviour == "hang":
            await receive()  # returns when the client disconnects
            self.disconnected.set()
            return
        await self._respond(behaviour, receive, send)

    async def _respond(self, behaviour: Behaviour, receive: Any, send: Any) -> None:  # noqa: ANN401
        status = (
            behaviour if isinstance(behaviour, int) else 307 if behaviour == "redirect" else 200
        )
        if behaviour == "bomb":
            await _send_bomb(send)
            return
        location = [(b"location", f"{self.url}/elsewhere".encode())]
        start = {"type": "http.response.start", "status": status, "headers": location}
        await send(start)
        more = behaviour == "endless"
        await send({"type": "http.response.body", "body": b"CANARY-RESPONSE", "more_body": more})
        if more:
            gone = asyncio.ensure_future(receive())
            while not gone.done():
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
                await asyncio.sleep(0)
            self.disconnected.set()


async def _send_bomb(send: Any) -> None:  # noqa: ANN401
    """Respond with half a megabyte that becomes half a gigabyte when it is unpacked."""
    body = gzip.compress(bytes(1024 * 1024)) * 512
    headers = [(b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def receiving(tls: tuple[str, str] | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver until the block ends.

    Args:
        tls: The files of a certificate and its key. None: http.
    """
    receiver = Receiver()
    config = uvicorn.Config(
        receiver.app,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
    )
    server = Server(config)
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        task = asyncio.create_task(server.serve([listener]))
        receiver.url = f"{'https' if tls else 'http'}://{address_of(listener)}"
        try:
            yield receiver
        finally:
            server.stop()
            await task
