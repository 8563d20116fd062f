"""Puts alerts into the streams of a real Valkey (contract 15 and 17)."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, cast

import pytest
import redis.asyncio

from tests.alerts.conftest import MAX_ALERTS
from tests.sample_alerts import (
    NOW,
    TENANT,
    entry_of,
    new_delivery,
    put_new,
    queued_ids,
    row_of,
    stored_entries,
)
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.dead_letters import MAX_DELIVERIES
from vyrox.alerts.queue import AlertQueue, QueueEntry, TenantRows, count_rows, stream_key
from vyrox.errors import QueueFullError
from vyrox.store.database import Database
from vyrox.store.redis import connect


@asynccontextmanager
async def running(*queues: AlertQueue) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(queue.run()) for queue in queues]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


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
    redis_url: str, sqlite: Database
) -> None:
    entries = await stored_entries(sqlite, 20)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(redis_url)) for _ in range(2)]
        queues = [AlertQueue(client, MAX_ALERTS) for client in clients]
        async with running(*queues):
            await asyncio.gather(
                *(queue.put(entry) for _ in range(3) for entry in entries for queue in queues)
            )
        assert await queued_ids(clients[0]) == sorted(entry.alert_id for entry in entries)


async def test_put_into_a_full_queue_is_refused_and_nothing_trimmed_contract_17(
    client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    queue = AlertQueue(client, max_alerts=3)
    full = await put_new(queue, sqlite, 3)
    [entry] = await stored_entries(sqlite, 1)
    async with running(queue):
        with pytest.raises(QueueFullError):
            await queue.put(entry)
        assert await queued_ids(client) == sorted(full)
        # The queued alerts stay, and another tenant has room.
        await queue.put((await stored_entries(sqlite, 1, "other-corp"))[0])
        [first] = await consumer.read(TENANT, "a", 1)
        await consumer.acknowledge(first, NOW)
        await queue.put(entry)
    assert await queued_ids(client) == sorted({*full, entry.alert_id} - {first.alert.id})


async def test_put_batch_fills_a_queue_to_the_maximum(
    client: redis.asyncio.Redis, sqlite: Database
) -> None:
    queue = AlertQueue(client, max_alerts=3)
    entries = await stored_entries(sqlite, 5)
    assert await queue.put_batch(entries[:1]) == [b"added"]
    assert await queue.put_batch(entries) == [b"present", b"added", b"added", b"full", b"full"]


async def test_put_batch_mark_without_its_entry_counts_as_missing_contract_17(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database
) -> None:
    entries = await stored_entries(sqlite, 3)
    pairs = [(entry.tenant_id, entry.alert_id) for entry in entries]
    await queue.put_batch(entries)
    assert await queue.missing(pairs) == []
    await client.delete(stream_key(TENANT))
    assert await queue.missing(pairs) == [entry.alert_id for entry in entries]
    assert await queue.put_batch(entries) == [b"added"] * 3
    assert await queue.missing(pairs) == []


async def test_put_batch_entry_of_another_alert_is_not_this_one_contract_17(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database
) -> None:
    """After a stream was deleted, a new stream may use the same entry id again."""
    entry, other = await stored_entries(sqlite, 2)
    await queue.put_batch([entry])
    [(entry_id, _)] = cast(list[tuple[bytes, object]], await client.xrange(stream_key(TENANT)))
    await client.delete(stream_key(TENANT))
    await client.xadd(stream_key(TENANT), {"alert": other.alert, "raw": other.raw}, entry_id)
    assert await queue.missing([(TENANT, entry.alert_id)]) == [entry.alert_id]
    assert await queue.put_batch([entry]) == [b"added"]


MARKS: Final = "vyrox:queued:{acme-corp}"


async def test_put_batch_without_its_marks_queues_nothing_twice_contract_15(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database
) -> None:
    entries = await stored_entries(sqlite, 3)
    await queue.put_batch(entries)
    await client.delete(MARKS)
    assert await queue.missing([(entry.tenant_id, entry.alert_id) for entry in entries]) == []
    await client.delete(MARKS)
    [new] = await stored_entries(sqlite, 1)
    assert await queue.put_batch([*entries, new]) == [*[b"present"] * 3, b"added"]
    assert await queued_ids(client) == sorted(entry.alert_id for entry in [*entries, new])


async def test_put_batch_without_the_marks_of_a_long_queue_waits_for_them_contract_15(
    queue: AlertQueue,
    client: redis.asyncio.Redis,
    sqlite: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vyrox.alerts.queue.MAX_RECOUNT_ENTRIES", 2)
    entries = await stored_entries(sqlite, 5)
    await queue.put_batch(entries)
    await client.delete(MARKS)
    other = await stored_entries(sqlite, 1, "other-corp")
    assert await queue.put_batch([entries[4], *other]) == [b"unsure", b"added"]
    assert await queue.put_patiently(entries[4:]) == [b"present"]
    assert len(await queued_ids(client)) == 5


def size(entries: Sequence[QueueEntry]) -> int:
    return sum(len(entry.alert) + len(entry.raw) for entry in entries)


async def test_put_into_a_queue_with_too_many_bytes_is_refused_contract_17(
    client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    entries = await stored_entries(sqlite, 4)
    queue = AlertQueue(client, MAX_ALERTS, size(entries[:2]) + 1)
    assert await queue.put_batch(entries) == [*[b"added"] * 3, b"full"]
    async with running(queue):
        with pytest.raises(QueueFullError):
            await queue.put(entries[3])
        await queue.put((await stored_entries(sqlite, 1, "other-corp"))[0])
    [first] = await consumer.read(TENANT, "a", 1)
    await consumer.acknowledge(first, NOW)
    assert await queue.put_batch(entries[3:]) == [b"added"]


async def test_put_finds_the_room_that_others_have_made_contract_17(
    client: redis.asyncio.Redis, sqlite: Database
) -> None:
    """Consumers in other languages only call XDEL and HDEL, as docs/operations.md says."""
    large = entry_of(new_delivery(bytes(10_000)))
    small = await stored_entries(sqlite, 9)
    queue = AlertQueue(client, MAX_ALERTS, size([large, *small[:4]]))
    assert await queue.put_batch([large, *small[:5]]) == [*[b"added"] * 5, b"full"]
    await take_off(client, small[:4])
    # The large entry stays: more than a fifth of the bytes, and more than the average.
    assert await queue.put_batch(small[4:]) == [*[b"added"] * 4, b"full"]
    await take_off(client, [large, *small])
    assert await queue.put_batch([large, *small[:5]]) == [*[b"added"] * 5, b"full"]


async def take_off(client: redis.asyncio.Redis, entries: Sequence[QueueEntry]) -> None:
    """Remove the entries as a consumer in another language does."""
    for entry in entries:
        if (entry_id := await client.hget(MARKS, entry.alert_id)) is not None:
            await client.xdel(stream_key(TENANT), entry_id)
            await client.hdel(MARKS, entry.alert_id)


async def test_peek_leaves_the_alerts_where_they_are(
    queue: AlertQueue, client: redis.asyncio.Redis, sqlite: Database
) -> None:
    ids = await put_new(queue, sqlite, 3)
    for _ in range(2):
        assert [alert.id for alert in await queue.peek(TENANT, 2)] == ids[:2]
    assert await queue.count([TENANT, "nobody"]) == [3, 0]


async def test_count_rows_by_where_they_stand(
    queue: AlertQueue, sqlite: Database, consumer: AlertConsumer
) -> None:
    await put_new(queue, sqlite, 3)
    await put_new(queue, sqlite, 1, "other-corp")
    finished, dead, _ = await consumer.read(TENANT, "one", 100)
    await consumer.acknowledge(finished, NOW)
    for _ in range(MAX_DELIVERIES):
        await consumer.take_over(TENANT, "one", 0, NOW, count=1)
    assert await sqlite.read(count_rows) == [
        TenantRows(TENANT, unfinished=1, finished=1, dead=1),
        TenantRows("other-corp", unfinished=1, finished=0, dead=0),
    ]
    assert (await sqlite.read(row_of, dead.alert.id))[1] is not None


async def test_put_finds_the_bytes_that_a_consumer_has_finished_contract_17(
    client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    """One large entry of forty is most of the bytes, and less than a sixteenth of the entries."""
    large = entry_of(new_delivery(bytes(100_000)))
    small = await stored_entries(sqlite, 40)
    queue = AlertQueue(client, 1000, size([large, *small[:39]]))
    assert await queue.put_batch([large, *small]) == [*[b"added"] * 40, b"full"]
    [first] = await consumer.read(TENANT, "a", 1)
    await consumer.acknowledge(first, NOW)
    assert await queue.put_batch(small[39:]) == [b"added"]
