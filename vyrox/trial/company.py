"""The made-up company of all trials: its computers, as each vendor names them.

The simulator's alerts and the mock of the vendors both read this table, so a host that an alert
names can be contained.
"""

from typing import Final

import msgspec

from vyrox.models import Vendor

DOMAIN: Final = "acme.local"
"""Defender names a host with its domain."""


class Host(msgspec.Struct, frozen=True):
    """A computer, by its name and by the vendor's own identifier of it."""

    name: str
    device_id: str


class Computer(msgspec.Struct, frozen=True):
    """One computer of the company: its short name, and its identifier at each vendor.

    Attributes:
        generic: The number in the company's own list of devices.
    """

    name: str
    crowdstrike: str
    sentinelone: str
    defender: str
    generic: str

    def at(self, vendor: Vendor) -> Host:
        """Return the computer as the vendor names it."""
        name = f"{self.name}.{DOMAIN}" if vendor == "defender" else self.name
        device_id: str = getattr(self, vendor)
        return Host(name, device_id)


WORKSTATION_01: Final = Computer(
    "workstation-01",
    crowdstrike="12345678-1234-1234-1234-123456789abc",
    sentinelone="1742960117302948561",
    defender="8d2f61c0b7e94a35d1f08c6b52e7a9403fd6b18e",
    generic="asset-00101",
)
WORKSTATION_07: Final = Computer(
    "workstation-07",
    crowdstrike="5f0c7a1e-93b2-4d6a-8e21-0b7d4c9f6a35",
    sentinelone="1742960385517204813",
    defender="c4e7108b92d6f35ae0b14c87d3f6295a7b1e0d84",
    generic="asset-00107",
)
FILE_SRV_02: Final = Computer(
    "file-srv-02",
    crowdstrike="a3d918c4-6e70-4b5f-9c12-d84e2f7b1069",
    sentinelone="1742961120948337562",
    defender="41b7c93e0d5f82a6947e13cd80fa526be7d09c34",
    generic="asset-00417",
)
ERP_SRV_03: Final = Computer(
    "erp-srv-03",
    crowdstrike="e94b27d0-8f15-4c63-a7d2-3b60c9e81f47",
    sentinelone="1742961507339028416",
    defender="9b3e61f7d05c82a4716e93bd4f20c8a5e7d1064f",
    generic="asset-00420",
)
DC_01: Final = Computer(
    "dc-01",
    crowdstrike="c71b5e20-4a8d-4f39-b6e7-92d0a5c3f814",
    sentinelone="1742961398204571630",
    defender="f2085ad7c6194e3bb1e6d47083c95f2a61be07d9",
    generic="asset-00401",
)

WORKSTATION_12: Final = Computer(
    "workstation-12",
    crowdstrike="2b94e6d0-17c3-4f58-a0b9-65e1d83c7f20",
    sentinelone="1742961873004416295",
    defender="5e07ac91d3b8264f0c19e7a5d42b683f90ce1d75",
    generic="asset-00112",
)
SQL_SRV_05: Final = Computer(
    "sql-srv-05",
    crowdstrike="d05f38b7-c2a1-4e96-8b74-1f9e60a3c5d8",
    sentinelone="1742961640285507731",
    defender="c81d40f7e6295ab3071fd9c468e2b5a09d37f614",
    generic="asset-00422",
)

COMPUTERS: Final = (
    WORKSTATION_01,
    WORKSTATION_07,
    WORKSTATION_12,
    FILE_SRV_02,
    ERP_SRV_03,
    SQL_SRV_05,
    DC_01,
)
