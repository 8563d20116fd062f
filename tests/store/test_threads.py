"""Calls that run in threads, for the event loop (contract 92)."""

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial

import pytest

from vyrox.store.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    made = Threads(1, "test")
    yield made
    made.end()


def fail() -> None:
    raise LookupError("bug")


async def test_submit_returns_or_raises_what_the_call_does(threads: Threads) -> None:
    name = await threads.submit(lambda: threading.current_thread().name)
    assert name == "test-0"
    with pytest.raises(LookupError, match="bug"):
        await threads.submit(fail)
    assert await threads.submit(lambda: 1) == 1


async def test_calls_run_in_order_and_a_cancelled_caller_stops_none(threads: Threads) -> None:
    release = threading.Event()
    ran: list[int] = []

    def run(number: int) -> None:
        release.wait(30)
        ran.append(number)

    futures = [threads.submit(partial(run, number)) for number in range(5)]
    futures[1].cancel()
    release.set()
    await asyncio.gather(*futures, return_exceptions=True)
    assert ran == [0, 1, 2, 3, 4]


def test_end_waits_for_what_was_submitted_also_by_a_loop_that_is_closed() -> None:
    made = Threads(2, "test")
    release = threading.Event()
    ran: list[int] = []

    def run(number: int) -> None:
        release.wait(30)
        ran.append(number)

    async def submit() -> None:
        for number in range(4):
            made.submit(partial(run, number))

    asyncio.run(submit())
    release.set()
    made.end()
    assert sorted(ran) == [0, 1, 2, 3]


def test_end_without_a_call() -> None:
    Threads(3, "test").end()
