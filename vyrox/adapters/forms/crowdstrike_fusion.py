"""What Falcon's Fusion SOAR sends to a webhook: `data` with dotted names, `meta` beside it.

Which names are there is the customer's choice; they end as those of the Alerts API do, after a
prefix such as `detections.` (contract 70).
"""

from typing import Final

from vyrox.adapters.forms.building import Reading
from vyrox.adapters.forms.crowdstrike_fields import falcon_alert
from vyrox.adapters.forms.payload import Endings, Payload, path_of
from vyrox.models import NormalizedAlert, Tenant

_DATA: Final = path_of("data")


def recognises(payload: Payload) -> bool:
    """Return whether `data` is an object, with dotted names in it or `meta` beside it."""
    return any(
        node.members and (payload.has("meta") or any("." in name for name in node.members))
        for node in payload.find(_DATA)
    )


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert:
    """Return the detection that the workflow's members describe.

    Raises:
        NormalizationError: They name no detection: neither an id nor a link to it.
    """
    data = next(payload.find(_DATA))
    return falcon_alert(
        Endings(data.raw, data.work), Reading("crowdstrike", tenant, now, payload.notes)
    )
