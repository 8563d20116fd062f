"""What the mock starts with."""

import re
from collections import Counter
from typing import get_args

import pytest

from vyrox.models import EdrVendor
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.simulate.scenarios import SCENARIOS, scenario_of

SIMULATED = sorted(
    {
        (vendor, stage.host.name, stage.host.device_id)
        for vendor in get_args(EdrVendor)
        for name in SCENARIOS
        for stage in scenario_of(name, vendor).stages
    }
)


def names(mock: MockEdr) -> dict[str, dict[str, str]]:
    """Vendor -> device id -> name."""
    return {
        "crowdstrike": {key: each.hostname for key, each in mock.crowdstrike.devices.items()},
        "sentinelone": {key: each.computer_name for key, each in mock.sentinelone.agents.items()},
        "defender": {key: each.computer_dns_name for key, each in mock.defender.machines.items()},
    }


@pytest.mark.parametrize(("vendor", "name", "device_id"), SIMULATED)
def test_the_simulators_hosts_are_there(
    mock: MockEdr, vendor: str, name: str, device_id: str
) -> None:
    # Falcon's own identifiers have no hyphens; the simulator's alerts do.
    known = device_id.replace("-", "") if vendor == "crowdstrike" else device_id
    assert names(mock)[vendor][known] == name


@pytest.mark.parametrize("vendor", ["crowdstrike", "sentinelone", "defender"])
def test_each_vendor_has_the_same_kinds_of_hosts(mock: MockEdr, vendor: str) -> None:
    found = Counter(name.partition(".")[0] for name in names(mock)[vendor].values())

    assert found["workstation-01"] == found["file-srv-02"] == found["dc-01"] == 1
    assert found["laptop-11"] == 2


def test_identifiers_have_their_vendors_form(mock: MockEdr) -> None:
    known = names(mock)
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in known["crowdstrike"])
    assert all(re.fullmatch("[0-9]{19}", key) for key in known["sentinelone"])
    assert all(re.fullmatch("[0-9a-f]{40}", key) for key in known["defender"])


def test_each_vendor_has_a_host_out_of_reach_and_a_tagged_domain_controller(mock: MockEdr) -> None:
    assert [each.hostname for each in mock.crowdstrike.devices.values() if not each.is_online] == [
        "laptop-23"
    ]
    agents = mock.sentinelone.agents.values()
    assert [each.computer_name for each in agents if not each.is_active] == ["laptop-23"]
    machines = mock.defender.machines.values()
    assert [each.id for each in machines if not each.is_active] != []
    assert {each.hostname for each in mock.crowdstrike.devices.values() if each.tags} >= {"dc-01"}
    assert {each.computer_name for each in agents if each.tags} == {"dc-01"}
    assert [each.computer_dns_name for each in machines if each.machine_tags] == [
        "dc-01.acme.local"
    ]


def test_the_repr_of_a_state_holds_no_secret(mock: MockEdr) -> None:
    for state in (mock.crowdstrike, mock.sentinelone, mock.defender):
        [client] = state.clients.values()
        assert client.client_secret not in repr(state)
        assert client.client_id in repr(state)
