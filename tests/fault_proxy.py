"""A proxy between the service and a store, which can hold bytes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class FaultProxy:
    """Forwards bytes between clients and a server on unix sockets.

    Attributes:
        held: Set as soon as bytes are held back.
    """

    def __init__(self, server_path: Path) -> None:
        self._server_path = server_path
        self._requests_with: bytes | None = None
        self._replies_with: bytes | None = None
        self._requests_passed = 0
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._connections: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[object]] = set()
        self.held = asyncio.Event()

    def hold_requests(self, content: bytes = b"", after: int = 0) -> None:
        """Hold back all requests that contain `content`, except the next `after` of them.

        Later requests on the same connection wait too.
        """
        self._requests_with = content
        self._requests_passed = -after
        self._may_pass.clear()

    def hold_replies(self, content: bytes = b"") -> None:
        """Hold back all replies that contain `content`."""
        self._replies_with = content
        self._may_pass.clear()

    def release(self) -> None:
        """Forward the bytes that are held back, and all later bytes."""
        self._requests_with = self._replies_with = None
        self.held.clear()
        self._may_pass.set()

    async def hang_up(self) -> None:
        """Abort all connections, and drop the bytes that are held back."""
        for writer in self._connections:
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client to the server until one of them disconnects."""
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        with contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_unix_connection(self._server_path)
            both = {writer, server_writer}
            self._connections |= both
            ends = [
                asyncio.create_task(self._pass(reader, server_writer, is_request=True)),
                asyncio.create_task(self._pass(server_reader, writer, is_request=False)),
            ]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            for connection in both:
                connection.transport.abort()
            self._connections -= both
        writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        while data := await reader.read(1 << 20):
            if self._is_to_be_held(data, is_request=is_request):
                self.held.set()
                await self._may_pass.wait()
            writer.write(data)
            await writer.drain()

    def _is_to_be_held(self, data: bytes, *, is_request: bool) -> bool:
        content = self._requests_with if is_request else self._replies_with
        if content is None or content not in data:
            return False
        if is_request:
            self._requests_passed += 1
            return self._requests_passed > 0
        return True


@asynccontextmanager
async def fault_proxy(path: Path, server_path: Path) -> AsyncIterator[FaultProxy]:
    """Serve at the socket `path`, in front of the one at `server_path`."""
    proxy = FaultProxy(server_path)
    server = await asyncio.start_unix_server(proxy.serve, path)
    try:
        yield proxy
    finally:
        server.close()
        await proxy.hang_up()
        await server.wait_closed()
