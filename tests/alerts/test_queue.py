"""The alert queue on a real Valkey (contract 15 and 17)."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, cast

import pytest
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.audit import FaultyDatabase, events
from tests.sample_alerts import (
    NOW,
    TENANT,
    entry_of,
    new_delivery,
    queued,
    stored_entries,
    unfinished,
)
from vyrox.alerts.dead_letters import MAX_DELIVERIES, PATIENCE_MS, is_dead
from vyrox.alerts.queue import GROUP, AlertQueue, QueueEntry, TenantRows, count_rows, stream_key
from vyrox.errors import DatabaseUnavailableError, QueueFullError, QueueUnavailableError
from vyrox.store.database import Database, open_database
from vyrox.store.redis import connect
from vyrox.store.tables import alerts

MAX_ALERTS: Final = 1000
CANARY: Final = "canary-in-the-alert"


@pytest.fixture
async def database(data_dir: Path) -> AsyncIterator[Database]:
    """SQLite alone: what the queue asks of the database is tested with the database."""
    async with open_database(None, data_dir) as opened:
        yield opened


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with connect(redis_url) as connected:
        yield connected


@pytest.fixture
def queue(client: redis.asyncio.Redis, database: Database) -> AlertQueue:
    return AlertQueue(client, database, MAX_ALERTS)


@asynccontextmanager
async def running(*queues: AlertQueue) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(queue.run()) for queue in queues]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def put_new(
    queue: AlertQueue, database: Database, count: int, tenant_id: str = TENANT
) -> list[str]:
    """Store and queue `count` new alerts; return their ids."""
    entries = await stored_entries(database, count, tenant_id)
    assert set(await queue.put_batch(entries)) == {b"added"}
    return [entry.alert_id for entry in entries]


async def queued_ids(client: redis.asyncio.Redis, tenant_id: str = TENANT) -> list[str]:
    return [alert_id for _, alert_id in await queued(client, tenant_id)]


def row(connection: Connection, alert_id: str) -> tuple[float | None, str | None]:
    """Return when the alert was finished, and why it was given up."""
    query = sa.select(alerts.c.finished_at, alerts.c.dead_reason).where(alerts.c.id == alert_id)
    finished_at, dead_reason = connection.execute(query).one()
    return finished_at, dead_reason


async def test_stream_key_has_the_braces_contract_15() -> None:
    assert stream_key("acme-corp") == "vyrox:alerts:{acme-corp}"


async def test_put_entry_is_the_alert_and_the_body_contract_15(
    queue: AlertQueue, client: redis.asyncio.Redis
) -> None:
    raw = bytes(range(256))
    stored = new_delivery(raw)
    async with running(queue):
        await queue.put(entry_of(stored))
    entries = await client.xrange(b"vyrox:alerts:{acme-corp}")
    [(_, fields)] = cast(list[tuple[bytes, dict[bytes, bytes]]], entries)
    assert fields == {b"alert": stored.alert, b"raw": raw}
    assert json.loads(fields[b"alert"])["id"] == stored.alert_id


async def test_put_same_alert_from_two_containers_is_one_entry_contract_15(
    redis_url: str, database: Database
) -> None:
    entries = await stored_entries(database, 20)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(redis_url)) for _ in range(2)]
        queues = [AlertQueue(client, database, MAX_ALERTS) for client in clients]
        async with running(*queues):
            await asyncio.gather(
                *(queue.put(entry) for _ in range(3) for entry in entries for queue in queues)
            )
        assert await queued_ids(clients[0]) == sorted(entry.alert_id for entry in entries)


async def test_put_into_a_full_queue_is_refused_and_nothing_trimmed_contract_17(
    client: redis.asyncio.Redis, database: Database
) -> None:
    queue = AlertQueue(client, database, max_alerts=3)
    full = await put_new(queue, database, 3)
    [entry] = await stored_entries(database, 1)
    async with running(queue):
        with pytest.raises(QueueFullError):
            await queue.put(entry)
        assert await queued_ids(client) == sorted(full)
        # What is queued already is there, and another tenant has room.
        await queue.put((await stored_entries(database, 1, "other-corp"))[0])
        [first] = await queue.read(TENANT, "a", 1)
        await queue.finish(first, NOW)
        await queue.put(entry)
    assert await queued_ids(client) == sorted({*full, entry.alert_id} - {first.alert.id})


async def test_put_batch_fills_a_queue_to_the_maximum(
    client: redis.asyncio.Redis, database: Database
) -> None:
    queue = AlertQueue(client, database, max_alerts=3)
    entries = await stored_entries(database, 5)
    assert await queue.put_batch(entries[:1]) == [b"added"]
    assert await queue.put_batch(entries) == [b"present", b"added", b"added", b"full", b"full"]


async def test_put_batch_mark_without_its_entry_counts_as_missing_contract_17(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    entries = await stored_entries(database, 3)
    pairs = [(entry.tenant_id, entry.alert_id) for entry in entries]
    await queue.put_batch(entries)
    assert await queue.missing(pairs) == []
    await client.delete(stream_key(TENANT))
    assert await queue.missing(pairs) == [entry.alert_id for entry in entries]
    assert await queue.put_batch(entries) == [b"added"] * 3
    assert await queue.missing(pairs) == []


async def test_put_batch_entry_of_another_alert_is_not_this_one_contract_17(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    """A stream that was deleted may give an entry's id a second time."""
    entry, other = await stored_entries(database, 2)
    await queue.put_batch([entry])
    [(entry_id, _)] = cast(list[tuple[bytes, object]], await client.xrange(stream_key(TENANT)))
    await client.delete(stream_key(TENANT))
    await client.xadd(stream_key(TENANT), {"alert": other.alert, "raw": other.raw}, entry_id)
    assert await queue.missing([(TENANT, entry.alert_id)]) == [entry.alert_id]
    assert await queue.put_batch([entry]) == [b"added"]


MARKS: Final = "vyrox:queued:{acme-corp}"


async def test_put_batch_without_its_marks_queues_nothing_twice_contract_15(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    entries = await stored_entries(database, 3)
    await queue.put_batch(entries)
    await client.delete(MARKS)
    assert await queue.missing([(entry.tenant_id, entry.alert_id) for entry in entries]) == []
    await client.delete(MARKS)
    [new] = await stored_entries(database, 1)
    assert await queue.put_batch([*entries, new]) == [*[b"present"] * 3, b"added"]
    assert await queued_ids(client) == sorted(entry.alert_id for entry in [*entries, new])


async def test_put_batch_without_the_marks_of_a_long_queue_waits_for_them_contract_15(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vyrox.alerts.queue.PAGE", 2)
    entries = await stored_entries(database, 5)
    await queue.put_batch(entries)
    await client.delete(MARKS)
    other = await stored_entries(database, 1, "other-corp")
    assert await queue.put_batch([entries[4], *other]) == [b"unsure", b"added"]
    assert await queue.put_patiently(entries[4:]) == [b"present"]
    assert len(await queued_ids(client)) == 5


def size(entries: Sequence[QueueEntry]) -> int:
    return sum(len(entry.alert) + len(entry.raw) for entry in entries)


async def test_put_into_a_queue_with_too_many_bytes_is_refused_contract_17(
    client: redis.asyncio.Redis, database: Database
) -> None:
    entries = await stored_entries(database, 4)
    queue = AlertQueue(client, database, MAX_ALERTS, size(entries[:2]) + 1)
    assert await queue.put_batch(entries) == [*[b"added"] * 3, b"full"]
    async with running(queue):
        with pytest.raises(QueueFullError):
            await queue.put(entries[3])
        await queue.put((await stored_entries(database, 1, "other-corp"))[0])
    [first] = await queue.read(TENANT, "a", 1)
    await queue.finish(first, NOW)
    assert await queue.put_batch(entries[3:]) == [b"added"]


async def test_put_finds_the_room_that_others_have_made_contract_17(
    client: redis.asyncio.Redis, database: Database
) -> None:
    """As docs/operations.md tells consumers in other languages: XDEL and HDEL, and no more."""
    large = entry_of(new_delivery(bytes(10_000)))
    small = await stored_entries(database, 9)
    queue = AlertQueue(client, database, MAX_ALERTS, size([large, *small[:4]]))
    assert await queue.put_batch([large, *small[:5]]) == [*[b"added"] * 5, b"full"]
    await take_off(client, small[:4])
    # What is left is more than a fifth of the bytes, and more than the average.
    assert await queue.put_batch(small[4:]) == [*[b"added"] * 4, b"full"]
    await take_off(client, [large, *small])
    assert await queue.put_batch([large, *small[:5]]) == [*[b"added"] * 5, b"full"]


async def take_off(client: redis.asyncio.Redis, entries: Sequence[QueueEntry]) -> None:
    """Do what a consumer in another language does once the rows are marked."""
    for entry in entries:
        if (entry_id := await client.hget(MARKS, entry.alert_id)) is not None:
            await client.xdel(stream_key(TENANT), entry_id)
            await client.hdel(MARKS, entry.alert_id)


async def test_consumers_make_room_in_a_redis_without_memory_contract_17(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    await put_new(queue, database, 2)
    [first] = await queue.read(TENANT, "one", 1)
    await client.config_set("maxmemory", 1)
    try:
        [second] = await queue.read(TENANT, "one", 1)
        assert len(await queue.take_over(TENANT, "two", 0, NOW)) == 2
        for delivered in (first, second):
            await queue.finish(delivered, NOW)
    finally:
        await client.config_set("maxmemory", 0)
    assert await queued_ids(client) == []


async def test_read_each_alert_goes_to_one_consumer(queue: AlertQueue, database: Database) -> None:
    ids = await put_new(queue, database, 5)
    await put_new(queue, database, 1, "other-corp")
    one = await queue.read(TENANT, "one", 2)
    other = await queue.read(TENANT, "other", 100)
    assert [delivered.alert.id for delivered in one + other] == ids
    assert (len(one), len(other)) == (2, 3)
    assert await queue.read(TENANT, "one", 100) == []
    assert {delivered.tenant_id for delivered in one + other} == {TENANT}
    assert len({delivered.raw for delivered in one + other}) == 5


async def test_read_waits_for_what_arrives(queue: AlertQueue, database: Database) -> None:
    reading = asyncio.create_task(queue.read(TENANT, "one", 1, block_ms=500))
    [alert_id] = await put_new(queue, database, 1)
    delivered = await reading or await queue.read(TENANT, "one", 1)
    assert [one.alert.id for one in delivered] == [alert_id]


async def test_read_skips_and_takes_off_what_is_finished(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    """A consumer that died between the row and the entry, or a refill that met a finish."""
    finished, unfinished_id = await put_new(queue, database, 2)
    await database.write(
        lambda connection: (
            connection.execute(
                alerts.update().where(alerts.c.id == finished).values(finished_at=NOW)
            ).rowcount
        )
    )
    delivered = await queue.read(TENANT, "one", 100)
    assert [one.alert.id for one in delivered] == [unfinished_id]
    assert await queued_ids(client) == [unfinished_id]


async def test_read_after_redis_was_emptied_makes_the_group_again_contract_17(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    await put_new(queue, database, 1)
    assert len(await queue.read(TENANT, "one", 100)) == 1
    await client.flushall()
    ids = await put_new(queue, database, 2)
    assert [one.alert.id for one in await queue.read(TENANT, "one", 100)] == ids
    assert await queue.take_over(TENANT, "other", 60_000, NOW) == []


async def test_finish_takes_the_alert_off_for_good(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    ids = await put_new(queue, database, 2)
    first, second = await queue.read(TENANT, "one", 100)
    await queue.finish(first, NOW + 1)
    assert await database.read(row, first.alert.id) == (NOW + 1, None)
    assert await queued_ids(client) == [second.alert.id]
    assert await unfinished(database) == {(TENANT, second.alert.id)}
    assert (await client.xpending(stream_key(TENANT), GROUP))["pending"] == 1
    # A second time, by a consumer that was slower than whoever took over, changes nothing.
    await queue.finish(first, NOW + 99)
    assert await database.read(row, first.alert.id) == (NOW + 1, None)
    await queue.finish(second, NOW + 2)
    assert await client.keys("vyrox:queued:*") == []
    assert ids == [first.alert.id, second.alert.id]


async def test_finish_without_redis_leaves_an_entry_that_read_skips(
    redis_url: str, data_dir: Path, database: Database, client: redis.asyncio.Redis
) -> None:
    queue = AlertQueue(client, database, MAX_ALERTS)
    [alert_id] = await put_new(queue, database, 1)
    [delivered] = await queue.read(TENANT, "one", 1)
    async with connect(f"unix://{data_dir}/nobody.sock") as nowhere:
        with pytest.raises(QueueUnavailableError):
            await AlertQueue(nowhere, database, MAX_ALERTS).finish(delivered, NOW)
    assert await database.read(row, alert_id) == (NOW, None)
    assert await queued_ids(client) == [alert_id]
    assert await queue.take_over(TENANT, "other", 0, NOW) == []
    assert await queued_ids(client) == []


async def test_take_over_what_a_dead_consumer_left(queue: AlertQueue, database: Database) -> None:
    ids = await put_new(queue, database, 3)
    held = await queue.read(TENANT, "dead", 100)
    await queue.finish(held[0], NOW)
    assert await queue.take_over(TENANT, "alive", 60_000, NOW) == []
    taken = await queue.take_over(TENANT, "alive", 0, NOW)
    assert [one.alert.id for one in taken] == ids[1:]
    for delivered in taken:
        await queue.finish(delivered, NOW)
    assert await unfinished(database) == set()


async def age(client: redis.asyncio.Redis, consumer: str, *entry_ids: bytes) -> None:
    """Make the consumer have held the entries for two minutes."""
    key = stream_key(TENANT)
    await client.xclaim(key, GROUP, consumer, 0, list(entry_ids), idle=120_000, justid=True)


async def test_take_over_finds_what_is_idle_behind_much_that_is_not(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    ids = await put_new(queue, database, 40)
    held = await queue.read(TENANT, "busy", 100)
    await age(client, "busy", held[-1].entry_id)
    taken = await queue.take_over(TENANT, "alive", 60_000, NOW, count=1)
    assert [one.alert.id for one in taken] == ids[-1:]


async def test_take_over_by_two_at_once_gives_each_alert_to_one(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both have seen the same ones idle before either of them takes one."""
    ids = await put_new(queue, database, 4)
    held = await queue.read(TENANT, "dead", 100)
    await age(client, "dead", *(one.entry_id for one in held))
    claim, both = queue._claim, asyncio.Barrier(2)

    async def claim_together(
        stream: str, consumer: str, min_idle_ms: int, entry_ids: Sequence[bytes]
    ) -> object:
        await both.wait()
        return await claim(stream, consumer, min_idle_ms, entry_ids)

    monkeypatch.setattr(queue, "_claim", claim_together)
    taken = await asyncio.gather(
        *(queue.take_over(TENANT, name, 60_000, NOW) for name in ("one", "two"))
    )
    assert sorted(one.alert.id for each in taken for one in each) == sorted(ids)


async def test_take_over_of_none_takes_none(queue: AlertQueue, database: Database) -> None:
    await put_new(queue, database, 1)
    await queue.read(TENANT, "dead", 100)
    assert await queue.take_over(TENANT, "alive", 0, NOW, count=0) == []


async def test_take_over_gives_up_after_max_deliveries(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    worn_out, fresh = await put_new(queue, database, 2)
    [delivered] = await queue.read(TENANT, "consumer-0", 1)
    for number in range(1, MAX_DELIVERIES):
        taken = await queue.take_over(TENANT, f"consumer-{number}", 0, NOW)
        assert [one.alert.id for one in taken] == [worn_out]
    await queue.read(TENANT, "last", 1)
    taken = await queue.take_over(TENANT, "last", 0, NOW + 9)
    assert [one.alert.id for one in taken] == [fresh]
    finished_at, dead_reason = await database.read(row, worn_out)
    assert finished_at == NOW + 9
    assert dead_reason == "delivered 5 times, never finished"
    assert await queued_ids(client) == [fresh]
    assert await unfinished(database) == {(TENANT, fresh)}
    assert delivered.alert.id == worn_out


@pytest.mark.parametrize(
    ("deliveries", "idle_ms", "dead"),
    [
        pytest.param(MAX_DELIVERIES - 1, 10 * PATIENCE_MS, False, id="reject_one_more_try"),
        pytest.param(MAX_DELIVERIES, PATIENCE_MS - 1, False, id="reject_at_work"),
        pytest.param(MAX_DELIVERIES, PATIENCE_MS, True, id="accept_never_finished"),
        pytest.param(MAX_DELIVERIES + 1, 0, True, id="accept_one_too_many"),
    ],
)
def test_is_dead_contract_49(deliveries: int, idle_ms: int, dead: bool) -> None:
    assert is_dead(deliveries, idle_ms) is dead


async def test_give_up_dead_of_a_consumer_in_another_language_contract_49(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    """Plain Redis, as docs/operations.md has it: nobody calls `take_over`."""
    dead, fresh = await put_new(queue, database, 2)
    await put_new(queue, database, 1, "nobody-reads")
    key = stream_key(TENANT)
    await client.xgroup_create(key, GROUP, "0")
    await client.xreadgroup(GROUP, "worker", {key: ">"}, count=1)
    for _ in range(MAX_DELIVERIES - 1):
        await client.xautoclaim(key, GROUP, "worker", 0)
    await queue.give_up_dead(NOW)
    assert await queued_ids(client) == sorted([dead, fresh])  # the consumer may be at work
    await client.xautoclaim(key, GROUP, "worker", 0)
    for _ in range(2):
        await queue.give_up_dead(NOW + 9)
    assert await database.read(row, dead) == (NOW + 9, "delivered 6 times, never finished")
    assert await queued_ids(client) == [fresh]
    assert (await client.xpending(key, GROUP))["pending"] == 0
    told = [e for e in await events(database, TENANT) if e["kind"] == "alert.dead_lettered"]
    assert [(e["alert_id"], e["deliveries"]) for e in told] == [(dead, 6)]


async def test_give_up_dead_finds_one_behind_a_page_contract_49(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vyrox.alerts.queue.PAGE", 2)
    ids = await put_new(queue, database, 5)
    held = await queue.read(TENANT, "worker", 5)
    await client.xclaim(
        stream_key(TENANT), GROUP, "worker", 0, [held[4].entry_id], retrycount=6, justid=True
    )
    await queue.give_up_dead(NOW)
    assert await queued_ids(client) == sorted(ids[:4])


async def test_take_over_gives_up_whatever_else_the_consumer_holds(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    ids = await put_new(queue, database, 6)
    held = await queue.read(TENANT, "consumer", 100)
    for _ in range(MAX_DELIVERIES - 1):
        key = stream_key(TENANT)
        await client.xclaim(key, GROUP, "consumer", 0, [held[-1].entry_id])
    await age(client, "consumer", held[0].entry_id, held[-1].entry_id)
    taken = await queue.take_over(TENANT, "consumer", 60_000, NOW)
    assert [one.alert.id for one in taken] == ids[:1]
    assert await unfinished(database) == {(TENANT, alert_id) for alert_id in ids[:-1]}


async def test_take_over_counts_no_delivery_that_reaches_nobody(
    client: redis.asyncio.Redis, database: Database
) -> None:
    """While the database is away every call fails; no alert is given up for that."""
    faulty = FaultyDatabase(database)
    queue = AlertQueue(client, faulty, MAX_ALERTS)
    [alert_id] = await put_new(queue, database, 1)
    faulty.always = "before"
    with pytest.raises(DatabaseUnavailableError):
        await queue.read(TENANT, "consumer", 10)
    for _ in range(2 * MAX_DELIVERIES):
        with pytest.raises(DatabaseUnavailableError):
            await queue.take_over(TENANT, "consumer", 0, NOW)
    faulty.always = None
    for _ in range(MAX_DELIVERIES - 1):
        [delivered] = await queue.take_over(TENANT, "consumer", 0, NOW)
        assert delivered.alert.id == alert_id
    assert await queue.take_over(TENANT, "consumer", 0, NOW) == []
    assert await queued_ids(client) == []


async def test_take_over_takes_large_bodies_in_parts(
    queue: AlertQueue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vyrox.alerts.queue.MAX_CLAIM_BYTES", 1)
    ids = await put_new(queue, database, 3)
    await queue.read(TENANT, "dead", 100)
    taken = [
        delivered.alert.id
        for _ in range(3)
        for delivered in await queue.take_over(TENANT, "alive", 1, NOW)
    ]
    assert taken[:1] == ids[:1]
    assert len(await queue.take_over(TENANT, "other", 0, NOW)) == 1


async def test_take_over_goes_on_behind_entries_that_were_deleted(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    ids = await put_new(queue, database, 6)
    held = await queue.read(TENANT, "dead", 100)
    await client.xdel(stream_key(TENANT), *(one.entry_id for one in held[:4]))
    taken = await queue.take_over(TENANT, "alive", 0, NOW, count=2)
    assert [one.alert.id for one in taken] == ids[4:]
    assert await queue.take_over(TENANT, "alive", 60_000, NOW, count=2) == []


async def test_take_over_of_an_entry_that_was_deleted_forgets_it(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    await put_new(queue, database, 2)
    first, second = await queue.read(TENANT, "dead", 100)
    await client.xdel(stream_key(TENANT), first.entry_id)
    taken = await queue.take_over(TENANT, "alive", 0, NOW)
    assert [one.entry_id for one in taken] == [second.entry_id]
    pending = await client.xpending_range(stream_key(TENANT), GROUP, "-", "+", 10)
    assert [entry["message_id"] for entry in pending] == [second.entry_id]


async def test_peek_leaves_the_alerts_where_they_are(
    queue: AlertQueue, client: redis.asyncio.Redis, database: Database
) -> None:
    ids = await put_new(queue, database, 3)
    for _ in range(2):
        assert [alert.id for alert in await queue.peek(TENANT, 2)] == ids[:2]
    assert await queue.count([TENANT, "nobody"]) == [3, 0]


async def test_count_rows_by_where_they_stand(queue: AlertQueue, database: Database) -> None:
    await put_new(queue, database, 3)
    await put_new(queue, database, 1, "other-corp")
    finished, dead, _ = await queue.read(TENANT, "one", 100)
    await queue.finish(finished, NOW)
    for _ in range(MAX_DELIVERIES):
        await queue.take_over(TENANT, "one", 0, NOW, count=1)
    assert await database.read(count_rows) == [
        TenantRows(TENANT, unfinished=1, finished=1, dead=1),
        TenantRows("other-corp", unfinished=1, finished=0, dead=0),
    ]
    assert (await database.read(row, dead.alert.id))[1] is not None
