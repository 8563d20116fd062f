"""A server that answers as an OpenAI-compatible one does, on a real socket, also badly."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

Behaviour = dict[str, Any] | str | int | bytes | Literal["hang", "endless"]
"""A note, the text of an answer, a status, a whole body, or what a bad server does."""


@dataclass
class LanguageModel:
    """What was asked, and how the next requests are answered."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    behaviours: deque[Behaviour] = field(default_factory=deque)

    @property
    def material(self) -> dict[str, Any]:
        """What was sent of the incident, with the last request."""
        sent: dict[str, Any] = json.loads(self.requests[-1]["messages"][1]["content"])
        return sent

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            self.headers.append({**headers, "line": lines[0]})
            self.requests.append(json.loads(body))
            await self._respond(self.behaviours.popleft(), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _respond(
        self, behaviour: Behaviour, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if behaviour == "hang":
            await reader.read()  # until the client goes
            return
        status = behaviour if isinstance(behaviour, int) else 200
        writer.write(f"HTTP/1.1 {status} x\r\nlocation: {self.url}/elsewhere\r\n".encode())
        if behaviour == "endless":
            writer.write(b"connection: close\r\n\r\n")
            while True:
                writer.write(b" " * 65_536)
                await writer.drain()
        body = _body(behaviour)
        writer.write(f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
        await writer.drain()


def _body(behaviour: Behaviour) -> bytes:
    if isinstance(behaviour, bytes):
        return behaviour
    content = behaviour if isinstance(behaviour, str) else json.dumps(behaviour)
    completion = {
        "id": "x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    return json.dumps(completion).encode()


@asynccontextmanager
async def language_model(*behaviours: Behaviour) -> AsyncIterator[LanguageModel]:
    """Run a server until the block ends."""
    model = LanguageModel(behaviours=deque(behaviours))
    server = await asyncio.start_server(model.answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    model.url = f"http://{host}:{port}/v1"
    try:
        yield model
    finally:
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None
