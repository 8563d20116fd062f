"""One module per vendor: the payloads it sends, and how they become alerts."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from vyrox.adapters import crowdstrike, defender, generic, sentinelone
from vyrox.adapters.tolerant_json import JsonText
from vyrox.models import NormalizedAlert, Tenant, Vendor


class Adapter(NamedTuple):
    """The functions that a route calls for a vendor.

    Attributes:
        normalize: Takes a body from `tolerant_json.tolerant`, the authenticated tenant, and the
            time of receipt in Unix seconds; returns the alert. Raises only NormalizationError.
        unverified_tenant_id: Takes such a body; returns the tenant that it names. Raises only
            MissingTenantError. None if the tenant is in the path.
    """

    normalize: Callable[[JsonText, Tenant, float], NormalizedAlert]
    unverified_tenant_id: Callable[[JsonText], str] | None = None


ADAPTERS: Mapping[Vendor, Adapter] = {
    "crowdstrike": Adapter(crowdstrike.normalize, crowdstrike.unverified_tenant_id),
    "sentinelone": Adapter(sentinelone.normalize, sentinelone.unverified_tenant_id),
    "defender": Adapter(defender.normalize, defender.unverified_tenant_id),
    "generic": Adapter(generic.normalize),
}
