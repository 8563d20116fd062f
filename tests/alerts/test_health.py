"""Whether an alert would be accepted now (contract 17)."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.conftest import ready_postgres_database
from tests.fault_proxy import fault_proxy
from tests.polling import until
from tests.postgres import Postgres
from tests.pragma import set_pragma
from tests.redis_user import redis_user
from tests.sample_alerts import NOW
from vyrox.alerts import health as health_module
from vyrox.alerts.health import FRESH_S, TIMEOUT_S, Health
from vyrox.alerts.queue import AlertQueue
from vyrox.errors import UnavailableError
from vyrox.store.database import Database, open_database
from vyrox.store.redis import connect
from vyrox.store.tables import containers
from vyrox.tenants.containers import Container


def health_of(client: redis.asyncio.Redis, database: Database) -> Health:
    return Health(
        Container(database, lambda: NOW, lambda: None, is_dry_run=True).report,
        AlertQueue(client, 1).probe,
    )


@asynccontextmanager
async def sqlite_health(redis_url: str, data_dir: Path) -> AsyncIterator[tuple[Health, Database]]:
    async with open_database(None, data_dir) as database, connect(redis_url) as client:
        yield health_of(client, database), database


async def assert_failing(health: Health, store: str) -> None:
    await health.probe()
    with pytest.raises(UnavailableError, match=f"^{store}: "):
        await health.check()


async def assert_hanging(health: Health, store: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health_module, "TIMEOUT_S", 0.2)
        await health.probe()
        with pytest.raises(UnavailableError, match=f"{store}: no response within"):
            await health.check()


async def is_well(health: Health) -> bool:
    await health.probe()
    try:
        await health.check()
    except UnavailableError:
        return False
    return True


async def assert_well(health: Health) -> None:
    await health.probe()
    await health.check()


def run(connection: Connection, statement: str) -> None:
    connection.execute(sa.text(statement))


def test_intervals_leave_a_fault_unseen_for_less_than_a_second_contract_17() -> None:
    assert FRESH_S + TIMEOUT_S < 1


async def test_probe_writes_to_both_stores(client: redis.asyncio.Redis, database: Database) -> None:
    await assert_well(health_of(client, database))
    assert await client.keys("*") == []
    seen_at = await database.read(lambda c: c.execute(sa.select(containers.c.seen_at)).scalar())
    assert seen_at is not None


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [
        pytest.param("maxmemory", "1", "0", id="reject_out_of_memory"),
        pytest.param("min-replicas-to-write", "1", "0", id="reject_no_replicas"),
    ],
)
async def test_check_redis_that_refuses_writes_contract_17(
    client: redis.asyncio.Redis, data_dir: Path, redis_url: str, setting: str, bad: str, good: str
) -> None:
    async with sqlite_health(redis_url, data_dir) as (health, _):
        await assert_well(health)
        await client.config_set(setting, bad)
        try:
            await assert_failing(health, "queue")
        finally:
            await client.config_set(setting, good)
        await assert_well(health)


@pytest.mark.parametrize(
    ("rights", "reason"),
    [
        pytest.param(
            ("+@all", "-@scripting", "~*"), "may not run the command eval", id="reject_scripts"
        ),
        pytest.param(("+@all", "-xadd", "~*"), "may not run the command xadd", id="reject_xadd"),
        pytest.param(("+@all", "~vyrox:probe"), "needs ~vyrox:*", id="reject_keys"),
    ],
)
async def test_check_redis_whose_user_cannot_queue_contract_17(
    client: redis.asyncio.Redis,
    data_dir: Path,
    redis_url: str,
    rights: tuple[str, ...],
    reason: str,
) -> None:
    """This user may write with SET, so a probe with SET would not notice."""
    async with (
        redis_user(client, redis_url, *rights) as url,
        sqlite_health(url, data_dir) as (health, _),
    ):
        await health.probe()
        with pytest.raises(UnavailableError, match=re.escape(reason)):
            await health.check()


async def test_check_redis_that_became_a_replica_contract_17(
    client: redis.asyncio.Redis, data_dir: Path, redis_url: str
) -> None:
    async with sqlite_health(redis_url, data_dir) as (health, _):
        await client.replicaof("127.0.0.1", "1")
        try:
            await assert_failing(health, "queue")
        finally:
            await client.replicaof("NO", "ONE")
        await assert_well(health)


async def test_check_redis_that_hangs_or_hangs_up_contract_17(
    data_dir: Path, redis_url: str
) -> None:
    socket = data_dir / "proxy.sock"
    async with (
        fault_proxy(socket, Path(redis_url.removeprefix("unix://"))) as proxy,
        sqlite_health(f"unix://{socket}", data_dir) as (health, _),
    ):
        await assert_well(health)
        proxy.hold_replies()
        await assert_hanging(health, "queue")
        proxy.release()
        await assert_well(health)
        await proxy.hang_up()
        await until(partial(is_well, health))


async def test_check_redis_that_is_not_there_contract_17(data_dir: Path) -> None:
    async with sqlite_health(f"unix://{data_dir}/nobody.sock", data_dir) as (health, _):
        await assert_failing(health, "queue")


async def test_check_database_that_is_read_only_contract_17(data_dir: Path, redis_url: str) -> None:
    async with sqlite_health(redis_url, data_dir) as (health, database):
        await set_pragma(database, "query_only = ON")
        await assert_failing(health, "database")
        await set_pragma(database, "query_only = OFF")
        await assert_well(health)


async def test_check_database_that_hangs_or_hangs_up_contract_17(
    postgres: Postgres, client: redis.asyncio.Redis, data_dir: Path
) -> None:
    socket = ".s.PGSQL.5432"
    name = sa.make_url(await ready_postgres_database(postgres)).database
    url = f"postgresql://postgres@/{name}?host={quote(str(data_dir))}"
    async with (
        fault_proxy(data_dir / socket, postgres.socket_directory / socket) as proxy,
        open_database(url, data_dir) as database,
    ):
        health = health_of(client, database)
        await assert_well(health)
        proxy.hold_requests()
        for _ in range(3):
            await assert_hanging(health, "database")
        proxy.release()
        await assert_well(health)
        await proxy.hang_up()
        await until(partial(is_well, health))  # after each dead connection was used once


async def test_check_names_every_store_that_fails(data_dir: Path) -> None:
    async with sqlite_health(f"unix://{data_dir}/nobody.sock", data_dir) as (health, database):
        await set_pragma(database, "query_only = ON")
        await health.probe()
        with pytest.raises(UnavailableError, match=r"database: .*; queue: |queue: .*; database: "):
            await health.check()


async def test_check_fails_too_where_the_reason_is_a_bug(data_dir: Path, redis_url: str) -> None:
    """An unexpected error of a probe also means that no alert is accepted."""
    async with sqlite_health(redis_url, data_dir) as (health, database):
        await database.write(run, "DROP TABLE containers")
        with pytest.raises(sa.exc.OperationalError):
            await health.probe()
        with pytest.raises(UnavailableError, match=r"^database: OperationalError"):
            await health.check()


async def test_check_probes_what_is_not_fresh_and_once_for_all_contract_17_and_92(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health_module, "FRESH_S", 3600.0)
    probed: list[str] = []

    async def write(store: str) -> None:
        await asyncio.sleep(0)
        probed.append(store)

    health = Health(partial(write, "database"), partial(write, "queue"))
    await asyncio.gather(*(health.check() for _ in range(20)))
    assert sorted(probed) == ["database", "queue"]
    monkeypatch.setattr(health_module, "FRESH_S", 0.0)
    await health.check()
    assert len(probed) == 4


async def test_requests_that_wait_for_a_slow_probe_share_the_next_contract_17(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health_module, "FRESH_S", 0.0)
    begun, may_end = asyncio.Event(), asyncio.Event()
    probes: list[str] = []

    async def write() -> None:
        probes.append("database")
        begun.set()
        await may_end.wait()

    async def queue() -> None:
        pass

    health = Health(write, queue)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(health.check())
        await begun.wait()
        for _ in range(20):
            tasks.create_task(health.check())
        await asyncio.sleep(0)
        may_end.set()
    assert len(probes) == 2


async def test_check_whose_caller_is_gone_leaves_no_old_answer_contract_17(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health_module, "TIMEOUT_S", 0.1)
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def fail() -> None:
        raise UnavailableError("away")

    health = Health(hang, fail)
    caller = asyncio.create_task(health.check())
    await begun.wait()
    caller.cancel()
    with pytest.raises(UnavailableError, match="no response within"):
        await health.check()


async def test_probe_logs_each_change_once(
    data_dir: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "vyrox")
    async with sqlite_health(redis_url, data_dir) as (health, database):
        for setting in ("OFF", "OFF", "ON", "ON", "ON", "OFF", "OFF"):
            await set_pragma(database, f"query_only = {setting}")
            await health.probe()
    changes = [message for message in caplog.messages if message.startswith("store.")]
    assert changes == ["store.unavailable", "store.available"]
