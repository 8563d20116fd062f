"""The source of a tenant's alerts, for each vendor."""

from collections.abc import Callable, Mapping
from typing import Final

from vyrox.edr.transport.api import VendorApi
from vyrox.models import Vendor
from vyrox.polling.crowdstrike import FalconAlerts
from vyrox.polling.defender import GraphAlerts
from vyrox.polling.pages import Source
from vyrox.polling.sentinelone import Threats

_SOURCES: Final[Mapping[Vendor, Callable[[VendorApi], Source]]] = {
    "crowdstrike": FalconAlerts,
    "sentinelone": Threats,
    "defender": GraphAlerts,
}


def make_source(vendor: Vendor, api: VendorApi) -> Source:
    """Return the source that reads a vendor's alerts from `api`."""
    return _SOURCES[vendor](api)
