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
"""Total size of what waits. While two owners (tenants) wait, each may have half of both limits."""

MAX_BATCH = 512
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A batch of the largest bodies must still be written well within a caller's patience."""

ENOUGH: Final = 32
"""A batch of so many, or of MAX_BATCH_BYTES, is not held back for more: what a write costs is
shared by enough."""


class _Line(Generic[Item, Result]):
    """What waits of one owner, in order of arrival."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self.size_bytes = 0


class GroupCommit(Generic[Item, Result]):
    """Gathers items and writes them in batches, one batch at a time.

    An owner's items are written in order of arrival. Owners take turns, so one that sends without
    end delays the others by a batch at most, and leaves them half of the queue.

    The write runs in the task of `run`, never in a caller's: a caller that is cancelled loses its
    future and nothing else, so a write is never left half done (a lock around the write alone
    would be freed by the cancellation while the write goes on).
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        size_bytes: Callable[[Item], int],
        owner: Callable[[Item], str],
        gather_s: float = 0.0,
    ) -> None:
        """`write` returns one result per item, in order; what it raises reaches all its callers.

        Args:
            owner: Who shares one line, and one half of the queue: the tenant of an item.
            gather_s: How long a batch is held back at most, until as many wait as were there when
                the last one ended: those it answered, who may come again at once, and those who
                waited already. Without it, callers who come again settle in two groups, of which
                each waits for the other's write.
        """
        self._write = write
        self._size_bytes = size_bytes
        self._owner = owner
        self._gather_s = gather_s
        self._lines: dict[str, _Line[Item, Result]] = {}  # of those who wait
        self._turns: deque[str] = deque()  # the keys of `_lines`; the next one first
        self._waiting = 0
        self._waiting_bytes = 0
        self._wanted = 1  # callers, for `run` to go on
        self._arrived = asyncio.Event()

    async def submit(self, item: Item) -> Result:
        """Return what the write returned for `item`, once it is written.

        Raises:
            OverloadedError: Too many callers are waiting; the item was not taken.
            Exception: Whatever the write raised for the item's batch.
        """
        owner, size = self._owner(item), self._size_bytes(item)
        line = self._lines.get(owner)
        if self._waiting:  # alone, an item is taken however large
            self._check_room(line, size)
        if line is None:
            line = self._lines[owner] = _Line()
            self._turns.append(owner)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        line.waiting.append((item, size, future))
        line.size_bytes += size
        self._waiting += 1
        self._waiting_bytes += size
        if self._are_enough():
            self._arrived.set()
        return await future

    def _check_room(self, line: _Line[Item, Result] | None, size: int) -> None:
        count, own_bytes = (len(line.waiting), line.size_bytes) if line else (0, 0)
        share = 2 if self._waiting > count else 1
        too_large = own_bytes + size > MAX_WAITING_BYTES // share
        if count >= MAX_WAITING // share or (count and too_large):
            raise OverloadedError(f"{count} callers of one owner are waiting")
        if self._waiting < MAX_WAITING and self._waiting_bytes + size <= MAX_WAITING_BYTES:
            return
        # What one owner took beyond its half while it was alone does not count against others.
        lines = self._lines.values()
        waiting = sum(min(len(each.waiting), MAX_WAITING // 2) for each in lines)
        waiting_bytes = sum(min(each.size_bytes, MAX_WAITING_BYTES // 2) for each in lines)
        if waiting >= MAX_WAITING or waiting_bytes + size > MAX_WAITING_BYTES:
            raise OverloadedError(f"{self._waiting} callers are waiting")

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
                expected = len(batch) + self._waiting
        finally:
            for line in self._lines.values():
                for _, _, future in line.waiting:
                    _fail(future, UnavailableError("the service is stopping"))

    async def _until_waiting(self, count: int) -> None:
        self._wanted = count
        if not self._are_enough():
            self._arrived.clear()
            await self._arrived.wait()

    def _are_enough(self) -> bool:
        return self._waiting >= self._wanted or self._waiting_bytes >= MAX_BATCH_BYTES

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        batch_bytes = 0
        while self._waiting and len(batch) < MAX_BATCH and batch_bytes < MAX_BATCH_BYTES:
            owner = self._turns.popleft()
            line = self._lines[owner]
            item, size, future = line.waiting.popleft()
            line.size_bytes -= size
            self._waiting -= 1
            self._waiting_bytes -= size
            if line.waiting:
                self._turns.append(owner)
            else:
                del self._lines[owner]
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
