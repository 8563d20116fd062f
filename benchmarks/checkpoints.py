"""Measures what a checkpoint and a proof cost in a large log, and how long the event loop waits.

`python -m benchmarks.checkpoints` takes about a minute: it writes 1,000,000 actions of one tenant
to SQLite first. Times are of the wall; the machine should have nothing else to do.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Final

from tests.audit import TENANT, action
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.entry import Stream
from vyrox.chain.identity import Signer
from vyrox.chain.log_keys import new_key, read_log_keys
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.store.database import open_database

ENTRIES: Final = 1_000_000
AT_ONCE: Final = 5_000
STREAM: Final[Stream] = "actions"
TICK_S: Final = 0.002


class Lag:
    """How long the event loop was late, at most."""

    largest_s = 0.0

    async def watch(self) -> None:
        """Watch until cancelled."""
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self.largest_s = max(self.largest_s, time.perf_counter() - began - TICK_S)


async def measure(name: str, work: Awaitable[object], lag: Lag) -> None:
    """Print how long `work` takes."""
    lag.largest_s, began = 0.0, time.perf_counter()
    await work
    took_ms = (time.perf_counter() - began) * 1000
    print(f"{name}: {took_ms:.1f} ms; the loop waited {lag.largest_s * 1000:.1f} ms at most")


async def main() -> None:
    """Print the figures."""
    signer = Signer("vyrox/bench", read_log_keys([new_key()]))
    with tempfile.TemporaryDirectory(prefix="vx-checkpoints-") as directory:
        async with open_database(None, Path(directory)) as database:
            for _ in range(ENTRIES // AT_ONCE):
                drafts = [action("host")] * AT_ONCE
                await database.write(append, drafts, wall_clock(), timeout_s=60.0)
            lag = Lag()
            watching = asyncio.create_task(lag.watch())
            found = Checkpoints(database, wall_clock, signer)
            await measure("answer of an action", found.header(TENANT, ENTRIES), lag)
            await measure("first checkpoint", found.current(TENANT, STREAM), lag)
            await measure("next checkpoint", found.current(TENANT, STREAM), lag)
            for entry in (1, ENTRIES // 3, ENTRIES):
                proof = found.inclusion(TENANT, STREAM, entry, ENTRIES)
                await measure(f"proof of entry {entry}", proof, lag)
            grown = found.consistency(TENANT, STREAM, ENTRIES // 3, ENTRIES)
            await measure("proof of growth", grown, lag)
            again = Checkpoints(database, wall_clock, signer)
            await measure("answer after a restart", again.header(TENANT, ENTRIES), lag)
            watching.cancel()


if __name__ == "__main__":
    asyncio.run(main())
