"""docs/mock-edr.md names the credentials, endpoints and faults that there are."""

import re
from typing import get_args

from tests.service import ROOT
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.exchange import VendorName
from vyrox.trial.mock_edr.faults import FaultKind
from vyrox.trial.mock_edr.fleet import WORKSTATION_01

PAGE = (ROOT / "docs" / "mock-edr.md").read_text()


def code_below(heading: str) -> dict[str, set[str]]:
    """Return, for each row of the table below a heading cell, what its cells name in code."""
    _, _, below = PAGE.partition(f"| {heading} |")
    rows = below.partition("\n\n")[0].splitlines()[2:]
    cells = [row.strip("| ").split(" | ") for row in rows]
    return {first: set(re.findall(r"`([^`]+)`", rest)) for first, rest in cells}


def test_endpoints_are_those_there_are(mock: MockEdr) -> None:
    documented = code_below("Vendor | `endpoint` (`*` for all)")

    for vendor in get_args(VendorName):
        assert documented[f"`{vendor}`"] == mock.endpoint_names[vendor]


def test_faults_are_those_there_are() -> None:
    documented = {
        kind for cell in code_below("`kind` | The response") for kind in re.findall("`(.+?)`", cell)
    }

    assert documented == set(get_args(FaultKind))


def test_the_commands_use_the_fleet_there_is(mock: MockEdr) -> None:
    [client] = mock.crowdstrike.clients.values()

    assert f"echo {client.client_secret} | " in PAGE
    assert f"--client-id {client.client_id} " in PAGE
    assert f"vyrox execute acme-corp {WORKSTATION_01} " in PAGE
