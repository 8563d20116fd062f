"""Signed requests, the product's own clients, and the vendors' clouds mocked on a real socket.

Reliability rows 70 to 84; contract 22, 25, 27, 36 and 37: whatever goes wrong at which call, the
vendor's state changes at most once for a request, never without its entry, and is never reported
as unchanged if it has changed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.audit import verified_chains
from tests.polling import until
from tests.proxy import NOWHERE, Fields, Proxied, encoded, proxied, signed, wanted
from tests.routes.test_execute import EXECUTED
from tests.service import HMAC_SECRET
from tests.vendor import VAULT, add_alert
from vyrox.clock import wall_clock
from vyrox.containment import confirmation, devices
from vyrox.lifespan import background
from vyrox.models import EdrVendor
from vyrox.settings import Settings
from vyrox.tenants.edr_credentials import EdrCredentials, new_version, set_credentials
from vyrox.trial.mock_edr import fleet
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.faults import Fault
from vyrox.trial.mock_edr.serve import serving

KEY: Final = "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc="


@dataclass(frozen=True)
class Case:
    """An action on a host of the mock's fleet; the tenant is called like the vendor."""

    vendor: EdrVendor
    action: str
    host: str
    raw_id: str = "1"

    @property
    def fields(self) -> Fields:
        return wanted(
            tenant_id=self.vendor,
            alert_id=f"{self.vendor}-{self.raw_id}",
            action_type=self.action,
            host=self.host,
        )


ISOLATIONS: Final = {
    "crowdstrike": Case("crowdstrike", "HOST_ISOLATION", fleet.WORKSTATION_01),
    "crowdstrike_by_name": Case("crowdstrike", "NETWORK_QUARANTINE", "workstation-01"),
    "sentinelone": Case("sentinelone", "HOST_ISOLATION", fleet.S1_WORKSTATION_01),
    "sentinelone_by_name": Case("sentinelone", "NETWORK_QUARANTINE", "workstation-01"),
    "defender": Case("defender", "HOST_ISOLATION", fleet.MDE_WORKSTATION_01),
    "defender_by_name": Case("defender", "HOST_ISOLATION", "workstation-01.acme.local"),
}
KILLS: Final = {
    "crowdstrike_kill": Case(
        "crowdstrike", "PROCESS_KILL", fleet.WORKSTATION_01, fleet.MIMIKATZ_ALERT
    ),
    "sentinelone_kill": Case(
        "sentinelone", "PROCESS_KILL", fleet.S1_FILE_SRV_02, fleet.PSEXEC_THREAT
    ),
}
CASES: Final = {**ISOLATIONS, **KILLS}

ACTING: Final[dict[EdrVendor, str]] = {
    "crowdstrike": "device_action",
    "sentinelone": "agent_action",
    "defender": "isolate",
}
"""The endpoint that isolates, as the mock names it."""

cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


class Site:
    """The running product and the mock that it acts at."""

    def __init__(self, running: Proxied, mock: MockEdr, url: str) -> None:
        self.running = running
        self.mock = mock
        self.url = url

    async def use(self, vendor: EdrVendor, **changes: str) -> None:
        """Give the tenant fresh credentials, so that its client has no token yet."""
        clients = {
            "crowdstrike": self.mock.crowdstrike.clients,
            "sentinelone": self.mock.sentinelone.clients,
            "defender": self.mock.defender.clients,
        }
        [client] = clients[vendor].values()
        secret = changes.get("secret", client.client_secret)
        stored = EdrCredentials(
            tenant_id=vendor,
            vendor=vendor,
            client_id=client.client_id,
            azure_tenant=self.mock.defender.tenant_id,
            base_url=changes.get("base_url", f"{self.url}/{vendor}"),
            secret=VAULT.encrypt(secret.encode()).decode(),
            version=new_version(),
        )
        await self.running.database.write(set_credentials, stored, wall_clock())

    def forget(self) -> None:
        """Bring every host of the mock back to what it was, and forget what was asked."""
        now = self.mock.clock.now()
        for name, state in (
            ("crowdstrike", fleet.crowdstrike(now)),
            ("sentinelone", fleet.sentinelone(now)),
            ("defender", fleet.defender(now)),
        ):
            vars(self.mock)[f"_{name}"].state = state
        self.mock.faults.clear()
        self.mock.effects.clear()
        self.mock.requests.clear()

    async def lift(self, fields: Fields) -> tuple[int, Fields]:
        body = encoded(fields)
        answer = await self.running.client.post("/lift", content=body, headers=signed(body))
        return answer.status_code, answer.json()

    async def outcomes(self, case: Case, fields: Fields) -> list[str]:
        """Return the outcomes of a request, the first one first."""
        told = await self.running.events(case.vendor, "execute.outcome")
        return [
            str(event["outcome"]) for event in told if event["execution"] == fields["request_id"]
        ]

    def changes(self) -> list[tuple[str, str]]:
        return [(effect.what, effect.device_id) for effect in self.mock.effects]


@asynccontextmanager
async def acting(data_dir: Path) -> AsyncIterator[Site]:
    mock = MockEdr(wall_clock)
    async with serving(mock) as url:
        settings = Settings(
            hmac_secret=HMAC_SECRET,
            data_dir=data_dir,
            redis_url=NOWHERE,
            dry_run=False,
            edr_test_url=url,
            encryption_keys=(KEY,),
        )
        async with proxied(settings) as running:
            site = Site(running, mock, url)
            for case in CASES.values():
                alert_id = str(case.fields["alert_id"])
                await add_alert(
                    running.database, case.vendor, alert_id, case.raw_id, case.vendor, None
                )
            for vendor in fleet_vendors():
                await site.use(vendor)
            yield site
            assert mock.violations == []


def fleet_vendors() -> tuple[EdrVendor, ...]:
    return ("crowdstrike", "sentinelone", "defender")


@pytest.fixture
async def site(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(background, "AGENDA_INTERVAL_S", 0.02)
    monkeypatch.setattr(devices, "CONFIRM_FIRST_S", 0.05)
    monkeypatch.setattr(confirmation, "BACK_OFF_S", (0.05,))
    async with acting(data_dir) as opened:
        yield opened


@pytest.fixture
async def unobserved(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A site without the background check of confirmations."""
    monkeypatch.setattr(background, "AGENDA_INTERVAL_S", 3600.0)
    async with acting(data_dir) as opened:
        yield opened


@cases
async def test_execute_acts_once_on_this_host_and_confirms_it_contract_37(
    site: Site, case: Case
) -> None:
    fields = case.fields
    answer = await site.running.execute(fields)
    assert (answer.status_code, answer.json()) == (200, EXECUTED)
    again = await site.running.execute(fields)
    assert again.json() == {"status": "replayed", "dry_run": False}

    async def confirmed() -> bool:
        return (await site.outcomes(case, fields))[-1] == "confirmed"

    await until(confirmed)
    [(_, device)] = site.changes()
    assert device == {
        "crowdstrike": fleet.WORKSTATION_01,
        "sentinelone": fleet.S1_FILE_SRV_02 if case in KILLS.values() else fleet.S1_WORKSTATION_01,
        "defender": fleet.MDE_WORKSTATION_01,
    }.get(case.vendor)
    assert len(await site.running.entries(case.vendor)) == 1


FAULTS: Final = (
    *(
        Fault("status", effect=effect, status=status)
        for status in (401, 403, 404, 409, 500, 503)
        for effect in (False, True)
        if status >= 500 or not effect  # a refusal that acts all the same is no vendor's
    ),
    *(
        Fault(kind, effect=effect)
        for kind in ("bad_gateway", "empty", "truncated", "errors", "cut", "reset", "redirect")
        for effect in (False, True)
        if kind != "errors" or not effect
    ),
    Fault("enormous", effect=True, size_bytes=2 << 20),
    Fault("status", effect=False, status=429, retry_after_s=1.0),
)


FAULTS_OF_READS: Final = tuple({(each.kind, each.status): each for each in FAULTS}.values())
"""The same, each once: a read has no effect that a fault could spare."""


async def run_with_fault(site: Site, case: Case, spot: tuple[str, int], fault: Fault) -> None:
    """Perform `case` with `fault` at one call: at most one change, and the truth about it."""
    endpoint, nth = spot
    where = f"{fault.kind} {fault.status} effect={fault.effect} at {endpoint} {nth}"
    site.forget()
    await site.use(case.vendor)
    site.mock.faults.plan(case.vendor, endpoint, fault, nth)
    fields = case.fields
    response = await site.running.execute(fields)
    changed = len(site.changes())
    outcomes = await site.outcomes(case, fields)
    assert changed <= 1, where
    assert response.status_code in {200, 502}, where
    if response.status_code == 200:
        assert changed == 1, where
        assert outcomes[0] in {"requested", "confirmed"}, where
    else:
        assert outcomes[0] in {"failed", "outcome_unknown"}, where
        assert (outcomes[0] == "failed") <= (changed == 0), where
    # The caller sends the request again, without a fault.
    site.mock.faults.clear()
    again = await site.running.execute(fields)
    is_unknown = response.status_code == 502 and outcomes[0] == "outcome_unknown"
    if is_unknown and case in KILLS.values():
        assert again.status_code == 409, where
        assert len(site.changes()) == changed, where
    else:
        assert again.status_code == 200, where
        assert len(site.changes()) == 1, where


async def check_entries(site: Site, case: Case) -> None:
    """Check that every outcome has its entry, and that every chain is valid."""
    await verified_chains(site.running.database)
    claims = [event["entry"] for event in await site.running.events(case.vendor, "execute.outcome")]
    hashes = {entry["hash"] for entry in await site.running.entries(case.vendor)}
    assert set(claims) <= hashes


@pytest.mark.parametrize(("number", "vendor"), list(enumerate(ACTING)))
async def test_execute_with_a_fault_at_the_call_that_acts_contract_27(
    unobserved: Site, number: int, vendor: EdrVendor
) -> None:
    """One representative of the matrix below for each fault; the vendors share the faults."""
    case = ISOLATIONS[vendor]
    for fault in FAULTS[number :: len(ACTING)]:
        await run_with_fault(unobserved, case, (ACTING[vendor], 1), fault)
    await check_entries(unobserved, case)


@pytest.mark.long
@cases
async def test_execute_with_every_fault_at_every_call_contract_27(
    unobserved: Site, case: Case
) -> None:
    site = unobserved
    await site.use(case.vendor)
    assert (await site.running.execute(case.fields)).status_code == 200
    endpoints = [request.endpoint for request in site.mock.requests]
    assert len(endpoints) >= 2
    spots = [
        (name, nth)
        for name in dict.fromkeys(endpoints)
        if name is not None
        for nth in range(1, endpoints.count(name) + 1)
    ]
    reads = {request.endpoint for request in site.mock.requests if request.method == "GET"}
    for spot in spots:
        for fault in FAULTS_OF_READS if spot[0] in reads else FAULTS:
            if fault.status == 429 and spot != spots[-1]:
                continue  # each costs a second
            await run_with_fault(site, case, spot, fault)
    await check_entries(site, case)


@pytest.mark.parametrize("case", ISOLATIONS.values(), ids=ISOLATIONS)
async def test_execute_answer_lost_after_the_act_is_found_out_contract_37(
    site: Site, case: Case
) -> None:
    await site.use(case.vendor)
    site.mock.faults.plan(case.vendor, ACTING[case.vendor], Fault("reset", effect=True), 1)
    fields = case.fields
    assert (await site.running.execute(fields)).status_code == 502

    async def found_out() -> bool:
        return await site.outcomes(case, fields) == ["outcome_unknown", "confirmed"]

    await until(found_out)
    lift = {**case.fields, "action_type": f"LIFT_{case.action}"}
    assert await site.lift(lift) == (200, EXECUTED)
    assert len(site.changes()) == 2


@pytest.mark.parametrize("case", ISOLATIONS.values(), ids=ISOLATIONS)
async def test_lift_brings_the_host_back_contract_34(site: Site, case: Case) -> None:
    contain = case.fields
    assert (await site.running.execute(contain)).status_code == 200

    async def confirmed(fields: Fields) -> bool:
        return (await site.outcomes(case, fields))[-1] == "confirmed"

    await until(lambda: confirmed(contain))  # Defender lifts nothing before
    lift = {**case.fields, "action_type": f"LIFT_{case.action}"}
    assert await site.lift(lift) == (200, EXECUTED)
    await until(lambda: confirmed(lift))
    [(_, contained), (_, lifted)] = site.changes()
    assert contained == lifted


@pytest.mark.parametrize(
    ("vendor", "host", "reason"),
    [
        pytest.param("crowdstrike", "laptop-11", "2 hosts", id="crowdstrike_two"),
        pytest.param("crowdstrike", "nobody", "no host", id="crowdstrike_none"),
        pytest.param("crowdstrike", "f" * 32, "", id="crowdstrike_unknown_id"),
        pytest.param("crowdstrike", "workstation-*", "", id="crowdstrike_pattern"),
        pytest.param("crowdstrike", "x'+hostname:'dc-01", "no host", id="crowdstrike_injection"),
        pytest.param("sentinelone", "laptop-11", "2", id="sentinelone_two"),
        pytest.param("sentinelone", "nobody", "no", id="sentinelone_none"),
        pytest.param("sentinelone", "9" * 18, "", id="sentinelone_unknown_id"),
        pytest.param("defender", "laptop-11.acme.local", "2", id="defender_two"),
        pytest.param("defender", "nobody", "No", id="defender_none"),
        pytest.param("defender", "f" * 40, "", id="defender_unknown_id"),
        pytest.param("defender", "x' or '1' eq '1", "No", id="defender_injection"),
    ],
)
async def test_execute_on_no_host_or_more_than_one_does_nothing_contract_36(
    site: Site, vendor: EdrVendor, host: str, reason: str
) -> None:
    case = Case(vendor, "HOST_ISOLATION", host)
    fields = case.fields
    answer = await site.running.execute(fields)
    assert (answer.status_code, answer.json()) == (502, {"detail": "vendor error"})
    assert await site.outcomes(case, fields) == ["failed"]
    [told] = await site.running.events(vendor, "execute.outcome")
    assert reason in str(told["reason"])
    assert site.changes() == []


async def test_execute_of_a_contained_host_calls_nothing_that_acts_contract_36(site: Site) -> None:
    case = ISOLATIONS["crowdstrike"]
    site.mock.crowdstrike.devices[case.host].status = "contained"
    fields = case.fields
    assert (await site.running.execute(fields)).json() == EXECUTED
    assert await site.outcomes(case, fields) == ["confirmed"]
    assert site.changes() == []
    acted = [request for request in site.mock.requests if request.endpoint == "device_action"]
    assert acted == []


async def test_kill_of_another_process_or_on_another_host_is_never_sent_contract_25(
    site: Site,
) -> None:
    case = KILLS["crowdstrike_kill"]
    [process] = [
        process
        for process in site.mock.crowdstrike.devices[case.host].processes.values()
        if process.pid == 4312
    ]
    process.started_at += 60  # the process id was given to another program since
    fields = case.fields
    assert (await site.running.execute(fields)).status_code == 502
    elsewhere = {**case.fields, "host": fleet.FILE_SRV_02}
    assert (await site.running.execute(elsewhere)).status_code == 502
    of_another_agent = {**KILLS["sentinelone_kill"].fields, "host": fleet.S1_WORKSTATION_01}
    assert (await site.running.execute(of_another_agent)).status_code == 502
    offline = site.mock.crowdstrike.devices[case.host]
    process.started_at -= 60
    offline.is_online = False
    assert (await site.running.execute(case.fields)).status_code == 502
    assert site.changes() == []


async def test_credentials_go_to_the_vendors_addresses_alone_contract_38(site: Site) -> None:
    """Whatever the database says: nothing at all is sent to another address."""
    case = ISOLATIONS["crowdstrike"]
    for base_url in (f"{site.url}/sentinelone", f"{site.url}/crowdstrike/..", site.url):
        await site.use("crowdstrike", base_url=base_url)
        assert (await site.running.execute(case.fields)).status_code == 502
    assert site.mock.requests == []
    await site.use("crowdstrike", secret="another-secret-0123456789")
    fields = case.fields
    assert (await site.running.execute(fields)).status_code == 502
    told = await site.running.events("crowdstrike", "execute.outcome")
    assert "credentials refused" in str(told[-1]["reason"])
    assert "another-secret" not in str(told)
