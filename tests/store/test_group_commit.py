"""One write for many waiting callers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.errors import OverloadedError, UnavailableError
from vyrox.store import group_commit
from vyrox.store.group_commit import GroupCommit

FOR_EVER: Final = 3600.0
"""Longer than the time limit of a test: a batch that waits in vain fails the test."""


class RefusedError(Exception):
    """The error of the write below for a batch with a bad item."""


class Writer:
    """Writes integers once `gate` is set, and returns their doubles."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.finished: list[list[int]] = []
        self.bad: set[int] = set()
        self.refused: set[int] = set()
        self.began = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.set()
        await self.gate.wait()
        self.finished.append(list(items))
        if self.bad.intersection(items):
            self.refused.update(items)
            raise RefusedError
        return [2 * item for item in items]

    @property
    def written(self) -> list[int]:
        return list(chain.from_iterable(self.finished))


@asynccontextmanager
async def running(commits: GroupCommit[int, int]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(commits.run())
    yield task
    task.cancel()
    await asyncio.wait([task])


def submit(commits: GroupCommit[int, int], *items: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(commits.submit(item)) for item in items]


async def waiting(commits: GroupCommit[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Submit `items`, and return when each of them waits."""
    tasks = submit(commits, *items)
    await asyncio.sleep(0)
    return tasks


def one_owner(_item: int) -> str:
    return "acme-corp"


async def test_submit_writes_once_for_all_that_wait() -> None:
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, one_owner)
    tasks = await waiting(commits, *range(100))
    writer.gate.set()
    async with running(commits):
        assert await asyncio.gather(*tasks) == [2 * item for item in range(100)]
    assert writer.batches == [list(range(100))]


async def test_submit_while_a_batch_is_written_gathers_the_next() -> None:
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, one_owner)
    async with running(commits):
        first = await waiting(commits, 1)
        await writer.began.wait()
        rest = await waiting(commits, 2, 3, 4)
        writer.gate.set()
        assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8]
    assert writer.batches == [[1], [2, 3, 4]]


async def test_run_waits_for_as_many_as_were_there_when_the_last_batch_ended() -> None:
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, one_owner, gather_s=FOR_EVER)
    async with running(commits):
        first = await waiting(commits, 1)
        await writer.began.wait()
        left = await waiting(commits, 2)
        writer.gate.set()
        await asyncio.gather(*first)
        assert writer.batches == [[1]]  # 2 waits for a second caller, because there were two
        back = await waiting(commits, 3)
        assert await asyncio.gather(*left, *back) == [4, 6]
    assert writer.batches == [[1], [2, 3]]


async def test_run_stops_waiting_for_callers_that_do_not_return() -> None:
    writer = Writer()
    writer.gate.set()
    commits = GroupCommit(writer, lambda _item: 1, one_owner, gather_s=0.001)
    async with running(commits):
        await asyncio.gather(*submit(commits, 1, 2))
        assert await commits.submit(3) == 6
        assert await commits.submit(4) == 8
    assert writer.batches == [[1, 2], [3], [4]]


async def test_run_waits_for_no_more_than_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GATHER_AT_MOST", 2)
    writer = Writer()
    writer.gate.set()
    commits = GroupCommit(writer, lambda _item: 1, one_owner, gather_s=FOR_EVER)
    async with running(commits):
        await asyncio.gather(*submit(commits, 1, 2, 3, 4))
        assert await asyncio.gather(*submit(commits, 5, 6)) == [10, 12]
    assert writer.batches == [[1, 2, 3, 4], [5, 6]]


async def test_run_waits_for_no_more_than_a_batch_holds_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "MAX_BATCH_BYTES", 10)
    writer = Writer()
    writer.gate.set()
    commits = GroupCommit(writer, lambda item: item, one_owner, gather_s=FOR_EVER)
    async with running(commits):
        await asyncio.gather(*submit(commits, 1, 2, 3))
        held = await waiting(commits, 4)
        await asyncio.sleep(0)
        assert writer.batches == [[1, 2, 3]]
        assert await asyncio.gather(*held, *submit(commits, 6)) == [8, 12]
        assert await commits.submit(10) == 20
    assert writer.batches == [[1, 2, 3], [4, 6], [10]]


async def test_run_does_not_write_the_item_of_a_caller_cancelled_while_the_batch_waits() -> None:
    writer = Writer()
    writer.gate.set()
    commits = GroupCommit(writer, lambda _item: 1, one_owner, gather_s=FOR_EVER)
    async with running(commits):
        await asyncio.gather(*submit(commits, 1, 2))
        (gone,) = await waiting(commits, 3)
        gone.cancel()
        await asyncio.wait([gone])
        assert await commits.submit(4) == 8
    assert writer.batches == [[1, 2], [4]]


async def test_run_cancelled_while_a_batch_waits_refuses_it() -> None:
    writer = Writer()
    writer.gate.set()
    commits = GroupCommit(writer, lambda _item: 1, one_owner, gather_s=FOR_EVER)
    async with running(commits) as task:
        await asyncio.gather(*submit(commits, 1, 2))
        (refused,) = await waiting(commits, 3)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert writer.batches == [[1, 2]]
    with pytest.raises(UnavailableError):
        await refused


async def test_submit_error_reaches_exactly_the_callers_of_its_batch() -> None:
    writer = Writer()
    writer.bad = {2}
    commits = GroupCommit(writer, lambda _item: 1, one_owner)
    async with running(commits):
        before = await waiting(commits, 1)
        await writer.began.wait()
        batch = await waiting(commits, 2, 3)
        writer.gate.set()
        await asyncio.wait(batch)
        after = submit(commits, 4)
        assert await asyncio.gather(*before, *after) == [2, 8]
    for task in batch:
        with pytest.raises(RefusedError):
            task.result()


async def test_submit_cancelled_waiter_loses_its_future_and_the_write_completes() -> None:
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, one_owner)
    async with running(commits):
        gone, stays = await waiting(commits, 1, 2)
        await writer.began.wait()
        gone.cancel()
        await asyncio.wait([gone])
        writer.gate.set()
        assert await stays == 4
    assert gone.cancelled()
    assert writer.finished == [[1, 2]]


async def test_submit_cancelled_waiter_of_a_write_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = Writer()
    writer.bad = {1}
    commits = GroupCommit(writer, lambda _item: 1, one_owner)
    async with running(commits):
        gone, stays = await waiting(commits, 1, 2)
        await writer.began.wait()
        gone.cancel()
        await asyncio.wait([gone])
        writer.gate.set()
        with pytest.raises(RefusedError):
            await stays
    assert caplog.messages == []  # no "exception was never retrieved"


async def test_submit_cancelled_before_the_write_began_is_not_written() -> None:
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, one_owner)
    gone, stays = await waiting(commits, 1, 2)
    gone.cancel()
    await asyncio.wait([gone])
    writer.gate.set()
    async with running(commits):
        assert await stays == 4
    assert writer.batches == [[2]]


async def test_submit_too_many_waiting_is_overloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING", 3)
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, one_owner)
    tasks = await waiting(commits, 1, 2, 3)
    with pytest.raises(OverloadedError):
        await commits.submit(4)
    writer.gate.set()
    async with running(commits):
        assert await asyncio.gather(*tasks) == [2, 4, 6]
        assert await commits.submit(5) == 10
    assert 4 not in writer.written


async def test_submit_too_many_bytes_waiting_is_overloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 10)
    writer = Writer()
    commits = GroupCommit(writer, lambda item: item, one_owner)
    tasks = await waiting(commits, 4, 6)
    with pytest.raises(OverloadedError):
        await commits.submit(1)
    writer.gate.set()
    async with running(commits):
        assert await asyncio.gather(*tasks) == [8, 12]
        assert await commits.submit(10) == 20


async def test_submit_alone_is_taken_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 10)
    writer = Writer()
    writer.gate.set()
    commits = GroupCommit(writer, lambda item: item, one_owner)
    async with running(commits):
        assert await commits.submit(11) == 22


@given(
    items=st.lists(st.integers(1, 6), max_size=40),
    max_batch=st.integers(1, 5),
    max_batch_bytes=st.integers(1, 12),
)
def test_run_batches_are_in_order_and_within_bounds(
    items: list[int], max_batch: int, max_batch_bytes: int
) -> None:
    async def run() -> list[list[int]]:
        writer = Writer()
        writer.gate.set()
        commits = GroupCommit(writer, lambda item: item, one_owner)
        tasks = await waiting(commits, *items)
        async with running(commits):
            assert await asyncio.gather(*tasks) == [2 * item for item in items]
        return writer.batches

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_commit, "MAX_BATCH", max_batch)
        patch.setattr(group_commit, "MAX_BATCH_BYTES", max_batch_bytes)
        batches = asyncio.run(run())
    assert list(chain.from_iterable(batches)) == items
    for batch in batches:
        assert 0 < len(batch) <= max_batch
        assert sum(batch[:-1]) < max_batch_bytes  # only the last item may exceed it


async def test_run_cancelled_refuses_all_waiting_callers() -> None:
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, one_owner)
    async with running(commits) as task:
        written = await waiting(commits, 1)
        await writer.began.wait()
        unwritten = await waiting(commits, 2, 3)
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert writer.finished == []
    for refused in (*written, *unwritten):
        with pytest.raises(UnavailableError):
            await refused


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["submit", "cancel", "fail", "turn"]), st.integers(0, 9)),
        max_size=60,
    ),
    gather_s=st.sampled_from([0.0, 0.001]),
)
def test_submit_each_caller_gets_its_own_result(
    steps: list[tuple[str, int]], gather_s: float
) -> None:
    writer, tasks = asyncio.run(play(steps, gather_s))
    assert writer.written == sorted(set(writer.written))
    for item, task in enumerate(tasks):
        if not task.cancelled():
            assert item in writer.written
            assert (task.exception() is not None) == (item in writer.refused)
            assert item in writer.refused or task.result() == 2 * item


async def play(
    steps: list[tuple[str, int]], gather_s: float
) -> tuple[Writer, list[asyncio.Task[int]]]:
    """Submit 0, 1, 2, ... and run the other `steps`; return when every caller has its result.

    The number of a step is the item to cancel, or the item whose write will fail.
    """
    writer = Writer()
    writer.gate.set()
    commits = GroupCommit(writer, lambda _item: 1, one_owner, gather_s)
    tasks: list[asyncio.Task[int]] = []
    async with running(commits):
        for action, number in steps:
            if action == "submit":
                tasks += submit(commits, len(tasks))
            elif action == "fail":
                writer.bad.add(number)
            elif action == "cancel" and number < len(tasks):
                tasks[number].cancel()
            else:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
    return writer, tasks


def tens(item: int) -> str:
    """Return the owner of an item. Ten numbers in sequence have the same owner."""
    return str(item // 10)


async def test_run_fills_batches_by_turns_over_owners_contract_46(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "MAX_BATCH", 4)
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, tens)
    # One owner came first, with more items than fit into a batch.
    tasks = await waiting(commits, 10, 11, 12, 13, 14, 20, 30)
    writer.gate.set()
    async with running(commits):
        await asyncio.gather(*tasks)

    assert writer.finished == [[10, 20, 30, 11], [12, 13, 14]]


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        pytest.param("MAX_WAITING", 8, id="reject_by_number"),
        pytest.param("MAX_WAITING_BYTES", 8, id="reject_by_bytes"),
    ],
)
async def test_submit_leaves_half_of_the_queue_to_other_owners_contract_46(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(group_commit, limit, value)
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, tens)
    alone = await waiting(commits, *[10] * 8)
    others = await waiting(commits, *[20] * 4)
    refused = await waiting(commits, 10, 20)
    writer.gate.set()
    async with running(commits):
        assert await asyncio.gather(*alone, *others) == [20] * 8 + [40] * 4
        for task in refused:
            with pytest.raises(OverloadedError):
                await task


@given(st.lists(st.integers(0, 39), max_size=60))
async def test_run_keeps_the_order_of_each_owner_and_loses_nothing_contract_46(
    items: list[int],
) -> None:
    writer = Writer()
    commits = GroupCommit(writer, lambda _item: 1, tens)
    tasks = await waiting(commits, *items)
    writer.gate.set()
    async with running(commits):
        await asyncio.gather(*tasks)

    for owner in map(str, range(4)):
        mine = [item for item in items if tens(item) == owner]
        assert [item for item in writer.written if tens(item) == owner] == mine
