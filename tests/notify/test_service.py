"""The service sends what waits (contract 58)."""

import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest

from tests.adapters.payloads import DOCUMENTED, changed
from tests.audit import TENANT
from tests.ingestion import SECRET as WEBHOOK_SECRET
from tests.ingestion import webhook
from tests.notify.receiver import receiving
from tests.notify.samples import SECRET, announcement
from tests.patience import PATIENT_VYROX
from tests.polling import PATIENCE_S
from tests.service import Service, running_service
from vyrox.clock import wall_clock
from vyrox.notify import targets
from vyrox.notify.messages import Band, Opened
from vyrox.notify.outbox import enqueue
from vyrox.notify.targets import Format
from vyrox.store.database import Database, open_database
from vyrox.store.encryption import open_vault

SHORT_CLAIMS: Final = f"""
from vyrox.notify import delivery
delivery.CLAIM_S = 1.0
{PATIENT_VYROX}
"""


def short_claims(data_dir: Path, **extra: str) -> AbstractAsyncContextManager[Service]:
    """Run a service that soon sends again what was not recorded."""
    return running_service(
        data_dir, "-c", SHORT_CLAIMS, "serve", NOTIFY_ALLOWED_HOSTS="127.0.0.1", **extra
    )


async def add_target(database: Database, data_dir: Path, url: str) -> None:
    sealed = targets.seal(open_vault((), data_dir), TENANT, f"{url}/CANARY", SECRET)
    shown: tuple[str, Format, Band] = ("127.0.0.1", "vyrox", "urgent")
    await database.write(targets.add_target, sealed, shown, wall_clock())


@asynccontextmanager
async def announced(data_dir: Path, url: str) -> AsyncIterator[Service]:
    """Run a service, and announce an incident to `url` from this process."""
    async with short_claims(data_dir) as service, open_database(None, data_dir) as database:
        await add_target(database, data_dir, url)
        await database.write(enqueue, TENANT, 7, "urgent", announcement(), wall_clock())
        yield service


async def test_service_sends_what_another_process_announces_contract_58(data_dir: Path) -> None:
    async with receiving() as receiver, announced(data_dir, receiver.url) as service:
        sent = await service.wait_for("notify.sent")
        assert (sent["incident"], sent["attempts"]) == (7, 1)
        assert receiver.ids == [sent["notification"]]
        assert "CANARY" not in "".join(service.output)


async def test_alert_of_an_encryptor_is_announced_contract_58(data_dir: Path) -> None:
    body = changed(DOCUMENTED["crowdstrike"], "severity", "critical")
    command = "vssadmin.exe delete shadows /all /quiet"
    alert = webhook("crowdstrike", changed(body, "process.command_line", command))
    secret = {"CROWDSTRIKE_WEBHOOK_SECRET": WEBHOOK_SECRET, "TRIAGE_ENABLED": "true"}
    async with (
        receiving() as receiver,
        short_claims(data_dir, **secret) as service,
        open_database(None, data_dir) as database,
        httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client,
    ):
        await add_target(database, data_dir, receiver.url)
        response = await client.post(alert.path, headers=alert.headers, content=alert.body)
        assert response.status_code == 202
        await service.wait_for("notify.sent")
        [request] = receiver.received
        message = msgspec.json.decode(request.body, type=Opened)
        assert (message.incident, message.band, message.alerts) == (1, "urgent", 1)
        assert message.hosts == ("workstation-01",)


@pytest.mark.long
async def test_killed_service_repeats_the_id_contract_58(data_dir: Path) -> None:
    """The kill is between the receiver's request and the record of it."""
    async with receiving() as receiver:
        async with announced(data_dir, receiver.url) as service:
            receiver.on_request = lambda _: service.process.kill()
            assert await service.ended() == -signal.SIGKILL
        receiver.on_request = lambda _: None
        async with short_claims(data_dir) as service:
            await service.wait_for("notify.sent")
        assert len(receiver.ids) == 2
        assert len(set(receiver.ids)) == 1
