"""Every scenario is one that the service takes and that an analyst believes."""

import base64
import re
from pathlib import Path
from uuid import UUID

import pytest

from vyrox.adapters import ADAPTERS
from vyrox.adapters.tolerant_json import tolerant
from vyrox.models import Tenant
from vyrox.trial.simulate.request import GENERIC_FIELD_MAP, build_request
from vyrox.trial.simulate.scenarios import SCENARIOS, scenario_of
from vyrox.trial.simulate.stages import Scenario

NOW = 1_767_225_600
NEW_ID = UUID("3f2a9c1e-5b7d-4e80-9a64-c1d2e3f40516")

STAGES = [
    pytest.param(scenario_of(name, vendor), number, id=f"{vendor}-{name}-{number}")
    for vendor in ADAPTERS
    for name, scenario in SCENARIOS.items()
    for number in range(1, len(scenario.stages) + 1)
]


@pytest.mark.parametrize(("scenario", "number"), STAGES)
def test_scenario_normalizes_to_what_the_stage_says(scenario: Scenario, number: int) -> None:
    request = build_request(
        scenario, number, "acme-corp", "secret", "http://h/webhook", now=NOW, new_id=NEW_ID
    )

    alert = ADAPTERS[scenario.vendor].normalize(
        tolerant(request.body), Tenant("acme-corp", GENERIC_FIELD_MAP), NOW + 5
    )

    stage = scenario.stages[number - 1]
    assert (alert.tenant_id, alert.source) == ("acme-corp", scenario.vendor)
    assert alert.raw_id
    assert alert.timestamp == NOW
    assert (alert.hostname, alert.device_id) == (stage.host.name, stage.host.device_id)
    assert alert.username == (None if scenario.vendor == "sentinelone" else stage.username)
    assert (alert.process_name, alert.process_cmdline) == (stage.process_name, stage.command_line)
    assert alert.sha256 == stage.sha256
    assert (alert.tactic, alert.technique) == (stage.tactic, stage.technique)
    assert alert.vendor_severity == stage.severity.upper()


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS.values() if s.vendor != "generic"])
def test_scenario_names_its_tenant_in_the_body(scenario: Scenario) -> None:
    request = build_request(
        scenario, 1, "acme-corp", "secret", "http://h/webhook", now=NOW, new_id=NEW_ID
    )

    unverified_tenant_id = ADAPTERS[scenario.vendor].unverified_tenant_id
    assert unverified_tenant_id is not None
    assert unverified_tenant_id(tolerant(request.body)) == "acme-corp"


@pytest.mark.parametrize(("scenario", "number"), STAGES)
def test_stage_is_well_formed(scenario: Scenario, number: int) -> None:
    stage = scenario.stages[number - 1]

    assert stage.severity in {"low", "medium", "high", "critical"}
    assert re.fullmatch(
        r"([A-Z][a-z]+)+" if scenario.vendor == "defender" else r"TA00\d\d", stage.tactic
    )
    assert re.fullmatch(r"T\d{4}(\.\d{3})?", stage.technique)
    assert re.fullmatch(r"[\w-]+\.(exe|EXE)", stage.process_name)
    assert re.fullmatch(r"[0-9a-f]{64}", stage.sha256)
    assert stage.command_line.isascii()
    assert stage.command_line.isprintable()


def test_scenarios_cover_every_vendor_and_have_plain_names() -> None:
    assert {scenario.vendor for scenario in SCENARIOS.values()} == set(ADAPTERS)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in SCENARIOS)
    assert len(SCENARIOS["lateral-movement"].stages) == 8


def test_one_program_has_one_hash_and_one_host_one_device() -> None:
    stages = [(scenario.vendor, s) for scenario in SCENARIOS.values() for s in scenario.stages]
    hashes = {(stage.process_name, stage.sha256) for _, stage in stages}
    devices = {(vendor, stage.host.name, stage.host.device_id) for vendor, stage in stages}

    assert len(hashes) == len({name for name, _ in hashes})
    assert len(devices) == len({(vendor, name) for vendor, name, _ in devices})


def test_encoded_command_decodes_to_a_download_that_reaches_nothing() -> None:
    command_line = SCENARIOS["encoded-powershell"].stages[0].command_line

    script = base64.b64decode(command_line.split(" ")[-1]).decode("utf-16-le")

    assert script.startswith("IEX (New-Object Net.WebClient).DownloadString(")
    assert "http://198.51.100." in script


def test_documentation_names_every_scenario() -> None:
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text("utf-8")

    for scenario in SCENARIOS.values():
        row = f"| `{scenario.name}` | {scenario.vendor} | {len(scenario.stages)} |"
        assert row in page
