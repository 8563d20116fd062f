"""A server that speaks RESP and answers what a test tells it to: what no real server can be made to
say on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

Command = list[bytes]

OK = b"+OK\r\n"
HANG_UP = None
"""As an answer: none, and the connection ends."""

SILENCE = b""
"""As an answer: none, and the connection stays open."""


class FakeRedis:
    """Answers each command with what `answer` returns for it.

    Attributes:
        commands: Every command received, but for those that introduce a client.
        connections: How many clients have connected.
        hangs_up: Whether a connection ends after its first answer.
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
        """Answer one client."""
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
            pass  # the client has gone
        finally:
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Drop every connection."""
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
    """Run a server in `directory` until the block ends; give it and its URL."""
    fake = FakeRedis(answer)
    path = directory / "fake.sock"
    server = await asyncio.start_unix_server(fake.serve, path)
    try:
        yield fake, f"unix://{path}"
    finally:
        server.close()
        fake.hang_up()
        await server.wait_closed()
