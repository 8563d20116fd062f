"""Waiting for a turn, no longer than a deadline allows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vyrox.edr.client import Deadline
from vyrox.errors import VendorError


@asynccontextmanager
async def held(
    lock: asyncio.Lock | asyncio.Semaphore, deadline: Deadline, name: str
) -> AsyncIterator[None]:
    """Hold `lock` during the block. Raises VendorError if its turn does not come in time."""
    try:
        # Not around the block, whose calls keep to the deadline themselves: two timeouts that end
        # together would cancel the task twice.
        async with asyncio.timeout_at(deadline.at):
            await lock.acquire()
    except TimeoutError as exc:
        raise VendorError(f"{name}: its turn did not come in time") from exc
    try:
        yield
    finally:
        lock.release()
