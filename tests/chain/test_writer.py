"""The writer of the audit chains (contract 30 to 33), with the verifier as the oracle."""

import asyncio
import itertools
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Literal

import asyncpg
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from tests.audit import (
    NOW,
    TENANT,
    Clock,
    FaultyDatabase,
    Place,
    action,
    entries,
    events,
    noted,
    running_writer,
    verified_chains,
)
from tests.conftest import ready_postgres_database
from tests.polling import until
from tests.postgres import Postgres
from tests.pragma import set_pragma
from tests.store.queries import sqlalchemy_url
from vyrox import log
from vyrox.chain import export
from vyrox.chain.entry import GENESIS, Draft, Receipt, seal
from vyrox.chain.events import write_events
from vyrox.chain.writer import ATTEMPTS, ChainWriter, Committed, WorkResult, append
from vyrox.clock import wall_clock
from vyrox.errors import DatabaseUnavailableError, EntryError
from vyrox.store.database import Database, open_database
from vyrox.store.tables import device_names, heartbeat

Fault = Literal["before", "after"]

POISON = Draft(TENANT, "events", "bad", {"kind": "bad", "request_id": None, "text": "\ud800"})
"""Not a valid entry: UTF-8 cannot encode it."""


async def write(writer: ChainWriter, *drafts: Draft) -> tuple[Receipt, ...]:
    return (await writer.commit(write_events, drafts)).receipts


def start(writer: ChainWriter, *drafts: Draft) -> list["asyncio.Task[tuple[Receipt, ...]]"]:
    """Write each draft in a task of its own."""
    return [asyncio.create_task(write(writer, draft)) for draft in drafts]


async def test_commit_many_callers_share_a_commit(database: Database) -> None:
    """64 callers: at most one commit for 16 entries, and none is lost."""
    faulty = FaultyDatabase(database)

    async def call(writer: ChainWriter, caller: int) -> list[Receipt]:
        numbers = range(caller * 16, caller * 16 + 16)
        return [(await write(writer, noted(number)))[0] for number in numbers]

    async with running_writer(faulty) as writer:
        receipts = await asyncio.gather(*(call(writer, caller) for caller in range(64)))
    hashes = [entry["hash"] for entry in await events(database)]
    assert faulty.writes <= 1024 / 16
    assert len(hashes) == 1024
    for receipt in itertools.chain.from_iterable(receipts):
        assert hashes[receipt.sequence - 1] == receipt.hash


async def test_commit_first_entry_follows_genesis_and_each_other_the_one_before_contract_30(
    database: Database,
) -> None:
    drafts = (action("a"), action("b", "other-corp"), noted(1), action("c"), action("d"))
    async with running_writer(database) as writer:
        receipts = await write(writer, *drafts)
    assert [(receipt.tenant_id, receipt.stream, receipt.sequence) for receipt in receipts] == [
        (TENANT, "actions", 1),
        ("other-corp", "actions", 1),
        (TENANT, "events", 1),
        (TENANT, "actions", 2),
        (TENANT, "actions", 3),
    ]
    found = await entries(database)
    assert [entry["host"] for entry in found] == ["a", "c", "d"]
    assert found[0]["previous_hash"] == GENESIS
    assert await verified_chains(database) == {
        (TENANT, "actions"): [receipts[0].hash, receipts[3].hash, receipts[4].hash],
        (TENANT, "events"): [receipts[2].hash],
        ("other-corp", "actions"): [receipts[1].hash],
    }


async def test_commit_entry_is_exported_as_given_with_whole_seconds_contract_33(
    database: Database,
) -> None:
    host = "w\u00fc-01\u2028\0 \U0001f512"
    async with running_writer(database, Clock(NOW + 0.7)) as writer:
        [receipt] = await write(writer, action(host))
    assert await entries(database) == [
        {
            "timestamp": int(NOW),
            "tenant_id": TENANT,
            "action_type": "HOST_ISOLATION",
            "host": host,
            "approved_by": "jane \U0001f512",
            "dry_run": True,
            "previous_hash": GENESIS,
            "hash": receipt.hash,
        }
    ]


async def test_commit_continues_after_a_restart_contract_30(
    database_url: str | None, data_dir: Path
) -> None:
    for host in ("a", "b"):
        async with (
            open_database(database_url, data_dir) as database,
            running_writer(database) as writer,
        ):
            await write(writer, action(host))
    async with open_database(database_url, data_dir) as database:
        assert [entry["host"] for entry in await entries(database)] == ["a", "b"]


async def test_commit_next_day_runs_on_in_the_same_chain(database: Database) -> None:
    clock = Clock(1_704_067_199.9)
    async with running_writer(database, clock) as writer:
        await write(writer, action("2023-12-31"))
        clock.now += 0.1
        await write(writer, action("2024-01-01"))
    assert [entry["timestamp"] for entry in await entries(database)] == [1704067199, 1704067200]


async def test_commit_clock_going_back_never_shows_in_a_chain_and_is_logged_contract_33(
    database: Database,
) -> None:
    clock = Clock()
    logged = log.counts["audit.clock_behind"]
    async with running_writer(database, clock) as writer:
        await write(writer, action("a"))
        clock.now -= 3600
        await write(writer, action("b"), action("c", "other-corp"))
        clock.now += 3601
        await write(writer, action("d"))
    times = [entry["timestamp"] for entry in await entries(database)]
    assert times == [int(NOW), int(NOW), int(NOW) + 1]
    [other] = await entries(database, "other-corp")
    assert other["timestamp"] == int(NOW) - 3600
    assert log.counts["audit.clock_behind"] == logged + 1


async def test_commit_cancelled_caller_loses_its_future_and_nothing_else(
    database: Database,
) -> None:
    faulty = FaultyDatabase(database)
    faulty.gate.clear()
    async with running_writer(faulty) as writer:
        gone, stays = start(writer, action("gone"), action("stays"))
        await faulty.began.wait()
        gone.cancel()
        await asyncio.wait([gone])
        [later] = start(writer, action("later"))
        faulty.gate.set()
        assert [receipt.sequence for receipt in (*await stays, *await later)] == [2, 3]
    assert gone.cancelled()
    assert [entry["host"] for entry in await entries(database)] == ["gone", "stays", "later"]


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        pytest.param("before", ["first", "last"], id="reject_nothing_committed"),
        pytest.param("after", ["first", "a", "b", "last"], id="reject_committed_unseen"),
    ],
)
async def test_commit_that_fails_fails_its_batch_and_the_next_reads_what_is_there_contract_32(
    database: Database, fault: Fault, left: list[str]
) -> None:
    faulty = FaultyDatabase(database)
    async with running_writer(faulty) as writer:
        await write(writer, action("first"))
        faulty.faults = {2: fault}
        for failed in start(writer, action("a"), action("b")):
            with pytest.raises(DatabaseUnavailableError):
                await failed
        [receipt] = await write(writer, action("last"))
    assert faulty.writes == 3
    assert receipt.sequence == len(left)
    assert [entry["host"] for entry in await entries(database)] == left


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(LookupError(), id="reject_unforeseen"),
        pytest.param(sa.exc.IntegrityError("COMMIT", None, Exception()), id="reject_constraint"),
    ],
)
async def test_commit_that_fails_with_any_error_is_not_tried_again_contract_32(
    database: Database, error: Exception
) -> None:
    faulty = FaultyDatabase(database)
    faulty.faults = {1: "after"}
    faulty.error = error
    async with running_writer(faulty) as writer:
        for failed in start(writer, action("a"), action("b")):
            with pytest.raises(type(error)):
                await failed
        await write(writer, action("next"))
    assert faulty.writes == 2
    assert [entry["host"] for entry in await entries(database)] == ["a", "b", "next"]


async def test_commit_on_a_full_disk_fails_until_there_is_space_contract_32(
    data_dir: Path,
) -> None:
    async with open_database(None, data_dir) as database, running_writer(database) as writer:
        await write(writer, action("first"))
        await set_pragma(database, "max_page_count = 1")
        many = [action(f"{number:0256}") for number in range(100)]
        with pytest.raises(DatabaseUnavailableError, match="full"):
            await write(writer, *many)
        assert len(await entries(database)) == 1
        await set_pragma(database, "max_page_count = 1000000")
        await write(writer, *many)
        assert len(await entries(database)) == 101


def refuse(_connection: Connection, items: Sequence[str]) -> list[WorkResult[None]]:
    """Write nothing, and raise an error that does not come from the database."""
    raise LookupError(items[0])


async def test_commit_item_that_raises_fails_alone(
    database: Database,
) -> None:
    faulty = FaultyDatabase(database)
    async with running_writer(faulty) as writer:
        good = start(writer, *(action(f"{number}") for number in range(10)))
        bad = [asyncio.create_task(writer.commit(refuse, name)) for name in "xy"]
        [unfit] = start(writer, POISON)
        good += start(writer, *(action(f"{number}") for number in range(10, 20)))
        receipts = [receipt for task in good for receipt in await task]
        for task, name in zip(bad, "xy", strict=True):
            with pytest.raises(LookupError, match=name):
                await task
        with pytest.raises(EntryError, match="surrogate"):
            await unfit
    assert [receipt.sequence for receipt in receipts] == list(range(1, 21))
    assert [entry["host"] for entry in await entries(database)] == [f"{n}" for n in range(20)]
    assert await events(database) == []


def store_name(connection: Connection, items: Sequence[str]) -> list[WorkResult[None]]:
    for name in items:
        row = {"tenant_id": TENANT, "vendor": "crowdstrike", "device_id": name}
        connection.execute(device_names.insert().values(**row, number=1, name=name))
    return [WorkResult(None)] * len(items)


@pytest.mark.parametrize(
    "unfit", [pytest.param("a\0b", id="NUL"), pytest.param("\ud800", id="surrogate"), "too long"]
)
async def test_commit_value_that_does_not_fit_fails_its_own_item_alone_contract_42(
    postgres: Postgres, data_dir: Path, unfit: str
) -> None:
    if unfit == "too long":
        unfit = os.urandom(20_000).hex()  # for the index, even compressed
    url = await ready_postgres_database(postgres)
    async with open_database(url, data_dir) as database, running_writer(database) as writer:
        bad = asyncio.create_task(writer.commit(store_name, unfit))
        good = [asyncio.create_task(writer.commit(store_name, name)) for name in "abc"]
        done = await asyncio.gather(bad, *good, return_exceptions=True)
    assert isinstance(done[0], Exception)
    assert not isinstance(done[0], DatabaseUnavailableError)
    assert [type(each) for each in done[1:]] == [Committed] * 3


async def test_commit_constraint_broken_again_and_again_is_tried_a_bounded_number_of_times(
    database: Database,
) -> None:
    calls = 0

    def collide(connection: Connection, items: Sequence[None]) -> list[WorkResult[None]]:
        nonlocal calls
        calls += 1
        for _ in range(2):
            statement = "INSERT INTO audit_log VALUES ('t', 'actions', 1, 'k', 1, 'h', :entry)"
            connection.execute(sa.text(statement), {"entry": b""})
        return [WorkResult(None) for _ in items]

    async with running_writer(database) as writer:
        with pytest.raises(sa.exc.IntegrityError):
            await writer.commit(collide, None)
        assert calls == ATTEMPTS
        await write(writer, action("next"))
    assert list(await verified_chains(database)) == [(TENANT, "actions")]


async def a_session_waits_for(database: Database, wait_event: str) -> None:
    """Return once a session of the PostgreSQL database waits for this."""

    def waits(connection: Connection) -> bool:
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event = :wait_event"
        )
        return bool(connection.execute(sa.text(query), {"wait_event": wait_event}).scalar())

    await until(lambda: database.read(waits))


async def test_commit_reads_the_head_again_after_a_writer_without_the_lock(
    postgres: Postgres, data_dir: Path
) -> None:
    """Without the lock, the key prevents a fork: the second writer reads the head again."""
    url = await ready_postgres_database(postgres)
    sealed = seal({**action("other").members, "tenant_id": TENANT}, GENESIS, int(NOW))
    row = (TENANT, sealed.timestamp, sealed.hash, sealed.json)
    other = await asyncpg.connect(url)
    async with open_database(url, data_dir) as database, running_writer(database) as writer:
        transaction = other.transaction()
        await transaction.start()
        statement = "INSERT INTO audit_log VALUES ($1, 'actions', 1, 'k', $2, $3, $4)"
        await other.execute(statement, *row)
        [writing] = start(writer, action("mine"))
        await a_session_waits_for(database, "transactionid")
        await transaction.commit()
        [receipt] = await writing
        assert receipt.sequence == 2
        assert [entry["host"] for entry in await entries(database)] == ["other", "mine"]
    await other.close()


async def test_commit_waits_for_the_other_writer_and_takes_the_chains_in_order_of_name(
    postgres: Postgres, data_dir: Path
) -> None:
    """With another order two writers would deadlock; without waiting they would race."""
    url = await ready_postgres_database(postgres)
    engine = create_async_engine(sqlalchemy_url(url))
    async with open_database(url, data_dir) as real:
        faulty = FaultyDatabase(real)
        async with running_writer(faulty) as writer, engine.begin() as other:
            await other.execute(
                sa.text("SELECT 1")
            )  # SQLAlchemy begins the transaction with its first statement
            await other.run_sync(append, [action("theirs", "a")], NOW)
            mine = asyncio.create_task(write(writer, action("mine", "b"), action("mine", "a")))
            await a_session_waits_for(real, "advisory")
            await other.run_sync(append, [action("theirs", "b")], NOW)
            await other.commit()
            assert [receipt.sequence for receipt in await mine] == [2, 2]
        assert faulty.writes == 1
        for tenant_id in ("a", "b"):
            hosts = [entry["host"] for entry in await entries(real, tenant_id)]
            assert hosts == ["theirs", "mine"]
    await engine.dispose()


async def test_commit_different_work_runs_in_order_of_name_and_the_entries_in_order_of_arrival(
    database: Database,
) -> None:
    """Two containers that lock in different orders would deadlock."""
    ran: list[str] = []

    def work(name: str, _connection: Connection, items: Sequence[str]) -> list[WorkResult[str]]:
        ran.append(name)
        return [WorkResult(f"{name} {item}", (action(item),)) for item in items]

    def zeta(connection: Connection, items: Sequence[str]) -> list[WorkResult[str]]:
        return work("zeta", connection, items)

    def alpha(connection: Connection, items: Sequence[str]) -> list[WorkResult[str]]:
        return work("alpha", connection, items)

    def commit(
        function: Callable[[Connection, Sequence[str]], Sequence[WorkResult[str]]], item: str
    ) -> "asyncio.Task[Committed[str]]":
        return asyncio.create_task(writer.commit(function, item))

    later = partial(zeta)
    async with running_writer(database) as writer:
        tasks = [commit(later, "1"), commit(alpha, "2"), commit(later, "3"), commit(alpha, "4")]
        results = await asyncio.gather(*tasks)
    assert ran == ["alpha", "zeta"]
    assert [committed.result for committed in results] == ["zeta 1", "alpha 2", "zeta 3", "alpha 4"]
    assert [committed.receipts[0].sequence for committed in results] == [1, 2, 3, 4]
    assert [entry["host"] for entry in await entries(database)] == ["1", "2", "3", "4"]


async def test_commit_after_append_is_executed_with_the_receipts_in_the_same_transaction(
    database: Database,
) -> None:
    remember = sa.update(heartbeat).values(at=heartbeat.c.at + sa.bindparam("last"))
    seen: list[tuple[Receipt, ...]] = []

    def after_append(receipts: tuple[Receipt, ...]) -> tuple[sa.Update, dict[str, object]]:
        seen.append(receipts)
        return remember, {"last": sum(receipt.sequence for receipt in receipts)}

    def work(_connection: Connection, items: Sequence[int]) -> list[WorkResult[None]]:
        return [WorkResult(None, (noted(item),) * item, after_append) for item in items]

    def remembered(connection: Connection) -> object:
        return connection.execute(sa.select(heartbeat.c.at)).scalar()

    faulty = FaultyDatabase(database)
    async with running_writer(faulty) as writer:
        tasks = [asyncio.create_task(writer.commit(work, count)) for count in (2, 0, 1)]
        await asyncio.gather(*tasks, *start(writer, noted(1)))
    assert seen == [(await task).receipts for task in tasks]
    assert [len(receipts) for receipts in seen] == [2, 0, 1]
    assert faulty.writes == 1
    assert await database.read(remembered) == 1 + 2 + 3


async def test_append_nothing_locks_and_writes_nothing(database: Database) -> None:
    assert await database.write(append, (), NOW) == []
    assert await verified_chains(database) == {}


PLACES: list[Place] = [(f"tenant-{number}", "events") for number in range(4)]


async def hammer(database: Database, name: str, rounds: int) -> list[Receipt]:
    """Write entries of all chains from 16 callers at once; return their receipts."""
    shuffle = random.Random(name).shuffle  # noqa: S311

    async def call(writer: ChainWriter, caller: int) -> list[Receipt]:
        receipts: list[Receipt] = []
        for number in range(rounds):
            drafts = [noted(caller * 1000 + number, tenant_id) for tenant_id, _ in PLACES]
            shuffle(drafts)
            receipts += await write(writer, *drafts)
        return receipts

    async with running_writer(database, wall_clock) as writer:
        called = await asyncio.gather(*(call(writer, caller) for caller in range(16)))
    return [receipt for receipts in called for receipt in receipts]


def check_all_there(chains: dict[Place, list[str]], receipts: Sequence[Receipt]) -> None:
    """Each receipt names an entry of its own, and there is no entry without one."""
    assert Counter((r.tenant_id, r.stream, r.sequence, r.hash) for r in receipts) == Counter(
        (*place, number, entry_hash)
        for place, hashes in chains.items()
        for number, entry_hash in enumerate(hashes, start=1)
    )


async def test_commit_two_writers_on_one_postgresql_fork_nothing_and_lose_nothing(
    postgres: Postgres, data_dir: Path
) -> None:
    url = await ready_postgres_database(postgres)
    async with open_database(url, data_dir) as one, open_database(url, data_dir) as other:
        receipts = await asyncio.gather(hammer(one, "one", 10), hammer(other, "other", 10))
        assert len(receipts[0]) == len(receipts[1]) == 16 * 10 * len(PLACES)
        check_all_there(await verified_chains(one), [*receipts[0], *receipts[1]])


def hammer_in_process(
    url: str, name: str, barrier: Barrier, results: "multiprocessing.Queue[list[Receipt]]"
) -> None:
    async def run() -> list[Receipt]:
        async with open_database(url, Path("unused")) as database:
            barrier.wait()
            return await hammer(database, name, 10)

    results.put(asyncio.run(run()))


@pytest.mark.long
async def test_commit_two_processes_on_one_postgresql_fork_nothing_and_lose_nothing(
    postgres: Postgres, data_dir: Path
) -> None:
    url = await ready_postgres_database(postgres)
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    processes = [
        spawn.Process(target=hammer_in_process, args=(url, name, barrier, results))
        for name in ("one", "other")
    ]
    for process in processes:
        process.start()
    receipts = [await asyncio.to_thread(results.get, timeout=60) for _ in processes]
    for process in processes:
        await asyncio.to_thread(process.join)
    assert [process.exitcode for process in processes] == [0, 0]
    async with open_database(url, data_dir) as database:
        check_all_there(await verified_chains(database), [*receipts[0], *receipts[1]])


class Container:
    """One container of a service: its connections, its writer, the clock of its host."""

    def __init__(self, url: str | None, data_dir: Path, clock: Clock) -> None:
        self._url = url
        self._data_dir = data_dir
        self._clock = clock
        self._opened = AsyncExitStack()

    async def start(self) -> None:
        real = await self._opened.enter_async_context(open_database(self._url, self._data_dir))
        self.database = FaultyDatabase(real)
        self.writer = await self._opened.enter_async_context(
            running_writer(self.database, self._clock)
        )

    async def stop(self) -> None:
        await self._opened.aclose()


a_place = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["actions", "events"]))
some_places = st.lists(a_place, min_size=1, max_size=4)
a_container = st.integers(0, 1)
_examples: Iterator[int] = itertools.count()


class WriterMachine(RuleBasedStateMachine):
    """Two containers on one database, with faults, restarts and changes of the clock.

    The entry of every receipt stays in its place. Every chain verifies from genesis. An export is
    always the beginning of every later export.
    """

    def __init__(
        self, runner: asyncio.Runner, containers: Sequence[Container], clock: Clock
    ) -> None:
        super().__init__()
        self.run = runner.run
        self.containers = containers
        self.clock = clock
        self.prefix = f"example-{next(_examples)}-"  # each example has its own chains
        self.receipts: list[Receipt] = []
        self.exported: dict[Place, list[bytes]] = {}

    def start(self, container: int, places: Sequence[Place]) -> "asyncio.Task[tuple[Receipt, ...]]":
        drafts = [
            action("host", self.prefix + tenant_id)
            if stream == "actions"
            else noted(1, self.prefix + tenant_id)
            for tenant_id, stream in places
        ]
        return asyncio.create_task(write(self.containers[container].writer, *drafts))

    @rule(container=a_container, callers=st.lists(some_places, min_size=1, max_size=3))
    def append(self, container: int, callers: list[list[Place]]) -> None:
        async def act() -> None:
            for task in [self.start(container, places) for places in callers]:
                self.receipts += await task

        self.run(act())

    @rule(places=some_places, others=some_places)
    def append_in_both_containers(self, places: list[Place], others: list[Place]) -> None:
        async def act() -> None:
            for task in [self.start(0, places), self.start(1, others)]:
                self.receipts += await task

        self.run(act())

    @rule(container=a_container, places=some_places, fault=st.sampled_from(["before", "after"]))
    def append_with_a_failing_commit(
        self, container: int, places: list[Place], fault: Fault
    ) -> None:
        async def act() -> None:
            database = self.containers[container].database
            database.faults = {database.writes + 1: fault}
            with pytest.raises(DatabaseUnavailableError):
                await self.start(container, places)

        self.run(act())

    @rule(container=a_container, places=some_places, others=some_places, turns=st.integers(0, 5))
    def append_and_hang_up(
        self, container: int, places: list[Place], others: list[Place], turns: int
    ) -> None:
        async def act() -> None:
            gone, stays = self.start(container, places), self.start(container, others)
            for _ in range(turns):
                await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait([gone])
            self.receipts += await stays

        self.run(act())

    @rule(container=a_container)
    def restart(self, container: int) -> None:
        self.run(self.containers[container].stop())
        self.run(self.containers[container].start())

    @rule(container=a_container, places=some_places)
    def stop_while_writing(self, container: int, places: list[Place]) -> None:
        async def act() -> None:
            began = self.containers[container].database.began
            began.clear()
            task = self.start(container, places)
            await began.wait()
            await self.containers[container].stop()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                self.receipts += task.result()
            await self.containers[container].start()

        self.run(act())

    @rule(seconds=st.integers(-10_000, 10_000))
    def set_the_clock(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(container=a_container, place=a_place)
    def export(self, container: int, place: Place) -> None:
        async def act() -> list[bytes]:
            pages = export.pages(
                self.containers[container].database, self.prefix + place[0], place[1]
            )
            return [line async for page in pages for line in page]

        lines = self.run(act())
        before = self.exported.get(place, [])
        assert lines[: len(before)] == before
        self.exported[place] = lines

    @invariant()
    def every_receipt_is_still_there(self) -> None:
        async def act() -> dict[Place, list[dict[str, object]]]:
            database = self.containers[0].database
            return {
                (tenant_id, stream): await entries(database, tenant_id, stream)
                for tenant_id in (f"{self.prefix}a", f"{self.prefix}b")
                for stream in ("actions", "events")
            }

        chains = self.run(act())
        for receipt in self.receipts:
            chain = chains[receipt.tenant_id, receipt.stream]
            assert chain[receipt.sequence - 1]["hash"] == receipt.hash


def run_machine(database_url: str | None, data_dir: Path) -> None:
    clock = Clock()
    containers = [Container(database_url, data_dir, clock) for _ in range(2)]
    with asyncio.Runner() as runner:
        for container in containers:
            runner.run(container.start())

        class Machine(WriterMachine):
            def __init__(self) -> None:
                super().__init__(runner, containers, clock)

        examples = max(4, settings().max_examples // 6)  # 4 in a quick run, 8 in a long one
        run_state_machine_as_test(
            Machine, settings=settings(max_examples=examples, stateful_step_count=15)
        )
        for container in containers:
            runner.run(container.stop())


async def test_commit_with_any_faults_loses_no_receipt_and_forks_no_chain_contract_30(
    database_url: str | None, data_dir: Path
) -> None:
    # In a thread, because hypothesis is not asynchronous: its steps run their own event loop.
    await asyncio.to_thread(run_machine, database_url, data_dir)
