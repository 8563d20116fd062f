"""Falcon's Event Streams: `metadata` and `event`, or both flat in one object (contract 70)."""

import re
from typing import Final

from vyrox.adapters.decoding import one_line
from vyrox.adapters.forms.building import Ignored, Reading
from vyrox.adapters.forms.crowdstrike_fields import falcon_alert
from vyrox.adapters.forms.payload import Endings, Node, Payload, path_of
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant

_TYPES: Final = (
    "metadata.event_type", "external_api_type", "event.external_api_type", "fdr_event_type",
)  # fmt: skip
_EVENT: Final = path_of("event")

_MAX_TYPE: Final = 128
"""Characters of a type. Matching a longer one with `_IGNORED` would take the cube of its length."""

_DETECTION: Final = re.compile(r"[a-z]*detectionsummaryevent|automatedlead[a-z]*")
"""DetectionSummaryEvent, and those of Epp, Xdr, Idp, Mobile, Cnapp, DataProtection and others."""

_IGNORED: Final = re.compile(
    r"useractivityauditevent"
    r"|authactivityauditevent"
    r"|remoteresponse[a-z]*event"
    r"|(?:event)?stream(?:ing)?(?:session)?(?:start|stop|end)(?:p?ed)?(?:event)?"
    r"|scheduledreport[a-z]*event"
    r"|[a-z]*detection[a-z]*update[a-z]*event"
)

_OF_FIVE: Final = re.compile(r"detectionsummaryevent|idpdetectionsummaryevent")
"""Types whose severity is a number from 1 to 5. That of all other types is from 0 to 100."""


def recognises(payload: Payload) -> bool:
    """Return whether `payload` is an event of a known or unknown type."""
    return any(payload.has(path) for path in _TYPES)


def normalize(payload: Payload, tenant: Tenant, now: float) -> NormalizedAlert | Ignored:
    """Return the detection in `payload`, or which event it is instead.

    Some types have no identifier. They are named by their type and place in the stream.

    Raises:
        NormalizationError: Its type is unknown, or it names no detection.
    """
    given = payload.first(*_TYPES) or ""
    name = given.removeprefix("Event_")
    folded = name.lower()
    if len(folded) <= _MAX_TYPE and _IGNORED.fullmatch(folded):
        return Ignored(one_line(name))
    if len(folded) > _MAX_TYPE or not _DETECTION.fullmatch(folded):
        raise NormalizationError(one_line(f"not a known type of event: {name}"))
    offset = payload.first("metadata.offset")
    return falcon_alert(
        _body(payload),
        Reading("crowdstrike", tenant, now, payload.notes),
        of_five=_OF_FIVE.fullmatch(folded) is not None,
        times=payload.all("metadata.event_creation_time"),
        raw_id=None if offset is None else f"{name}:{offset}",
    )


def _body(payload: Payload) -> Node:
    """Return the event; the whole payload, if the event's members are flat in it."""
    bodies = (node for node in payload.find(_EVENT) if node.members or node.elements)
    return next(bodies, Endings(payload.raw, payload.work))
