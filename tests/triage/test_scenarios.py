"""Scenarios of the simulator, as each vendor reports them, are judged right (contract 53, 54)."""

from uuid import UUID

import pytest

from vyrox.adapters import ADAPTERS
from vyrox.adapters.tolerant_json import tolerant
from vyrox.models import NormalizedAlert, Tenant, Vendor
from vyrox.triage.incidents import Grouping, Incident
from vyrox.triage.judged import Judged
from vyrox.triage.proposal import propose
from vyrox.triage.score import judge
from vyrox.trial.simulate.request import GENERIC_FIELD_MAP, build_request
from vyrox.trial.simulate.scenarios import SCENARIOS, scenario_of

NOW = 1_767_225_600
TENANT = "acme-corp"

BENIGN = {"software-deployment", "backup"}
DISCOVERY = {"TA0007", "Discovery"}

CASES = [
    pytest.param(name, vendor, id=f"{name}-{vendor}") for name in SCENARIOS for vendor in ADAPTERS
]


def played(name: str, vendor: Vendor) -> list[Judged]:
    """Return the scenario's alerts, ten seconds apart, through the vendor's adapter."""
    scenario = scenario_of(name, vendor)
    return [
        judged(
            ADAPTERS[vendor].normalize(
                tolerant(
                    build_request(
                        scenario,
                        number,
                        TENANT,
                        "secret",
                        "http://h/webhook",
                        now=NOW + 10 * number,
                        new_id=UUID(int=number),
                    ).body
                ),
                Tenant(TENANT, GENERIC_FIELD_MAP),
                NOW,
            )
        )
        for number in range(1, len(scenario.stages) + 1)
    ]


def judged(alert: NormalizedAlert) -> Judged:
    return Judged(alert, judge(alert), alert.timestamp)


def incidents(*alerts: Judged) -> list[Incident]:
    grouping = Grouping(TENANT)
    numbers = [grouping.add(each)[0] for each in alerts]
    return [grouping.incidents[number] for number in {grouping.find(each) for each in numbers}]


@pytest.mark.parametrize(("name", "vendor"), CASES)
def test_a_scenario_is_judged_right_contract_53(name: str, vendor: Vendor) -> None:
    alerts = played(name, vendor)
    [incident] = incidents(*alerts)

    assert incident.alerts == len(alerts)
    assert incident.band == ("close" if name in BENIGN else "urgent")
    for each in alerts:
        assert each.verdict.explanation()
        if name in BENIGN:
            assert each.verdict.band == "close"
        elif each.alert.tactic not in DISCOVERY:  # alone it is ordinary work
            assert each.verdict.band != "close"


@pytest.mark.parametrize("vendor", ["crowdstrike", "sentinelone", "defender"])
def test_an_attack_proposes_an_action_on_a_device_it_names_contract_57(vendor: Vendor) -> None:
    for name in SCENARIOS.keys() - BENIGN:
        alerts = played(name, vendor)
        [incident] = incidents(*alerts)
        proposal = propose(incident)

        expected = "NETWORK_QUARANTINE" if name == "ransomware-precursor" else "HOST_ISOLATION"
        assert proposal.action == expected
        assert proposal.device is not None
        assert proposal.device.device_id in {each.alert.device_id for each in alerts}


@pytest.mark.parametrize("vendor", ADAPTERS)
def test_a_deployment_stays_out_of_an_attack_on_other_hosts_contract_54(vendor: Vendor) -> None:
    attack, deployment = played("mimikatz", vendor), played("software-deployment", vendor)

    assert {each.alerts for each in incidents(*attack, *deployment)} == {1, 4}
