"""One write for many waiting callers.

A write with an fsync or a round trip costs the same for one item as for a hundred. Callers submit
an item and wait. A single task takes all waiting items, writes them together, and returns to each
caller its own result. While one batch is written, the next one gathers.
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
"""How many callers may wait at the same time. The next one gets a 503."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Total size of the waiting items. While two owners (tenants) wait, each may use half of both
limits."""

MAX_BATCH = 512
"""How many items one write has at most."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Size of a batch at which no further item is added. Writing it must take much less time than a
caller waits."""

GATHER_AT_MOST: Final = 32
"""With this many items, or MAX_BATCH_BYTES, a batch is written without waiting for more items."""


class _Line(Generic[Item, Result]):
    """The waiting items of one owner, in order of arrival."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self.size_bytes = 0


class GroupCommit(Generic[Item, Result]):
    """Gathers items and writes them in batches, one batch at a time.

    An owner's items are written in order of arrival. Owners take turns: an owner that sends without
    a pause delays the other owners by one batch at most, and leaves them half of the queue.

    The write runs in the task of `run`, never in the task of a caller. So cancelling a caller
    discards only its future and never interrupts a write.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        size_bytes: Callable[[Item], int],
        owner: Callable[[Item], str],
        gather_s: float = 0.0,
    ) -> None:
        """`write` returns one result per item, in order. An error from it goes to all its callers.

        Args:
            owner: Returns the tenant of an item. A tenant's items wait in one line.
            gather_s: Longest that a batch waits for more items. It waits until there are as many
                callers as when the last batch ended: those of that batch, who may call again at
                once, and those who waited already. Without this, callers form two groups that
                alternate, each waiting for the write of the other group.
        """
        self._write = write
        self._size_bytes = size_bytes
        self._owner = owner
        self._gather_s = gather_s
        self._lines: dict[str, _Line[Item, Result]] = {}  # of the owners with waiting items
        self._turns: deque[str] = deque()  # the owners, next one first
        self._waiting = 0
        self._waiting_bytes = 0
        self._wanted = 1  # `run` continues when so many callers wait
        self._arrived = asyncio.Event()

    async def submit(self, item: Item) -> Result:
        """Return what the write returned for `item`, once it is written.

        Raises:
            OverloadedError: Too many callers are waiting. The item will not be written.
            Exception: What the write raised for the item's batch.
        """
        owner, size = self._owner(item), self._size_bytes(item)
        line = self._lines.get(owner)
        if self._waiting:  # a single item may have any size
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
            raise OverloadedError(f"{count} callers of one tenant are waiting")
        if self._waiting < MAX_WAITING and self._waiting_bytes + size <= MAX_WAITING_BYTES:
            return
        # While it was alone, an owner may have used more than half. That does not count here.
        lines = self._lines.values()
        waiting = sum(min(len(each.waiting), MAX_WAITING // 2) for each in lines)
        waiting_bytes = sum(min(each.size_bytes, MAX_WAITING_BYTES // 2) for each in lines)
        if waiting >= MAX_WAITING or waiting_bytes + size > MAX_WAITING_BYTES:
            raise OverloadedError(f"{self._waiting} callers are waiting")

    async def run(self) -> None:
        """Write the submitted items until cancelled. Then callers that still wait get an error."""
        expected = 1
        try:
            while True:
                await self._until_waiting(1)
                wanted = min(expected, GATHER_AT_MOST)
                if self._gather_s and self._waiting < wanted:
                    with suppress(TimeoutError):  # write what there is
                        async with asyncio.timeout(self._gather_s):
                            await self._until_waiting(wanted)
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
            if not future.done():  # done: its caller was cancelled before the write began
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
        except Exception as exc:  # noqa: BLE001  (every error goes to the callers)
            for _, future in batch:
                _fail(future, exc)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(future: asyncio.Future[Result], exc: Exception) -> None:
    if not future.done():
        future.set_exception(exc)
