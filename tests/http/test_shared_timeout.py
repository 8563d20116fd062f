"""One timer for many tasks: only the tasks that are late get an error."""

import asyncio

import pytest

from tests.loop_time import time_passes_while_idle
from vyrox.errors import UnavailableError
from vyrox.http.shared_timeout import SharedTimeout

LONG_S = 60.0


async def wait_within(limit: SharedTimeout, event: asyncio.Event) -> str:
    with limit:
        await event.wait()
    return "in time"


async def test_time_limit_raises_where_the_block_takes_too_long() -> None:
    with pytest.raises(TimeoutError), SharedTimeout(0.0):
        await asyncio.Event().wait()


async def test_time_limit_raises_what_it_was_given() -> None:
    with (
        pytest.raises(UnavailableError, match="late"),
        SharedTimeout(0, lambda: UnavailableError("late")),
    ):
        await asyncio.Event().wait()


async def test_time_limit_leaves_alone_who_is_in_time() -> None:
    """Tasks that entered later, and those that left before the timer fired."""
    limit = SharedTimeout(0.02)
    never, soon = asyncio.Event(), asyncio.Event()
    soon.set()
    with time_passes_while_idle():
        late = asyncio.create_task(wait_within(limit, never))
        assert await wait_within(limit, soon) == "in time"
        with pytest.raises(TimeoutError):
            await late
        after = asyncio.Event()
        waiting = asyncio.create_task(wait_within(limit, after))
        await asyncio.sleep(0)
        after.set()
        assert await waiting == "in time"


async def test_time_limit_expires_each_at_its_own_time() -> None:
    limit = SharedTimeout(0.02)
    never = asyncio.Event()
    ended: list[int] = []

    async def enter(number: int) -> None:
        with pytest.raises(TimeoutError):
            await wait_within(limit, never)
        ended.append(number)

    with time_passes_while_idle():
        first = asyncio.create_task(enter(1))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(enter(2))
        await first
        assert not second.done()
        await second
    assert ended == [1, 2]


async def test_time_limit_lets_a_cancellation_through() -> None:
    limit = SharedTimeout(LONG_S)
    waiting = asyncio.create_task(wait_within(limit, asyncio.Event()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert limit._inside == {}


async def test_time_limit_lets_a_cancellation_through_that_comes_with_its_own() -> None:
    limit = SharedTimeout(0.0)
    waiting = asyncio.create_task(wait_within(limit, asyncio.Event()))
    await asyncio.sleep(0)
    limit._expire_late()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert limit._expired == set()


async def test_time_limit_passes_other_errors_on() -> None:
    with pytest.raises(LookupError), SharedTimeout(LONG_S):
        raise LookupError


def test_time_limit_outlives_the_loop_it_was_used_in() -> None:
    """A module's own limit sees many loops in the tests, and each must be timed."""
    limit = SharedTimeout(0.02)

    async def expire() -> None:
        with pytest.raises(TimeoutError), limit:
            await asyncio.Event().wait()

    async def leave_a_timer_behind() -> None:
        with limit:
            await asyncio.sleep(0)

    asyncio.run(leave_a_timer_behind())
    asyncio.run(expire())
