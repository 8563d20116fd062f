"""A time limit that very many requests are under at once, with one timer for all of them.

`asyncio.timeout` makes and cancels a timer each time it is entered, and runs two coroutines for it.
On the path of every alert that cost more than authenticating it.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType


class SharedTimeout:
    """`with limit:` gives its block so many seconds, then cancels what it awaits and raises.

    A task is in it once at a time. A cancellation from elsewhere goes through, as with
    `asyncio.timeout`.
    """

    def __init__(self, limit_s: float, error: Callable[[], Exception] = TimeoutError) -> None:
        """`error` makes what is raised."""
        self._limit_s = limit_s
        self._error = error
        self._loop: asyncio.AbstractEventLoop | None = None
        # Task -> when its time is over (the loop's clock), and how often it was cancelled before.
        # In order of entry, which is that of the deadlines.
        self._inside: dict[asyncio.Task[object], tuple[float, int]] = {}
        self._expired: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101  (a coroutine runs in a task)
        if self._loop is not loop:  # a timer of an earlier loop will never fire
            self._loop, self._timer = loop, None
        deadline = loop.time() + self._limit_s
        self._inside[task] = (deadline, task.cancelling())
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101  (the one that entered)
        _, cancelled_before = self._inside.pop(task)
        if task in self._expired:
            self._expired.remove(task)
            if task.uncancel() <= cancelled_before and exc_type is asyncio.CancelledError:
                raise self._error() from exc

    def end(self, task: asyncio.Task[object]) -> None:
        """End the time of `task` now; nothing happens if it is not inside."""
        if task in self._inside and task not in self._expired:
            self._expired.add(task)
            task.cancel()

    def _expire(self) -> None:
        assert self._loop is not None  # noqa: S101  (it called)
        self._timer = None
        now = self._loop.time()
        for task, (deadline, _) in self._inside.items():
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._expire)
                return
            self.end(task)
