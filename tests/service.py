"""`vyrox serve` as its users run it: a process of its own, on real sockets."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.polling import PATIENCE_S

HMAC_SECRET = "test-hmac-secret-0123456789-0123456789"
ROOT = Path(__file__).parent.parent


class Service:
    """A running service and what it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ingestion_url = ""
        self.proxy_url = ""
        self.console_url = ""
        self.lines: list[dict[str, object]] = []
        self.output: list[str] = []
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            async with self._changed:
                self.output.append(raw.decode())
                if raw.startswith(b"{"):
                    self.lines.append(json.loads(raw))
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, event: str, count: int = 1) -> dict[str, object]:
        """Return the `count`th line about `event`, as soon as it is logged."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            while len(found := [line for line in self.lines if line["event"] == event]) < count:
                if self._reader.done():
                    raise AssertionError("the service ended: " + "".join(self.output))
                await self._changed.wait()
        return found[count - 1]

    async def ended(self) -> int:
        """Return the exit code, once the process has ended and its last line was read."""
        async with asyncio.timeout(PATIENCE_S + 20):  # it may wait so long for requests in progress
            await asyncio.shield(self._reader)  # a caller that waits no longer must not end it
            return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def environment(data_dir: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return what the service gets to see of the environment: free ports, and `extra`."""
    return {
        "PATH": os.environ["PATH"],
        "VYROX_HMAC_SECRET": HMAC_SECRET,
        # Most tests read the queue themselves.
        "TRIAGE_ENABLED": "false",
        "VYROX_DATA_DIR": str(data_dir),
        "INGESTION_HOST": "127.0.0.1",
        "INGESTION_PORT": "0",
        "PROXY_PORT": "0",
        "CONSOLE_PORT": "0",
        **extra,
    }


@asynccontextmanager
async def running_service(data_dir: Path, *command: str, **extra: str) -> AsyncIterator[Service]:
    """Run `vyrox serve` (or `command`) until the block ends; SIGKILL it if it still runs then."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(command or ("-m", "vyrox", "serve")),
        cwd=ROOT,
        env=environment(data_dir, extra),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    service = Service(process)
    try:
        serving = await service.wait_for("serving")
        service.ingestion_url = f"http://{serving['ingestion']}"
        service.proxy_url = f"http://{serving['proxy']}"
        service.console_url = f"http://{serving.get('console')}"
        yield service
    finally:
        if process.returncode is None:
            process.kill()
        await service.ended()
