"""The service as a process, together with `vyrox` commands, kills and full disks."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import redis.asyncio
from cryptography.fernet import Fernet

from tests.adapters.payloads import DOCUMENTED, FIELD_MAP, REMOVED, changed
from tests.cli import Vyrox, succeeded
from tests.conftest import ready_postgres_database
from tests.ingestion import (
    OTHER_SECRET,
    RAW_IDS,
    SECRET,
    TENANTS,
    VENDORS,
    Webhook,
    queued_in,
    webhook,
)
from tests.patience import PATIENT_VYROX
from tests.polling import PATIENCE_S, until
from tests.postgres import Postgres
from tests.service import HMAC_SECRET, Service, running_service
from vyrox.models import Vendor
from vyrox.store.valkey import socket_url

DEFAULTS: Final = {
    "CROWDSTRIKE_WEBHOOK_SECRET": SECRET,
    "SENTINELONE_WEBHOOK_SECRET": SECRET,
    "DEFENDER_WEBHOOK_SECRET": SECRET,
    "GENERIC_WEBHOOK_SECRET": SECRET,
}

TENANT: Final = TENANTS["crowdstrike"]


def patient_service(data_dir: Path, **extra: str) -> AbstractAsyncContextManager[Service]:
    """Run a service that waits long for its stores: the machine may be busy."""
    return running_service(data_dir, "-c", PATIENT_VYROX, "serve", **extra)


@asynccontextmanager
async def client_of(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client:
        yield client


async def post(client: httpx.AsyncClient, sent: Webhook) -> httpx.Response:
    return await client.post(sent.path, headers=sent.headers, content=sent.body)


def numbered(count: int) -> list[Webhook]:
    """Return `count` different alerts of TENANT."""
    return [webhook("crowdstrike", DOCUMENTED["crowdstrike"] + b" " * i) for i in range(count)]


async def vyrox(data_dir: Path, *arguments: str, stdin: str = "") -> str:
    """Return what a `vyrox` command prints. It runs here, the service in another process."""
    command = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)
    return succeeded(await asyncio.to_thread(command, *arguments, stdin=stdin.encode()))


@pytest.mark.long
async def test_tenant_changes_reach_the_running_service_contract_8(data_dir: Path) -> None:
    async with patient_service(data_dir, **DEFAULTS) as service, client_of(service) as client:

        async def until_answered(secret: str, status: int) -> None:
            async def answered() -> bool:
                answer = await post(client, webhook("sentinelone", secret=secret))
                return answer.status_code == status

            await until(answered)

        tenant, vendor = TENANTS["sentinelone"], ("--vendor", "sentinelone")
        await until_answered(SECRET, 202)
        added = json.loads(await vyrox(data_dir, "tenant", "add", tenant, *vendor, "--json"))
        await until_answered(SECRET, 401)
        await until_answered(added["secret"], 202)
        await vyrox(data_dir, "tenant", "rotate", tenant, "--secret-stdin", stdin=OTHER_SECRET)
        await until_answered(OTHER_SECRET, 202)
        await until_answered(added["secret"], 202)
        await vyrox(data_dir, "tenant", "rotate", tenant, "--overlap", "0", "--force")
        await until_answered(OTHER_SECRET, 401)
        await until_answered(added["secret"], 401)
        await vyrox(data_dir, "tenant", "remove", tenant, "--yes")
        await until_answered(SECRET, 401)
    assert added["secret"] not in "".join(service.output)


@pytest.mark.long
async def test_generic_alert_that_has_no_field_map_yet_is_not_lost_contract_16(
    data_dir: Path,
) -> None:
    """The command line moves it from quarantine into the queue."""
    field_map = data_dir / "field-map.json"
    field_map.write_text(json.dumps(FIELD_MAP))
    async with patient_service(data_dir, **DEFAULTS) as service, client_of(service) as client:
        assert (await post(client, webhook("generic"))).status_code == 422
        add = ("tenant", "add", TENANT, "--vendor", "generic", "--secret-stdin")
        await vyrox(data_dir, *add, "--field-map", str(field_map), stdin=SECRET)
        await vyrox(data_dir, "queue", "quarantine", "replay", TENANT)
        (alert,) = await queued_in(socket_url(data_dir), TENANT)

        async def redelivered() -> bool:
            answer = await post(client, webhook("generic"))
            return bool(answer.json() == {"status": "queued", "alert_id": alert.id})

        await until(redelivered)
        assert len(await queued_in(socket_url(data_dir), TENANT)) == 1


SENT: Final = 100
KILLED_AT: Final = 20
IN_FLIGHT: Final = 10


async def test_accepted_alerts_survive_kill_9_of_the_service_contract_17(data_dir: Path) -> None:
    """The service is killed while alerts are in flight. Every accepted alert is queued once."""
    sent = numbered(SENT)
    promised: dict[int, str] = {}
    waiting = iter(range(SENT))

    async with patient_service(data_dir, **DEFAULTS) as service, client_of(service) as client:

        async def deliver_in_turn() -> None:
            for number in waiting:
                answer = await post(client, sent[number])
                assert answer.status_code == 202
                promised[number] = answer.json()["alert_id"]
                if len(promised) == KILLED_AT:
                    service.signal(signal.SIGKILL)

        # So few are in flight that the service cannot accept all before the signal reaches it.
        senders = (deliver_in_turn() for _ in range(IN_FLIGHT))
        for error in await asyncio.gather(*senders, return_exceptions=True):
            assert isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
    assert KILLED_AT <= len(promised) <= KILLED_AT + IN_FLIGHT

    async with patient_service(data_dir, **DEFAULTS) as service, client_of(service) as client:
        answers = [await post(client, alert) for alert in sent]
        assert {answer.status_code for answer in answers} == {202}
        ids = [answer.json()["alert_id"] for answer in answers]
        assert {number: ids[number] for number in promised} == promised
        queued = [alert.id for alert in await queued_in(socket_url(data_dir), TENANT)]
    assert sorted(queued) == sorted(ids)
    assert len(set(queued)) == SENT


@pytest.mark.long
async def test_accepted_alerts_survive_kill_9_of_valkey_contract_17(data_dir: Path) -> None:
    """Alerts are refused while Valkey is down, then accepted again without a restart."""
    sent = numbered(20)
    async with patient_service(data_dir, **DEFAULTS) as service, client_of(service) as client:
        before = [(await post(client, alert)).json()["alert_id"] for alert in sent[:10]]
        async with redis.asyncio.Redis.from_url(socket_url(data_dir)) as valkey:
            server = await valkey.info("server")
        os.kill(server["process_id"], signal.SIGKILL)
        after: list[str] = []
        for alert in sent[10:]:

            async def accepted(alert: Webhook = alert) -> bool:
                answer = await post(client, alert)
                assert answer.status_code in {202, 503}
                if answer.status_code == 202:
                    after.append(answer.json()["alert_id"])
                return answer.status_code == 202

            await until(accepted)

        async def all_there() -> bool:
            queued = [alert.id for alert in await queued_in(socket_url(data_dir), TENANT)]
            assert len(queued) == len(set(queued))
            return sorted(queued) == sorted([*before, *after])

        await until(all_there)
        assert service.process.returncode is None
    assert [line["event"] for line in service.lines].count("valkey.died") == 1


@pytest.mark.long
async def test_disk_that_is_full_is_503_until_it_is_not_contract_17(data_dir: Path) -> None:
    """SQLite's writes fail as on a full disk, because no file may grow."""
    first, second = numbered(2)
    async with patient_service(data_dir, **DEFAULTS) as service, client_of(service) as client:

        async def healthy(status: int) -> bool:
            return (await client.get("/health")).status_code == status

        accepted = await post(client, first)
        assert accepted.status_code == 202
        pid, unlimited = service.process.pid, resource.RLIM_INFINITY
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, unlimited))
        refused = await post(client, second)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        await until(lambda: healthy(503))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        await until(lambda: healthy(200))
        for alert in (first, second):
            assert (await post(client, alert)).status_code == 202
        queued = [alert.id for alert in await queued_in(socket_url(data_dir), TENANT)]
    assert len(queued) == 2
    assert queued[0] == accepted.json()["alert_id"]


@pytest.mark.long
async def test_containers_on_the_same_stores_queue_an_alert_once_contract_14(
    data_dir: Path, redis_url: str, postgres: Postgres
) -> None:
    database_url = await ready_postgres_database(postgres)
    shared = {
        "DATABASE_URL": database_url.replace("+asyncpg", ""),
        "REDIS_URL": redis_url,
        "VYROX_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        **DEFAULTS,
    }
    async with (
        patient_service(data_dir / "first", **shared) as first,
        patient_service(data_dir / "second", **shared) as second,
        client_of(first) as to_first,
        client_of(second) as to_second,
    ):
        answers = await asyncio.gather(
            *(post(client, alert) for alert in numbered(20) for client in (to_first, to_second))
        )
        assert {answer.status_code for answer in answers} == {202}
        ids = [answer.json()["alert_id"] for answer in answers]
        assert ids[::2] == ids[1::2]
        queued = [alert.id for alert in await queued_in(redis_url, TENANT)]
        assert sorted(queued) == sorted(ids[::2])
        for service in (first, second):
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0


@pytest.mark.long
async def test_no_secret_is_logged_by_the_service(data_dir: Path) -> None:
    async with patient_service(data_dir, **DEFAULTS) as service, client_of(service) as client:
        for vendor in VENDORS:
            for sent in spoilt(vendor):
                assert SECRET not in (await post(client, sent)).text
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    refused = {line["event"] for line in service.lines}
    assert {"request.refused.400", "request.refused.401", "request.refused.422"} <= refused
    output = "".join(service.output)
    assert [secret for secret in (SECRET, OTHER_SECRET, HMAC_SECRET) if secret in output] == []


def spoilt(vendor: Vendor) -> list[Webhook]:
    """Return webhooks of every outcome, with secrets in valid and in invalid places."""
    body = DOCUMENTED[vendor]
    not_normal = changed(body, RAW_IDS[vendor], REMOVED)
    path = webhook(vendor).path
    return [
        webhook(vendor),
        webhook(vendor, secret=OTHER_SECRET),
        webhook(vendor, not_normal),
        webhook(vendor, b"{}"),
        webhook(vendor, b"["),
        Webhook(path, {"authorization": SECRET, "x-vyrox-signature": SECRET}, body),
        Webhook(path, {"content-encoding": SECRET}, body),
    ]
