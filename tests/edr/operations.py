"""Everything that a client does at the mocked vendors, as a table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import httpx
import pytest

from tests.edr.mocked import Mocks, Site, isolate
from tests.edr.vendor import alert, deadline
from vyrox.edr.client import ActionResult, Target
from vyrox.models import EdrVendor
from vyrox.trial.mock_edr import fleet
from vyrox.trial.mock_edr.app import MockEdr

HOSTS: Final[dict[EdrVendor, str]] = {
    "crowdstrike": fleet.WORKSTATION_01,
    "sentinelone": fleet.S1_WORKSTATION_01,
    "defender": fleet.MDE_WORKSTATION_01,
}
NAMES: Final[dict[EdrVendor, str]] = {
    "crowdstrike": "workstation-01",
    "sentinelone": "workstation-01",
    "defender": "workstation-01.acme.local",
}
VENDORS: Final[tuple[EdrVendor, ...]] = ("crowdstrike", "sentinelone", "defender")

Spot = tuple[str, int]
"""An endpoint, as the mock names it, and which call of it."""

Perform = Callable[[Site, float], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """Something that a client does.

    Attributes:
        acting: The calls that change a host, or are about one that has.
        changes: What has changed in the end, at the vendor.
    """

    vendor: EdrVendor
    name: str
    perform: Perform
    prepare: Callable[[MockEdr], None] = lambda _mock: None
    acting: tuple[Spot, ...] = ()
    changes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.vendor}-{self.name}"


def finding(host: str) -> Perform:
    async def perform(site: Site, seconds: float) -> object:
        return await site.client.find_device(host, deadline(seconds))

    return perform


async def containing(site: Site, seconds: float) -> ActionResult:
    return await site.client.change("contained", site.order(HOSTS[site.vendor], seconds))


async def lifting(site: Site, seconds: float) -> ActionResult:
    return await site.client.change("lifted", site.order(HOSTS[site.vendor], seconds))


def killing(host: str, raw_id: str) -> Perform:
    async def perform(site: Site, seconds: float) -> ActionResult:
        told = alert(raw_id, site.vendor)
        return await site.client.kill(site.order(host, seconds), told)

    return perform


def reading(target: Target, host: str, reference: str | None = None) -> Perform:
    async def perform(site: Site, seconds: float) -> object:
        return await site.client.read_progress(host, target, reference, deadline(seconds))

    return perform


async def checking(site: Site, seconds: float) -> object:
    return await site.client.check(deadline(seconds))


def contained(mock: MockEdr) -> None:
    """Contain the host at every vendor."""
    mock.crowdstrike.devices[fleet.WORKSTATION_01].status = "contained"
    mock.sentinelone.agents[fleet.S1_WORKSTATION_01].network_status = "disconnected"
    isolate(mock, fleet.MDE_WORKSTATION_01)


ACTIONS: Final = (
    Operation(
        "crowdstrike",
        "contain",
        containing,
        acting=(("device_action", 1),),
        changes=(("contain", fleet.WORKSTATION_01),),
    ),
    Operation(
        "crowdstrike",
        "lift",
        lifting,
        contained,
        acting=(("device_action", 1),),
        changes=(("lift_containment", fleet.WORKSTATION_01),),
    ),
    Operation(
        "crowdstrike",
        "kill",
        killing(fleet.WORKSTATION_01, fleet.MIMIKATZ_ALERT),
        acting=(("rtr_responder_command", 2), ("rtr_responder_command_read", 2)),
        changes=(("kill", fleet.WORKSTATION_01),),
    ),
    Operation(
        "sentinelone",
        "contain",
        containing,
        acting=(("agent_action", 1),),
        changes=(("disconnect", fleet.S1_WORKSTATION_01),),
    ),
    Operation(
        "sentinelone",
        "lift",
        lifting,
        contained,
        acting=(("agent_action", 1),),
        changes=(("connect", fleet.S1_WORKSTATION_01),),
    ),
    Operation(
        "sentinelone",
        "kill",
        killing(fleet.S1_FILE_SRV_02, fleet.PSEXEC_THREAT),
        acting=(("mitigate", 1),),
        changes=(("kill", fleet.S1_FILE_SRV_02),),
    ),
    Operation(
        "defender",
        "contain",
        containing,
        acting=(("isolate", 1),),
        changes=(("isolate", fleet.MDE_WORKSTATION_01),),
    ),
    Operation(
        "defender",
        "lift",
        lifting,
        contained,
        acting=(("unisolate", 1),),
        changes=(("unisolate", fleet.MDE_WORKSTATION_01),),
    ),
)
LOOKS: Final = (
    *(Operation(vendor, "find-by-id", finding(HOSTS[vendor])) for vendor in VENDORS),
    *(Operation(vendor, "find-by-name", finding(NAMES[vendor])) for vendor in VENDORS),
    *(
        Operation(vendor, f"read-{target}", reading(target, HOSTS[vendor]), contained)
        for vendor in VENDORS
        for target in ("contained", "lifted")
    ),
    *(Operation(vendor, "check", checking) for vendor in VENDORS),
    Operation(
        "sentinelone", "read-killed", reading("killed", fleet.S1_FILE_SRV_02, fleet.PSEXEC_THREAT)
    ),
)
operations = pytest.mark.parametrize("operation", ACTIONS, ids=str)


class Field:
    """Mocks, each with the client of one case."""

    def __init__(self, mocks: Mocks, url: str, http: httpx.AsyncClient) -> None:
        self._mocks = mocks
        self._url = url
        self._http = http

    def site(self, operation: Operation) -> Site:
        mock = MockEdr()
        operation.prepare(mock)
        self._mocks.mocks.append(mock)
        root = f"{self._url}/{len(self._mocks.mocks) - 1}"
        return Site(operation.vendor, mock, root, self._http)

    def vendor(self, vendor: EdrVendor) -> Site:
        return self.site(Operation(vendor, "", checking))
