"""The service pulls alerts over real sockets, is killed, and goes on (contract 72)."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, succeeded
from tests.ingestion import SECRET, webhook
from tests.patient_service import patient_service
from tests.polling import PATIENCE_S, until
from tests.service import Service
from tests.trial.mock_edr import client_of
from vyrox.models import EdrVendor
from vyrox.store.tables import alerts, pollers
from vyrox.trial.mock_edr import fleet
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.faults import Fault
from vyrox.trial.mock_edr.serve import serving
from vyrox.trial.mock_edr.state import CrowdStrikeAlert, GraphAlert

TENANT: Final = "acme-corp"
T = TypeVar("T")


class Site:
    """A mock of the vendors, the command, and the service."""

    def __init__(self, data_dir: Path, mock: MockEdr, url: str) -> None:
        self.mock = mock
        self._data_dir = data_dir
        self._extra = {
            "EDR_TEST_URL": url,
            "TRIAGE_ENABLED": "true",
            **{
                f"{name}_WEBHOOK_SECRET": SECRET
                for name in ("CROWDSTRIKE", "SENTINELONE", "DEFENDER")
            },
        }
        self._url = url

    async def command(self, *args: str, stdin: str = "") -> str:
        """Run a command that succeeds, and return what it prints."""
        vyrox = Vyrox(self._data_dir, EDR_TEST_URL=self._url)
        run = partial(vyrox, *args, stdin=stdin.encode())
        return succeeded(await asyncio.to_thread(run))

    async def refused(self, *args: str) -> str:
        return refused(await asyncio.to_thread(Vyrox(self._data_dir), *args))

    async def switch_on(self, vendor: EdrVendor) -> None:
        """As `docs/onboarding.md` says."""
        registered = client_of(self.mock, vendor)
        options: dict[str, tuple[str, ...]] = {
            "crowdstrike": ("--client-id", registered.client_id),
            "sentinelone": (),
            "defender": (
                "--client-id",
                registered.client_id,
                "--azure-tenant",
                self.mock.defender.tenant_id,
            ),
        }
        base_url = ("--base-url", f"{self._url}/{vendor}")
        set_ = ("tenant", "edr", "set", TENANT, "--new", "--vendor", vendor)
        secret = registered.client_secret
        await self.command(*set_, *options[vendor], *base_url, stdin=secret)
        printed = await self.command("tenant", "poll", TENANT, "--vendor", vendor)
        assert printed == f"{TENANT} is polled at {vendor}, from 1 hour back on\n"

    @asynccontextmanager
    async def service(self) -> AsyncIterator[Service]:
        async with patient_service(self._data_dir, **self._extra) as service:
            yield service

    async def _write(self, transaction: Callable[[Connection], T]) -> T:
        def run() -> T:
            return Vyrox(self._data_dir).write(transaction)

        return await asyncio.to_thread(run)

    async def let_the_lease_end(self) -> None:
        def end(connection: Connection) -> None:
            connection.execute(pollers.update().values(lease_until=0.0))

        await self._write(end)

    async def stored(self) -> list[str]:
        """Return the vendor's id in each row, in order."""

        def find(connection: Connection) -> list[str]:
            rows = connection.execute(sa.select(alerts.c.alert))
            return sorted(json.loads(row.alert)["raw_id"] for row in rows)

        return await self._write(find)


@pytest.fixture
async def site(data_dir: Path) -> AsyncIterator[Site]:
    mock = MockEdr(time.time)
    mock.crowdstrike.alerts.clear()
    mock.sentinelone.threats.clear()
    async with serving(mock) as url:
        made = Site(data_dir, mock, url)
        await made.command("migrate")
        yield made
        assert mock.violations == []


def add_detection(mock: MockEdr, number: int) -> str:
    name = f"{mock.crowdstrike.cid}:ind:{fleet.WORKSTATION_01}:{number}-1-1"
    mock.crowdstrike.alerts[name] = CrowdStrikeAlert(
        composite_id=name,
        device_id=fleet.WORKSTATION_01,
        filename="mimikatz.exe",
        updated_at=time.time() - 1000 + number,
    )
    return name


async def test_killed_between_two_pages_it_goes_on_contract_72(site: Site) -> None:
    names = sorted(add_detection(site.mock, number) for number in range(150))
    site.mock.faults.plan("crowdstrike", "alert_read", Fault("slow", effect=True, seconds=30), 2)
    assert "has no credentials" in await site.refused(
        "tenant", "poll", TENANT, "--vendor", "crowdstrike"
    )
    await site.switch_on("crowdstrike")
    again = await site.command("tenant", "poll", TENANT, "--vendor", "crowdstrike")
    assert again == f"{TENANT} is polled at crowdstrike already; the next poll is due now\n"
    async with site.service() as service:
        line = await service.wait_for("poll.page")
        assert (line["alerts"], line["is_last"]) == (100, False)
        service.signal(signal.SIGKILL)
        await service.ended()
    assert len(await site.stored()) == 100
    await site.let_the_lease_end()
    site.mock.faults.clear()
    async with site.service() as service:
        line = await service.wait_for("poll.page")
        assert (line["alerts"], line["is_last"]) == (50, True)
        assert await site.stored() == names
        [listed] = json.loads(await site.command("tenant", "poll", "--json"))
        assert (listed["failures"], listed["has_stalled"]) == (0, False)
        assert "crowdstrike" in await site.command("tenant", "poll", TENANT)
        off = ("tenant", "poll", TENANT, "--vendor", "crowdstrike", "--off")
        assert await site.command(*off) == f"{TENANT} is not polled at crowdstrike any more\n"
        assert json.loads(await site.command("tenant", "poll", "--json")) == []
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0


def add_anywhere(mock: MockEdr, vendor: EdrVendor) -> dict[str, object]:
    """Have the vendor know one alert; return the same as the documented webhook."""
    now = int(time.time()) - 5
    if vendor == "crowdstrike":
        name = add_detection(mock, 995)
        return {
            "detect_id": name,
            "customer_id": TENANT,
            "timestamp": now,
            "severity": "high",
            "sensor": {"hostname": "workstation-01", "agent_id": fleet.WORKSTATION_01},
            "process": {"file_name": "mimikatz.exe"},
        }
    if vendor == "sentinelone":
        mock.sentinelone.threats.update(fleet.sentinelone(now).threats)
        host = {"computerName": "file-srv-02", "agentId": fleet.S1_FILE_SRV_02}
        return {
            "id": fleet.PSEXEC_THREAT,
            "accountId": TENANT,
            "createdAt": now - 120,
            "severity": "high",
            "agentRealtimeInfo": host,
            "fileName": "PSEXESVC.exe",
        }
    mock.defender.alerts["da1_2"] = GraphAlert(
        id="da1_2",
        title="Mimikatz",
        machine_id=fleet.MDE_WORKSTATION_01,
        created_at=now,
        updated_at=now,
    )
    name = mock.defender.machines[fleet.MDE_WORKSTATION_01].computer_dns_name
    machine = {"deviceDnsName": name, "mdeDeviceId": fleet.MDE_WORKSTATION_01}
    image = {"imageFile": {"fileName": "mimikatz.exe"}, "processCommandLine": "mimikatz.exe"}
    return {
        "id": "da1_2",
        "tenantId": TENANT,
        "createdDateTime": now,
        "severity": "high",
        "evidence": [{**machine, **image}],
    }


@pytest.mark.parametrize("vendor", ["crowdstrike", "sentinelone", "defender"])
async def test_by_webhook_and_by_poll_it_is_two_rows_and_one_incident_contract_72(
    site: Site, vendor: EdrVendor
) -> None:
    body = json.dumps(add_anywhere(site.mock, vendor)).encode()
    await site.switch_on(vendor)
    async with site.service() as service:
        await service.wait_for("poll.page")
        sent = webhook(vendor, body)
        async with httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client:
            answer = await client.post(sent.path, headers=sent.headers, content=sent.body)
        assert answer.status_code == 202, answer.text

        async def has_both() -> bool:
            listed = json.loads(await site.command("incident", "list", "--json"))
            return [each["alerts"] for each in listed["incidents"]] == [2]

        await until(has_both)
        assert len(set(await site.stored())) == 1
        assert len(await site.stored()) == 2
