"""Threads that run calls for the event loop.

Python's own executor makes three objects with locks for each call, and passes the result on in
three steps. For a short transaction that cost as much as its statements.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_Call = tuple[Callable[[], object], asyncio.AbstractEventLoop, "asyncio.Future[object]"]


class Threads:
    """Some threads that take calls from one queue, in order."""

    def __init__(self, count: int, name: str) -> None:
        """The threads begin with the first call."""
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        self._started = False

    def submit(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        """Return a future of what `call` returns. Cancelling the future does not stop the call."""
        if not self._started:
            self._started = True
            for thread in self._threads:
                thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put((call, loop, future))  # type: ignore[arg-type]  # a future is invariant
        return future

    def end(self) -> None:
        """Wait for all calls that were submitted. No other may follow."""
        if self._started:
            for _ in self._threads:
                self._calls.put(None)
            for thread in self._threads:
                thread.join()

    def _run(self) -> None:
        while taken := self._calls.get():
            call, loop, future = taken
            result: object = None
            error: BaseException | None = None
            try:
                result = call()
            except BaseException as exc:  # noqa: BLE001  (every error goes to the caller)
                error = exc
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(_settle, future, result, error)
            del taken, call, future, result, error  # not kept until the next call


def _settle(future: "asyncio.Future[object]", result: object, error: BaseException | None) -> None:
    if future.done():  # its caller does not wait any more
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
