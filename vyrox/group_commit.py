"""Many waiting callers, one write.

A write that costs an fsync or a round trip costs the same for one item as for a hundred. Callers
hand in an item and wait; a single task takes everything that is waiting, writes it at once, and
tells each caller its own result. While one batch is being written the next one gathers.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

from vyrox.errors import OverloadedError, UnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WAITING = 8192
"""Callers that may wait at once; beyond it the answer is 503, not memory."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
MAX_BATCH = 512
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A batch of the largest bodies must still be written well within a caller's patience."""

ENOUGH: Final = 32
"""A batch of so many, or of MAX_BATCH_BYTES, is not held back for more: what a write costs is
shared by enough."""


class GroupCommit(Generic[Item, Result]):
    """Gathers items and writes them in batches, one batch at a time, in order of arrival.

    The write runs in the task of `run`, never in a caller's: a caller that is cancelled loses its
    future and nothing else, so a write is never left half done (a lock around the write alone
    would be freed by the cancellation while the write goes on).
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        size_bytes: Callable[[Item], int],
        gather_s: float = 0.0,
    ) -> None:
        """`write` returns one result per item, in order; what it raises reaches all its callers.

        Args:
            gather_s: How long a batch is held back at most, until as many wait as were there when
                the last one ended: those it answered, who may come again at once, and those who
                waited already. Without it, callers who come again settle in two groups, of which
                each waits for the other's write.
        """
        self._write = write
        self._size_bytes = size_bytes
        self._gather_s = gather_s
        self._waiting: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._waiting_bytes = 0
        self._wanted = 1  # callers, for `run` to go on
        self._arrived = asyncio.Event()

    async def submit(self, item: Item) -> Result:
        """Return what the write returned for `item`, once it is written.

        Raises:
            OverloadedError: Too many callers are waiting; the item was not taken.
            Exception: Whatever the write raised for the item's batch.
        """
        size = self._size_bytes(item)
        full = len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES
        if full and self._waiting:  # alone, an item is taken however large
            raise OverloadedError(f"{len(self._waiting)} callers are waiting")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, size, future))
        self._waiting_bytes += size
        if self._are_enough():
            self._arrived.set()
        return await future

    async def run(self) -> None:
        """Write what arrives until cancelled. A cancelled writer refuses whoever still waits."""
        expected = 1
        try:
            while True:
                await self._until_waiting(1)
                if self._gather_s:
                    with suppress(TimeoutError):  # held back for long enough
                        async with asyncio.timeout(self._gather_s):
                            await self._until_waiting(min(expected, ENOUGH))
                batch = self._take()
                if batch:
                    await self._write_batch(batch)
                expected = len(batch) + len(self._waiting)
        finally:
            for _, _, future in self._waiting:
                _fail(future, UnavailableError("the service is stopping"))

    async def _until_waiting(self, count: int) -> None:
        self._wanted = count
        if not self._are_enough():
            self._arrived.clear()
            await self._arrived.wait()

    def _are_enough(self) -> bool:
        return len(self._waiting) >= self._wanted or self._waiting_bytes >= MAX_BATCH_BYTES

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        batch_bytes = 0
        while self._waiting and len(batch) < MAX_BATCH and batch_bytes < MAX_BATCH_BYTES:
            item, size, future = self._waiting.popleft()
            self._waiting_bytes -= size
            if not future.done():  # done: its caller gave up before the write began
                batch.append((item, future))
                batch_bytes += size
        return batch

    async def _write_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, future in batch:
                _fail(future, UnavailableError("the service is stopping"))
            raise
        except Exception as exc:  # noqa: BLE001  (whatever it is, it belongs to these callers)
            for _, future in batch:
                _fail(future, exc)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(future: asyncio.Future[Result], exc: Exception) -> None:
    if not future.done():
        future.set_exception(exc)
