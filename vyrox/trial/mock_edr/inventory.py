"""The hosts and credentials of the mock, for its user."""

from collections.abc import Iterator

import msgspec

from vyrox.trial.mock_edr.clouds import Clouds


class Credentials(msgspec.Struct, frozen=True):
    """Fictional credentials for one vendor.

    Attributes:
        azure_tenant: For Defender only.
    """

    vendor: str
    base_url: str
    client_id: str
    client_secret: str
    azure_tenant: str | None = None


class Device(msgspec.Struct, frozen=True):
    """One host at one vendor; `id` is the vendor's."""

    vendor: str
    id: str
    name: str
    online: bool
    tags: list[str]


class Inventory(msgspec.Struct, frozen=True):
    """The address, the credentials and the devices of the mock."""

    url: str
    credentials: list[Credentials]
    devices: list[Device]


def take_inventory(clouds: Clouds, url: str) -> Inventory:
    """Return the present inventory of the mock at `url`."""
    return Inventory(url, list(_credentials(clouds, url)), list(_devices(clouds)))


def _credentials(clouds: Clouds, url: str) -> Iterator[Credentials]:
    for vendor, clients, tenant in (
        ("crowdstrike", clouds.crowdstrike.clients, None),
        ("sentinelone", clouds.sentinelone.clients, None),
        ("defender", clouds.defender.clients, clouds.defender.tenant_id),
    ):
        for client in clients.values():
            yield Credentials(
                vendor, f"{url}/{vendor}", client.client_id, client.client_secret, tenant
            )


def _devices(clouds: Clouds) -> Iterator[Device]:
    for host in clouds.crowdstrike.devices.values():
        yield Device("crowdstrike", host.device_id, host.hostname, host.is_online, host.tags)
    for agent in clouds.sentinelone.agents.values():
        tags = [f"{key}={value}" for key, value in agent.tags.items()]
        yield Device("sentinelone", agent.id, agent.computer_name, agent.is_active, tags)
    for machine in clouds.defender.machines.values():
        name = machine.computer_dns_name
        yield Device("defender", machine.id, name, machine.is_active, machine.machine_tags)
