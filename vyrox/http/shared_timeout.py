"""A time limit for very many requests at once, with one timer for all of them.

`asyncio.timeout` creates and cancels a timer each time it is entered, and runs two coroutines. For
every alert that cost more than authenticating it.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType


class SharedTimeout:
    """`with timeout:` cancels its block after the limit, and raises an error.

    A task can be inside only once at a time. As with `asyncio.timeout`, a cancellation that comes
    from elsewhere passes through.
    """

    def __init__(self, limit_s: float, make_error: Callable[[], Exception] = TimeoutError) -> None:
        """`make_error` returns the error to raise."""
        self._limit_s = limit_s
        self._make_error = make_error
        self._loop: asyncio.AbstractEventLoop | None = None
        # Task -> its deadline by the loop's clock, and its number of cancellations at entry. Tasks
        # are in order of entry, and so in order of their deadlines.
        self._inside: dict[asyncio.Task[object], tuple[float, int]] = {}
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101  (a coroutine runs in a task)
        if self._loop is not loop:  # the timer of an earlier loop never fires
            self._loop, self._timer = loop, None
        deadline = loop.time() + self._limit_s
        self._inside[task] = (deadline, task.cancelling())
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire_late)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101  (the task that entered)
        _, cancelled_before = self._inside.pop(task)
        if task in self._expired:
            self._expired.remove(task)
            if task.uncancel() <= cancelled_before and exc_type is asyncio.CancelledError:
                raise self._make_error() from exc

    def expire(self, task: asyncio.Task[object]) -> None:
        """End the time of `task` now; do nothing if it is not inside."""
        if task in self._inside and task not in self._expired:
            self._expired.add(task)
            task.cancel()

    def _expire_late(self) -> None:
        assert self._loop is not None  # noqa: S101  (the loop called this)
        self._timer = None
        now = self._loop.time()
        for task, (deadline, _) in self._inside.items():
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._expire_late)
                return
            self.expire(task)
