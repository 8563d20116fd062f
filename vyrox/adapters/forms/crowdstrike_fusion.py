"""What Falcon's Fusion SOAR sends to a webhook: `data` with dotted names, `meta` beside it.

Which names are there is the customer's choice; they end as those of the Alerts API do, after a
prefix such as `detections.` (contract 70).
"""

from typing import Final

from vyrox.adapters.forms.building import Fields, Reading
from vyrox.adapters.forms.crowdstrike_fields import FIELDS, falcon_alert
from vyrox.adapters.forms.payload import Endings, Payload, path_of
from vyrox.models import NormalizedAlert, Tenant

_DATA: Final = path_of("data")
_FIELDS: Final[Fields] = {
    **FIELDS,
    # Not `id` alone: many names end so.
    "raw_id": (
        *(path for path in FIELDS["raw_id"] if path != "id"),
        "detections.id", "detection.id", "alerts.id", "alert.id",
    ),
}  # fmt: skip


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
    data = next(node for node in payload.find(_DATA) if node.members)
    node = Endings(data.raw, data.work)
    return falcon_alert(
        node,
        Reading("crowdstrike", tenant, now, payload.notes),
        fields=_FIELDS,
        times=[*node.all(*_FIELDS["timestamp"]), *payload.all("meta.timestamp")],
        link=payload.first("meta.event_reference_url"),
    )
