"""Entities of Falcon's Alerts API v2, and of the Detects API before it (contract 70).

They come from the poller, from a workflow that forwards them, and flat from relays.
"""

from vyrox.adapters.forms.building import Reading
from vyrox.adapters.forms.crowdstrike_fields import falcon_alert
from vyrox.adapters.forms.payload import Payload
from vyrox.models import NormalizedAlert, Tenant


def recognises(payload: Payload) -> bool:
    """Return whether `payload` is such an entity."""
    return any(payload.has(name) for name in ("composite_id", "detection_id", "detect_id")) or any(
        payload.has("id", name) for name in ("agent_id", "aggregate_id", "xdr_type", "cid")
    )


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert:
    """Return the entity in `payload` as an alert.

    Raises:
        NormalizationError: It names no detection.
    """
    return falcon_alert(payload, Reading("crowdstrike", tenant, now, payload.notes))
