"""Entities of Falcon's Alerts API v2, and of the Detects API before it (contract 70).

They come from the poller, from a workflow that forwards them, and flat from relays.
"""

import re
from typing import Final

from vyrox.adapters.forms.building import Reading
from vyrox.adapters.forms.crowdstrike_fields import falcon_alert
from vyrox.adapters.forms.payload import Payload
from vyrox.models import NormalizedAlert, Tenant

_NAMES: Final = ("composite_id", "detection_id", "detect_id", "falcon_host_link")
_ID: Final = re.compile(r"(?:[0-9a-fA-F]{32}:)?(?:ind|ldt|det)[a-z]*:")
"""The beginning of an `id` that is one of a detection. Other entities and events have ids too."""


def recognises(payload: Payload) -> bool:
    """Return whether `payload` is such an entity."""
    if any(payload.has(name) for name in _NAMES):
        return True
    return _ID.match(payload.first("id") or "") is not None


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert:
    """Return the entity in `payload` as an alert.

    Raises:
        NormalizationError: It names no detection.
    """
    reading = Reading("crowdstrike", tenant, now, payload.notes)
    # Only events that a relay took out of their envelopes have this member, with its scale.
    return falcon_alert(payload, reading, of_five=payload.has("detect_name"))
