"""Reads, takes over and acknowledges alerts of a real Valkey (contract 15, 17 and 49)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis.asyncio

from tests.audit import FaultyDatabase, events
from tests.sample_alerts import NOW, TENANT, put_new, queued_ids, row_of, unfinished
from vyrox.alerts import consumer as consumers
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.dead_letters import LAST_DELIVERY_MS, MAX_DELIVERIES, is_dead
from vyrox.alerts.queue import GROUP, AlertQueue, stream_key
from vyrox.errors import DatabaseUnavailableError, QueueUnavailableError
from vyrox.store.database import Database
from vyrox.store.redis import connect
from vyrox.store.tables import alerts


async def test_consumers_make_room_in_a_redis_without_memory_contract_17(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    await put_new(queue, sqlite, 2)
    [first] = await consumer.read(TENANT, "one", 1)
    await client.config_set("maxmemory", 1)
    try:
        [second] = await consumer.read(TENANT, "one", 1)
        assert len(await consumer.take_over(TENANT, "two", 0, NOW)) == 2
        for delivered in (first, second):
            await consumer.acknowledge(delivered, NOW)
    finally:
        await client.config_set("maxmemory", 0)
    assert await queued_ids(client) == []


async def test_read_each_alert_goes_to_one_consumer(
    queue: AlertQueue, sqlite: Database, consumer: AlertConsumer
) -> None:
    ids = await put_new(queue, sqlite, 5)
    await put_new(queue, sqlite, 1, "other-corp")
    one = await consumer.read(TENANT, "one", 2)
    other = await consumer.read(TENANT, "other", 100)
    assert [delivered.alert.id for delivered in one + other] == ids
    assert (len(one), len(other)) == (2, 3)
    assert await consumer.read(TENANT, "one", 100) == []
    assert {delivered.tenant_id for delivered in one + other} == {TENANT}
    assert len({delivered.raw for delivered in one + other}) == 5


async def test_read_waits_for_what_arrives(
    queue: AlertQueue, sqlite: Database, consumer: AlertConsumer
) -> None:
    reading = asyncio.create_task(consumer.read(TENANT, "one", 1, block_ms=500))
    [alert_id] = await put_new(queue, sqlite, 1)
    delivered = await reading or await consumer.read(TENANT, "one", 1)
    assert [one.alert.id for one in delivered] == [alert_id]


async def test_read_skips_and_takes_off_what_is_finished(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    """A consumer died between row and entry, or a refill ran during an acknowledgement."""
    finished, unfinished_id = await put_new(queue, sqlite, 2)
    await sqlite.write(
        lambda connection: (
            connection.execute(
                alerts.update().where(alerts.c.id == finished).values(finished_at=NOW)
            ).rowcount
        )
    )
    delivered = await consumer.read(TENANT, "one", 100)
    assert [one.alert.id for one in delivered] == [unfinished_id]
    assert await queued_ids(client) == [unfinished_id]


async def test_a_batch_leaves_the_stream_by_few_calls_contract_82(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    sqlite: Database,
    consumer: AlertConsumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call for each alert took the worker as long as judging it."""
    await put_new(queue, sqlite, 7)
    delivered = await consumer.read(TENANT, "one", 6)
    calls: list[int] = []
    script = consumer._remove_script

    async def counted(keys: list[str], args: list[bytes | str]) -> object:
        calls.append(len(args) // 2)
        return await script(keys, args)

    monkeypatch.setattr(consumer, "_remove_script", counted)
    await consumer.remove(delivered[:4])
    monkeypatch.setattr(consumers, "MAX_REMOVED_BYTES", 1)
    await consumer.remove(delivered[4:])
    assert calls == [4, 1, 1]
    assert len(await queued_ids(client)) == 1
    assert await client.xpending(stream_key(TENANT), GROUP) == {
        "pending": 0,
        "min": None,
        "max": None,
        "consumers": [],
    }


async def test_read_after_redis_was_emptied_makes_the_group_again_contract_17(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    await put_new(queue, sqlite, 1)
    assert len(await consumer.read(TENANT, "one", 100)) == 1
    await client.flushall()
    ids = await put_new(queue, sqlite, 2)
    assert [one.alert.id for one in await consumer.read(TENANT, "one", 100)] == ids
    assert await consumer.take_over(TENANT, "other", 60_000, NOW) == []


async def test_finish_takes_the_alert_off_for_good(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    ids = await put_new(queue, sqlite, 2)
    first, second = await consumer.read(TENANT, "one", 100)
    await consumer.acknowledge(first, NOW + 1)
    assert await sqlite.read(row_of, first.alert.id) == (NOW + 1, None)
    assert await queued_ids(client) == [second.alert.id]
    assert await unfinished(sqlite) == {(TENANT, second.alert.id)}
    assert (await client.xpending(stream_key(TENANT), GROUP))["pending"] == 1
    # A second acknowledgement, by a consumer that was too slow, changes nothing.
    await consumer.acknowledge(first, NOW + 99)
    assert await sqlite.read(row_of, first.alert.id) == (NOW + 1, None)
    await consumer.acknowledge(second, NOW + 2)
    assert await client.keys("vyrox:queued:*") == []
    assert ids == [first.alert.id, second.alert.id]


async def test_finish_without_redis_leaves_an_entry_that_read_skips(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    sqlite: Database,
    consumer: AlertConsumer,
    data_dir: Path,
) -> None:
    [alert_id] = await put_new(queue, sqlite, 1)
    [delivered] = await consumer.read(TENANT, "one", 1)
    async with connect(f"unix://{data_dir}/nobody.sock") as nowhere:
        with pytest.raises(QueueUnavailableError):
            await AlertConsumer(nowhere, sqlite).acknowledge(delivered, NOW)
    assert await sqlite.read(row_of, alert_id) == (NOW, None)
    assert await queued_ids(client) == [alert_id]
    assert await consumer.take_over(TENANT, "other", 0, NOW) == []
    assert await queued_ids(client) == []


async def test_take_over_what_a_dead_consumer_left(
    queue: AlertQueue, sqlite: Database, consumer: AlertConsumer
) -> None:
    ids = await put_new(queue, sqlite, 3)
    held = await consumer.read(TENANT, "dead", 100)
    await consumer.acknowledge(held[0], NOW)
    assert await consumer.take_over(TENANT, "alive", 60_000, NOW) == []
    taken = await consumer.take_over(TENANT, "alive", 0, NOW)
    assert [one.alert.id for one in taken] == ids[1:]
    for delivered in taken:
        await consumer.acknowledge(delivered, NOW)
    assert await unfinished(sqlite) == set()


async def age(client: redis.asyncio.Redis, consumer: str, *entry_ids: bytes) -> None:
    """Set the idle time of the consumer's entries to two minutes."""
    key = stream_key(TENANT)
    await client.xclaim(key, GROUP, consumer, 0, list(entry_ids), idle=120_000, justid=True)


async def test_take_over_finds_what_is_idle_behind_much_that_is_not(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    ids = await put_new(queue, sqlite, 40)
    held = await consumer.read(TENANT, "busy", 100)
    await age(client, "busy", held[-1].entry_id)
    taken = await consumer.take_over(TENANT, "alive", 60_000, NOW, count=1)
    assert [one.alert.id for one in taken] == ids[-1:]


async def test_take_over_by_two_at_once_gives_each_alert_to_one(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    sqlite: Database,
    monkeypatch: pytest.MonkeyPatch,
    consumer: AlertConsumer,
) -> None:
    """Both read the same idle entries before either claims one."""
    ids = await put_new(queue, sqlite, 4)
    held = await consumer.read(TENANT, "dead", 100)
    await age(client, "dead", *(one.entry_id for one in held))
    claim, both = consumer._claim, asyncio.Barrier(2)

    async def claim_together(
        stream: str, consumer: str, min_idle_ms: int, entry_ids: Sequence[bytes]
    ) -> object:
        await both.wait()
        return await claim(stream, consumer, min_idle_ms, entry_ids)

    monkeypatch.setattr(consumer, "_claim", claim_together)
    taken = await asyncio.gather(
        *(consumer.take_over(TENANT, name, 60_000, NOW) for name in ("one", "two"))
    )
    assert sorted(one.alert.id for each in taken for one in each) == sorted(ids)


async def test_take_over_of_none_takes_none(
    queue: AlertQueue, sqlite: Database, consumer: AlertConsumer
) -> None:
    await put_new(queue, sqlite, 1)
    await consumer.read(TENANT, "dead", 100)
    assert await consumer.take_over(TENANT, "alive", 0, NOW, count=0) == []


async def test_take_over_gives_up_after_max_deliveries(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    worn_out, fresh = await put_new(queue, sqlite, 2)
    [delivered] = await consumer.read(TENANT, "consumer-0", 1)
    for number in range(1, MAX_DELIVERIES):
        taken = await consumer.take_over(TENANT, f"consumer-{number}", 0, NOW)
        assert [one.alert.id for one in taken] == [worn_out]
    await consumer.read(TENANT, "last", 1)
    taken = await consumer.take_over(TENANT, "last", 0, NOW + 9)
    assert [one.alert.id for one in taken] == [fresh]
    finished_at, dead_reason = await sqlite.read(row_of, worn_out)
    assert finished_at == NOW + 9
    assert dead_reason == "delivered 5 times, never finished"
    assert await queued_ids(client) == [fresh]
    assert await unfinished(sqlite) == {(TENANT, fresh)}
    assert delivered.alert.id == worn_out


@pytest.mark.parametrize(
    ("deliveries", "idle_ms", "dead"),
    [
        pytest.param(MAX_DELIVERIES - 1, 10 * LAST_DELIVERY_MS, False, id="reject_one_more_try"),
        pytest.param(MAX_DELIVERIES, LAST_DELIVERY_MS - 1, False, id="reject_at_work"),
        pytest.param(MAX_DELIVERIES, LAST_DELIVERY_MS, True, id="accept_never_finished"),
        pytest.param(MAX_DELIVERIES + 1, 0, True, id="accept_one_too_many"),
    ],
)
def test_is_dead_contract_49(deliveries: int, idle_ms: int, dead: bool) -> None:
    assert is_dead(deliveries, idle_ms) is dead


async def test_move_dead_letters_of_a_consumer_in_another_language_contract_49(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    """The consumer uses plain Redis, as in docs/operations.md, and never calls `take_over`."""
    dead, fresh = await put_new(queue, sqlite, 2)
    await put_new(queue, sqlite, 1, "nobody-reads")
    key = stream_key(TENANT)
    await client.xgroup_create(key, GROUP, "0")
    await client.xreadgroup(GROUP, "worker", {key: ">"}, count=1)
    for _ in range(MAX_DELIVERIES - 1):
        await client.xautoclaim(key, GROUP, "worker", 0)
    await consumer.move_dead_letters(NOW)
    assert await queued_ids(client) == sorted([dead, fresh])  # the consumer may be busy
    await client.xautoclaim(key, GROUP, "worker", 0)
    for _ in range(2):
        await consumer.move_dead_letters(NOW + 9)
    assert await sqlite.read(row_of, dead) == (NOW + 9, "delivered 6 times, never finished")
    assert await queued_ids(client) == [fresh]
    assert (await client.xpending(key, GROUP))["pending"] == 0
    told = [e for e in await events(sqlite, TENANT) if e["kind"] == "alert.dead"]
    assert [(e["alert_id"], e["deliveries"]) for e in told] == [(dead, 6)]


async def test_move_dead_letters_reads_every_page_contract_49(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    sqlite: Database,
    monkeypatch: pytest.MonkeyPatch,
    consumer: AlertConsumer,
) -> None:
    monkeypatch.setattr("vyrox.alerts.consumer.PENDING_PAGE", 2)
    ids = await put_new(queue, sqlite, 5)
    held = await consumer.read(TENANT, "worker", 5)
    await client.xclaim(
        stream_key(TENANT), GROUP, "worker", 0, [held[4].entry_id], retrycount=6, justid=True
    )
    await consumer.move_dead_letters(NOW)
    assert await queued_ids(client) == sorted(ids[:4])


async def test_take_over_gives_up_whatever_else_the_consumer_holds(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    ids = await put_new(queue, sqlite, 6)
    held = await consumer.read(TENANT, "consumer", 100)
    for _ in range(MAX_DELIVERIES - 1):
        key = stream_key(TENANT)
        await client.xclaim(key, GROUP, "consumer", 0, [held[-1].entry_id])
    await age(client, "consumer", held[0].entry_id, held[-1].entry_id)
    taken = await consumer.take_over(TENANT, "consumer", 60_000, NOW)
    assert [one.alert.id for one in taken] == ids[:1]
    assert await unfinished(sqlite) == {(TENANT, alert_id) for alert_id in ids[:-1]}


async def test_take_over_counts_no_delivery_that_reaches_nobody(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database
) -> None:
    """While the database is away, every call fails; no alert becomes a dead letter."""
    faulty = FaultyDatabase(sqlite)
    consumer = AlertConsumer(client, faulty)
    [alert_id] = await put_new(queue, sqlite, 1)
    faulty.always = "before"
    with pytest.raises(DatabaseUnavailableError):
        await consumer.read(TENANT, "consumer", 10)
    for _ in range(2 * MAX_DELIVERIES):
        with pytest.raises(DatabaseUnavailableError):
            await consumer.take_over(TENANT, "consumer", 0, NOW)
    faulty.always = None
    for _ in range(MAX_DELIVERIES - 1):
        [delivered] = await consumer.take_over(TENANT, "consumer", 0, NOW)
        assert delivered.alert.id == alert_id
    assert await consumer.take_over(TENANT, "consumer", 0, NOW) == []
    assert await queued_ids(client) == []


async def test_take_over_takes_large_bodies_in_parts(
    queue: AlertQueue, sqlite: Database, monkeypatch: pytest.MonkeyPatch, consumer: AlertConsumer
) -> None:
    monkeypatch.setattr("vyrox.alerts.consumer.MAX_CLAIM_BYTES", 1)
    ids = await put_new(queue, sqlite, 3)
    await consumer.read(TENANT, "dead", 100)
    taken = [
        delivered.alert.id
        for _ in range(3)
        for delivered in await consumer.take_over(TENANT, "alive", 1, NOW)
    ]
    assert taken[:1] == ids[:1]
    assert len(await consumer.take_over(TENANT, "other", 0, NOW)) == 1


async def test_take_over_goes_on_behind_entries_that_were_deleted(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    ids = await put_new(queue, sqlite, 6)
    held = await consumer.read(TENANT, "dead", 100)
    await client.xdel(stream_key(TENANT), *(one.entry_id for one in held[:4]))
    taken = await consumer.take_over(TENANT, "alive", 0, NOW, count=2)
    assert [one.alert.id for one in taken] == ids[4:]
    assert await consumer.take_over(TENANT, "alive", 60_000, NOW, count=2) == []


async def test_take_over_of_an_entry_that_was_deleted_forgets_it(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    await put_new(queue, sqlite, 2)
    first, second = await consumer.read(TENANT, "dead", 100)
    await client.xdel(stream_key(TENANT), first.entry_id)
    taken = await consumer.take_over(TENANT, "alive", 0, NOW)
    assert [one.entry_id for one in taken] == [second.entry_id]
    pending = await client.xpending_range(stream_key(TENANT), GROUP, "-", "+", 10)
    assert [entry["message_id"] for entry in pending] == [second.entry_id]
