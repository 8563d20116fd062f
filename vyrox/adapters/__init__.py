"""One file per vendor: what it sends, and how that becomes an alert."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from vyrox.adapters import crowdstrike, defender, generic, sentinelone
from vyrox.adapters.tolerant_json import JsonText
from vyrox.models import NormalizedAlert, Tenant, Vendor


class Adapter(NamedTuple):
    """What a route needs to know about a vendor.

    Attributes:
        normalize: Body, verified tenant and receive time in Unix seconds -> alert; raises
            NormalizationError and nothing else. The body is `tolerant_json.tolerant`'s.
        unverified_tenant_id: Body -> the tenant it claims to be from; raises MissingTenantError and
            nothing else. None where the tenant stands in the path.
    """

    normalize: Callable[[JsonText, Tenant, float], NormalizedAlert]
    unverified_tenant_id: Callable[[JsonText], str] | None = None


ADAPTERS: Mapping[Vendor, Adapter] = {
    "crowdstrike": Adapter(crowdstrike.normalize, crowdstrike.unverified_tenant_id),
    "sentinelone": Adapter(sentinelone.normalize, sentinelone.unverified_tenant_id),
    "defender": Adapter(defender.normalize, defender.unverified_tenant_id),
    "generic": Adapter(generic.normalize),
}
