"""The service is killed between two steps of accepting an alert (contract 14, 15 and 17).

A proxy in front of Redis delays a request or its reply, so the service stops at an exact point.
There it is killed, or Redis is emptied, or both. Then the service starts again and the sender
repeats the delivery. No alert may be lost or queued twice.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
import redis.asyncio
from cryptography.fernet import Fernet

from tests.adapters.payloads import DOCUMENTED, changed
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.ingestion import SECRET, TENANTS, Webhook, webhook
from tests.patient_service import patient_service
from tests.polling import until
from tests.sample_alerts import queued, unfinished
from tests.service import Service, running_service
from vyrox.alerts.consumer import AlertConsumer
from vyrox.store.database import open_database
from vyrox.store.redis import connect
from vyrox.store.valkey import socket_url

TENANT = TENANTS["crowdstrike"]
ALERTS = 8


def on_stores(*, is_quick: bool) -> pytest.MarkDecorator:
    """Parametrize a test with the stores; the first case is in the quick run if `is_quick`."""
    cases = [("sqlite", "kept"), ("sqlite", "emptied"), ("postgresql", "kept")]
    return pytest.mark.parametrize(
        ("database_url", "redis_after"),
        [
            pytest.param(*case, marks=() if is_quick and case == cases[0] else pytest.mark.long)
            for case in cases
        ],
        indirect=["database_url"],
    )


class Site:
    """The stores of a service, and its environment."""

    def __init__(self, data_dir: Path, redis_url: str, database_url: str | None) -> None:
        self.data_dir = data_dir
        self._redis_url = redis_url
        self._database_url = database_url
        self._environment = {
            "REDIS_URL": f"unix://{data_dir}/proxy.sock",
            "CROWDSTRIKE_WEBHOOK_SECRET": SECRET,
            "VYROX_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        }
        if database_url is not None:
            self._environment["DATABASE_URL"] = database_url.replace("+asyncpg", "")

    @asynccontextmanager
    async def service(self, *, patient: bool = True) -> AsyncIterator[Service]:
        run = patient_service if patient else running_service
        async with run(self.data_dir, **self._environment) as service:
            yield service

    async def rows(self) -> list[tuple[str, str]]:
        async with open_database(self._database_url, self.data_dir) as database:
            return sorted(await unfinished(database))

    async def queued(self) -> list[tuple[str, str]]:
        async with redis.asyncio.Redis.from_url(self._redis_url) as client:
            return await queued(client, TENANT)

    async def empty_redis(self) -> None:
        async with redis.asyncio.Redis.from_url(self._redis_url) as client:
            await client.flushall()

    async def is_queued(self, count: int) -> bool:
        return len(await self.queued()) == count

    async def assert_queued_once(self, *alert_ids: str) -> None:
        """Check that exactly these alerts have a row and an entry, and reach a consumer."""
        expected = sorted((TENANT, alert_id) for alert_id in alert_ids)
        assert await self.rows() == expected
        assert await self.queued() == expected
        async with (
            open_database(self._database_url, self.data_dir) as database,
            connect(self._redis_url) as client,
        ):
            delivered = await AlertConsumer(client, database).read(TENANT, "one", 100)
        assert sorted(one.alert.id for one in delivered) == sorted(alert_ids)


@pytest.fixture
async def site(data_dir: Path, redis_url: str, database_url: str | None) -> Site:
    return Site(data_dir, redis_url, database_url)


@pytest.fixture
async def sqlite_site(data_dir: Path, redis_url: str) -> Site:
    return Site(data_dir, redis_url, None)


@pytest.fixture
async def proxy(data_dir: Path, redis_url: str) -> AsyncIterator[FaultProxy]:
    server = Path(redis_url.removeprefix("unix://"))
    async with fault_proxy(data_dir / "proxy.sock", server) as opened:
        yield opened


def large_webhook(number: int) -> Webhook:
    """Return a webhook so large that a refill puts back only a few of them per call."""
    command_line = f"marker-{number};" * 40_000
    return webhook(
        "crowdstrike", changed(DOCUMENTED["crowdstrike"], "process.command_line", command_line)
    )


async def post(service: Service, sent: Webhook) -> httpx.Response:
    async with httpx.AsyncClient(base_url=service.ingestion_url, timeout=10) as client:
        return await client.post(sent.path, headers=sent.headers, content=sent.body)


async def accepted(service: Service, sent: Webhook) -> str:
    """Send the webhook, and return the id of the accepted alert."""
    answer = await post(service, sent)
    assert answer.status_code == 202, answer.text
    alert_id: str = msgspec.json.decode(answer.content)["alert_id"]
    return alert_id


async def is_accepted(service: Service, sent: Webhook) -> bool:
    return (await post(service, sent)).status_code == 202


async def killed_while_it_waits(
    service: Service, proxy: FaultProxy, sending: asyncio.Task[httpx.Response]
) -> None:
    """Kill -9 the service while the proxy holds bytes back, and drop these bytes."""
    await proxy.held.wait()
    service.signal(signal.SIGKILL)
    await service.ended()
    await asyncio.wait([sending])
    assert isinstance(sending.exception(), httpx.TransportError)  # no 202 was sent
    await proxy.hang_up()
    proxy.release()


@on_stores(is_quick=True)
async def test_killed_between_the_commit_and_the_entry_contract_17(
    site: Site, proxy: FaultProxy, redis_after: str
) -> None:
    sent = webhook("crowdstrike")
    async with site.service() as service:
        proxy.hold_requests(sent.body[:64])
        sending = asyncio.create_task(post(service, sent))
        await killed_while_it_waits(service, proxy, sending)
    [(_, alert_id)] = await site.rows()
    assert await site.queued() == []
    if redis_after == "emptied":
        await site.empty_redis()
    async with site.service() as service:
        await service.wait_for("queue.refilled")
        assert await site.queued() == [(TENANT, alert_id)]
        assert await accepted(service, sent) == alert_id
        await site.assert_queued_once(alert_id)


@on_stores(is_quick=False)
async def test_killed_between_the_entry_and_the_202_contract_17(
    site: Site, proxy: FaultProxy, redis_after: str
) -> None:
    sent = webhook("crowdstrike")
    async with site.service() as service:
        proxy.hold_replies(b"*1\r\n$5\r\nadded")  # of the alert; a probe has two results
        sending = asyncio.create_task(post(service, sent))
        await killed_while_it_waits(service, proxy, sending)
    [(_, alert_id)] = await site.queued()
    if redis_after == "emptied":
        await site.empty_redis()
    async with site.service() as service:
        assert await accepted(service, sent) == alert_id
        await site.assert_queued_once(alert_id)


@pytest.mark.long
@pytest.mark.parametrize("redis_after", ["kept", "emptied"])
async def test_killed_during_a_refill_contract_17(
    sqlite_site: Site, proxy: FaultProxy, redis_after: str
) -> None:
    site = sqlite_site
    webhooks = [large_webhook(number) for number in range(ALERTS)]
    async with site.service() as service:
        alert_ids = [await accepted(service, sent) for sent in webhooks]
    await site.empty_redis()
    proxy.hold_requests(b"marker-5;")
    async with site.service() as service:
        await proxy.held.wait()
        service.signal(signal.SIGKILL)
        await service.ended()
        await proxy.hang_up()
        proxy.release()
    assert 0 < len(await site.queued()) < ALERTS
    if redis_after == "emptied":
        await site.empty_redis()
    async with site.service() as service:
        await until(partial(site.is_queued, ALERTS))
        again = [await accepted(service, sent) for sent in webhooks]
        assert again == alert_ids
        await site.assert_queued_once(*alert_ids)


@pytest.mark.long
async def test_redis_emptied_beside_a_running_service_contract_17(
    sqlite_site: Site, proxy: FaultProxy
) -> None:
    async with sqlite_site.service() as service:
        alert_ids = [await accepted(service, large_webhook(number)) for number in range(3)]
        await sqlite_site.empty_redis()
        await service.wait_for("queue.refilled")
        assert [await accepted(service, large_webhook(number)) for number in range(3)] == alert_ids
        await sqlite_site.assert_queued_once(*alert_ids)


@pytest.mark.long
async def test_redis_that_hangs_is_a_503_and_the_next_delivery_is_accepted_once_contract_17(
    sqlite_site: Site, proxy: FaultProxy
) -> None:
    site = sqlite_site
    sent = webhook("crowdstrike")
    async with site.service(patient=False) as service:
        proxy.hold_requests()
        for answer in (await post(service, sent), await post(service, sent)):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.json() == {"detail": "service unavailable"}
        proxy.release()
        await until(partial(is_accepted, service, sent))
        await site.assert_queued_once(await accepted(service, sent))


@pytest.mark.long
@pytest.mark.parametrize("killed", ["service", "valkey"])
async def test_embedded_stores_survive_kills_contract_17(data_dir: Path, killed: str) -> None:
    sent, later = webhook("crowdstrike"), large_webhook(1)
    url = socket_url(data_dir)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(
            patient_service(data_dir, CROWDSTRIKE_WEBHOOK_SECRET=SECRET)
        )
        alert_id = await accepted(service, sent)
        if killed == "valkey":
            async with redis.asyncio.Redis.from_url(url) as client:
                server = await client.info("server")
            os.kill(server["process_id"], signal.SIGKILL)
        else:
            service.signal(signal.SIGKILL)
            await service.ended()
            service = await stack.enter_async_context(
                patient_service(data_dir, CROWDSTRIKE_WEBHOOK_SECRET=SECRET)
            )
        await until(partial(is_accepted, service, later))
        site = Site(data_dir, url, None)
        await until(partial(site.is_queued, 2))
        assert await accepted(service, sent) == alert_id
        await site.assert_queued_once(alert_id, await accepted(service, later))
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
