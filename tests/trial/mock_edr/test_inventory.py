"""The inventory of the mock."""

from tests.trial.mock_edr import client_of
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.fleet import LAPTOP_23, MDE_DC_01, S1_DC_01
from vyrox.trial.mock_edr.inventory import Credentials, Device, take_inventory


def test_take_inventory_names_each_vendors_credential_and_base_url(mock: MockEdr) -> None:
    inventory = take_inventory(mock, "http://mock")

    assert inventory.url == "http://mock"
    assert inventory.credentials == [
        Credentials(
            vendor,
            f"http://mock/{vendor}",
            client_of(mock, vendor).client_id,
            client_of(mock, vendor).client_secret,
            mock.defender.tenant_id if vendor == "defender" else None,
        )
        for vendor in ("crowdstrike", "sentinelone", "defender")
    ]


def test_take_inventory_names_every_device_as_it_is_now(mock: MockEdr) -> None:
    mock.crowdstrike.devices[LAPTOP_23].is_online = True
    devices = {device.id: device for device in take_inventory(mock, "http://mock").devices}

    assert devices.keys() == (
        mock.crowdstrike.devices.keys()
        | mock.sentinelone.agents.keys()
        | mock.defender.machines.keys()
    )
    assert devices[LAPTOP_23] == Device("crowdstrike", LAPTOP_23, "laptop-23", True, [])
    assert devices[S1_DC_01].tags == ["role=domain-controller"]
    assert devices[MDE_DC_01].tags == ["domain-controller"]
