"""The background tasks."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from vyrox import log
from vyrox.errors import DatabaseBusyError, QueueUnavailableError
from vyrox.lifespan import background
from vyrox.lifespan.background import AGENDA_INTERVAL_S, every
from vyrox.lifespan.summary import summarize
from vyrox.settings import Settings
from vyrox.store.database import Database


async def run_three_times(fail: Callable[[], Awaitable[None]]) -> int:
    """Let `every` do work that is `fail`, except the third time; return how often it was done."""
    done = 0
    third = asyncio.Event()

    async def work() -> None:
        nonlocal done
        done += 1
        if done == 3:
            third.set()
            await asyncio.Event().wait()
        await fail()

    task = asyncio.create_task(every(0.0, "test", work))
    async with asyncio.timeout(10):
        await third.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    return done


async def succeed() -> None:
    pass


async def be_unavailable() -> None:
    raise QueueUnavailableError("away")


async def be_a_bug() -> None:
    raise LookupError("bug")


async def test_every_does_the_work_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    assert await run_three_times(succeed) == 3
    assert caplog.messages == []


async def test_every_goes_on_where_a_store_is_away(caplog: pytest.LogCaptureFixture) -> None:
    assert await run_three_times(be_unavailable) == 3
    assert caplog.messages == ["background.unavailable"] * 2
    caplog.clear()
    counted = log.counts["background.unavailable"]
    for times in range(1, 1001):
        background._note_unavailable("test", "away", times)
    assert len(caplog.messages) == 10  # an outage of hours does not fill the disk
    assert log.counts["background.unavailable"] == counted + 1000
    assert not any(record.exc_info for record in caplog.records)


async def test_every_goes_on_after_a_bug_and_logs_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await run_three_times(be_a_bug) == 3
    assert caplog.messages == ["background.failed"] * 2
    for record in caplog.records:
        assert record.exc_info
        assert record.exc_info[0] is LookupError


async def test_every_cancelled_while_it_works_ends() -> None:
    working = asyncio.Event()

    async def work() -> None:
        working.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(every(0.0, "test", work))
    await working.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_every_waits_before_the_first_time_contract_40() -> None:
    done = 0

    async def work() -> None:
        nonlocal done
        done += 1

    task = asyncio.create_task(every(0.0, "test", work, first_s=3600.0))
    for _ in range(10):
        await asyncio.sleep(0)
    assert done == 0
    task.cancel()
    await asyncio.wait([task])


async def test_every_is_woken_contract_67() -> None:
    """Its interval is an hour, so without the event a second run would not come."""
    runs: asyncio.Queue[None] = asyncio.Queue()
    wake = asyncio.Event()

    async def work() -> None:
        runs.put_nowait(None)

    task = asyncio.create_task(every(3600.0, "test", work, wake=wake))
    async with asyncio.timeout(10):
        for _ in range(3):
            await runs.get()
            wake.set()
            wake.set()
        await runs.get()
    assert runs.empty()
    assert not wake.is_set()
    task.cancel()
    await asyncio.wait([task])


def test_a_change_of_a_tenant_is_read_within_a_second_contract_8() -> None:
    assert AGENDA_INTERVAL_S <= 0.5


async def test_a_busy_database_does_not_end_the_start_contract_90(data_dir: Path) -> None:
    """The summary counts tenants and approvers; without them it says the rest."""

    class Busy:
        async def read(self, *_: object, **__: object) -> object:
            raise DatabaseBusyError("TimeoutError")

    found = await summarize(Settings(data_dir=data_dir), cast(Database, Busy()))
    assert (found.tenants, found.approvers, found.mode) == (None, None, "dry_run")
