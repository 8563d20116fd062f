"""Graph pushes to the service over real sockets; it is killed, and goes on (contract 74)."""

import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.ingestion import SECRET
from tests.pollers.test_service import TENANT, Site
from tests.polling import PATIENCE_S, until
from tests.service import Service
from vyrox.store.tables import graph_notices
from vyrox.trial.mock_edr import fleet
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.faults import Fault
from vyrox.trial.mock_edr.graph_push import Subscription
from vyrox.trial.mock_edr.serve import serving
from vyrox.trial.mock_edr.state import GraphAlert


@pytest.fixture
async def site(data_dir: Path) -> AsyncIterator[Site]:
    mock = MockEdr(time.time)
    async with serving(mock) as url:
        made = Site(data_dir, mock, url)
        await made.command("migrate")
        yield made
        assert mock.violations == []


def add(mock: MockEdr, name: str) -> str:
    now = time.time() - 5
    mock.defender.alerts[name] = GraphAlert(
        id=name,
        title="Mimikatz",
        machine_id=fleet.MDE_WORKSTATION_01,
        created_at=now,
        updated_at=now,
    )
    return name


def subscription(site: Site, service: Service, http: httpx.AsyncClient) -> Subscription:
    url = f"{service.ingestion_url}/webhook/defender/{TENANT}"
    return Subscription(http, url, SECRET, site.mock.defender.tenant_id)


async def test_handshake_batch_fetch_and_a_kill_between_contract_74(site: Site) -> None:
    names = [add(site.mock, f"da1_{number}") for number in range(3)]
    await site.switch_on("defender")
    off = ("tenant", "poll", TENANT, "--vendor", "defender", "--off")
    await site.command(*off)  # only what is announced is fetched
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http, site.service() as service:
        graph = subscription(site, service, http)
        await graph.validate()
        # The first fetch hangs; meanwhile the service is killed.
        slow = Fault("slow", effect=True, seconds=30)
        site.mock.faults.plan("defender", "alert_one", slow, 1)
        forged = graph.notification("da1_9", clientState="guessed")
        answer = await graph.push(*map(graph.notification, names), forged)
        assert answer.status_code == 202
        line = await service.wait_for("notification.forged")
        assert line["number"] == 1
        service.signal(signal.SIGKILL)
        await service.ended()
    assert await site.stored() == []
    site.mock.faults.clear()
    await site._write(
        lambda connection: connection.execute(graph_notices.update().values(lease_until=0.0))
    )
    async with httpx.AsyncClient(timeout=PATIENCE_S) as http, site.service() as service:

        async def has_all() -> bool:
            return await site.stored() == names

        await until(has_all)
        graph = subscription(site, service, http)
        assert (await graph.push(*map(graph.notification, names))).status_code == 202
        for number in range(len(names)):
            await service.wait_for("fetch.done", len(names) + number + 1)
        assert await site.stored() == names
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
