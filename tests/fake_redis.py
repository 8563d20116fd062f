"""A fake Redis that sends any reply that a test needs, also replies that no real server sends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

Command = list[bytes]

OK = b"+OK\r\n"
HANG_UP = None
"""Instead of a reply: the connection is closed."""

SILENCE = b""
"""Instead of a reply: nothing, and the connection stays open."""


class FakeRedis:
    """Replies to each command with the result of `answer`.

    Attributes:
        commands: All received commands except CLIENT.
        connections: How many clients have connected.
        hangs_up: Whether each connection is closed after its first reply.
    """

    def __init__(self, answer: Callable[[Command], bytes | None]) -> None:
        self.answer = answer
        self.commands: list[Command] = []
        self.connections = 0
        self.hangs_up = False
        self._writers: set[asyncio.StreamWriter] = set()

    def count(self, name: bytes) -> int:
        """Return how often the command `name` was received."""
        return sum(command[0] == name for command in self.commands)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self._writers.add(writer)
        self.connections += 1
        try:
            while True:
                command = await _read_command(reader)
                if command[0] == b"CLIENT":
                    writer.write(OK)
                    continue
                self.commands.append(command)
                answer = self.answer(command)
                if answer is not None:
                    writer.write(answer)
                if answer is None or self.hangs_up:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has disconnected
        finally:
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Abort all connections."""
        for writer in self._writers:
            writer.transport.abort()


async def _read_command(reader: asyncio.StreamReader) -> Command:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    command = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        command.append((await reader.readexactly(size + 2))[:-2])
    return command


@asynccontextmanager
async def fake_redis(
    directory: Path, answer: Callable[[Command], bytes | None]
) -> AsyncIterator[tuple[FakeRedis, str]]:
    """Run a server in `directory` until the block ends; yield it and its URL."""
    fake = FakeRedis(answer)
    path = directory / "fake.sock"
    server = await asyncio.start_unix_server(fake.serve, path)
    try:
        yield fake, f"unix://{path}"
    finally:
        server.close()
        fake.hang_up()
        await server.wait_closed()
