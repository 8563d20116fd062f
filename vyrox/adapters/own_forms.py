"""Which of the vendors' forms a payload has, and the alert that it becomes (contract 70).

The forms of the API reference keep their reading. Nothing here knows a route, a store or a clock.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from vyrox.adapters import ADAPTERS
from vyrox.adapters.forms import (
    crowdstrike_alerts,
    crowdstrike_events,
    crowdstrike_fusion,
    defender_graph,
    defender_hunting,
    sentinelone_star,
    sentinelone_threats,
    sentinelone_unified,
)
from vyrox.adapters.forms.building import Ignored
from vyrox.adapters.forms.crowdstrike_fields import customer_in
from vyrox.adapters.forms.payload import Node, Payload, Work, fold, parse
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import NormalizationError
from vyrox.models import EdrVendor, NormalizedAlert, Tenant

__all__ = ["Ignored", "customer_ids", "join", "part_of", "read", "split"]


class _Form(NamedTuple):
    recognises: Callable[[Payload], bool]
    normalize: Callable[[Payload, Tenant, float], NormalizedAlert | Ignored]


def _of_the_contract(vendor: EdrVendor, recognises: Callable[[Payload], bool]) -> _Form:
    return _Form(
        recognises,
        lambda payload, tenant, now: ADAPTERS[vendor].normalize(payload.body, tenant, now),
    )


_NO_ALERT: Final = ("subscription_id", "requestor", "alerts")
"""Members of what has an `id` too: a change notification, a machine action, an incident."""


_DOCUMENTED: Final = ("sensor", "process")
_NOT_DOCUMENTED: Final = ("metadata", "composite_id", "agent_id", "computer_name", "device")
"""Members by which the documented form differs from an event that a relay put into snake case."""


def _is_documented_detection(payload: Payload) -> bool:
    return payload.has_exactly("detect_id") and (
        any(payload.has(name) for name in _DOCUMENTED)
        or not any(payload.has(name) for name in _NOT_DOCUMENTED)
    )


def _is_documented_alert(payload: Payload) -> bool:
    return payload.has_exactly("id") and not any(payload.has(name) for name in _NO_ALERT)


_FORMS: Final[Mapping[EdrVendor, tuple[_Form, ...]]] = {
    "crowdstrike": (
        _of_the_contract("crowdstrike", _is_documented_detection),
        _Form(crowdstrike_events.recognises, crowdstrike_events.normalize),
        _Form(crowdstrike_fusion.recognises, crowdstrike_fusion.normalize),
        _Form(crowdstrike_alerts.recognises, crowdstrike_alerts.normalize),
    ),
    "sentinelone": (
        _Form(sentinelone_star.recognises, sentinelone_star.normalize),
        _Form(sentinelone_threats.recognises, sentinelone_threats.normalize),
        _Form(sentinelone_unified.recognises, sentinelone_unified.normalize),
        _of_the_contract("sentinelone", lambda payload: payload.has_exactly("id")),
    ),
    "defender": (
        _Form(defender_hunting.recognises, defender_hunting.normalize),
        _Form(defender_graph.recognises, defender_graph.normalize),
        _of_the_contract("defender", _is_documented_alert),
    ),
}
"""The forms of each vendor. The first one that recognises a payload reads it."""

_WRAPPERS: Final = tuple(
    fold(name)
    for name in (
        "crowdstrike", "vendor",
        "resources", "records", "value", "data", "alerts", "alert", "threats", "threat",
        "detections", "detection", "events", "event", "edges", "node", "items", "results",
        "payload", "body", "message", "original", "raw", "log",
    )
)  # fmt: skip
"""Members that hold the alerts of a response, a batch or a relay, if nothing else is recognised."""

MAX_ELEMENTS: Final = 5000
"""Elements of one body. Vendors send some hundreds."""

_MAX_WRAPPERS: Final = 5
"""Wrappers inside wrappers that are opened."""

_CUSTOMERS: Final[Mapping[EdrVendor, tuple[tuple[str, ...], ...]]] = {
    "crowdstrike": (
        ("metadata.customer_id_string", "customer_id_string", "event.customer_id_string", "cid",
         "device.cid", "data.cid", "data.detections.cid"),
        ("customer_id",),
    ),
    "sentinelone": (
        ("account_id", "agent_detection_info.account_id", "agent_realtime_info.account_id",
         "detection_time.scope.account.id", "scope.account.id", "data.account_id"),
        ("site_id", "agent_detection_info.site_id", "agent_realtime_info.site_id",
         "detection_time.scope.site.id", "scope.site.id", "data.site_id"),
    ),
    "defender": (
        ("tenant_id", "aad_tenant_id", "azure_tenant_id", "properties.tenant_id"),
    ),
}  # fmt: skip
"""Where a payload has each kind of the vendor's customer id, the best place first."""

_COMPOSITES: Final = ("composite_id", "event.composite_id", "data.detections.composite_id")
"""Where Falcon's composite id is, which begins with the customer id."""


def read(
    vendor: EdrVendor, element: bytes | JsonText, tenant: Tenant, now: float
) -> NormalizedAlert | Ignored:
    """Return the alert in `element`, or which known event it is instead.

    Args:
        vendor: Who sent it, by its path.
        element: The JSON text of one alert: as received, or from `split`. It may be the only one
            in a wrapper.
        tenant: The authenticated tenant; the element does not change it.
        now: When it was received, in Unix seconds.

    Raises:
        NormalizationError: It is not of a known form, is more than one alert, or needs too much
            work.
    """
    payload, form = _recognised(vendor, element)
    if form is None:
        raise NormalizationError(f"not a known form of {vendor}")
    return form.normalize(payload, tenant, now)


def split(vendor: EdrVendor, element: bytes | JsonText) -> list[JsonText]:
    """Return the elements of a list, or of the response or batch that wraps them, in order.

    Args:
        vendor: Who sent it, by its path.
        element: JSON text, as received.

    Returns:
        Each with the notes of the whole. An element of an unknown form is returned as it is.

    Raises:
        NormalizationError: It is not JSON, has more than MAX_ELEMENTS, or needs too much work.
    """
    payload = parse(element)
    nodes = _unwrapped(vendor, payload, _MAX_WRAPPERS)
    parts = [JsonText(bytes(node.raw), payload.notes) for node in islice(nodes, MAX_ELEMENTS + 1)]
    if len(parts) > MAX_ELEMENTS:
        raise NormalizationError(f"more than {MAX_ELEMENTS} elements in one body")
    return parts


def part_of(vendor: EdrVendor, element: bytes | JsonText) -> str | None:
    """Return which alert `element` is a part of, if that alert may have other parts.

    Only Microsoft's records from an Event Hub are such parts.
    """
    try:
        payload = parse(element)
        is_record = vendor == "defender" and defender_hunting.recognises(payload)
        return defender_hunting.alert_id(payload) if is_record else None
    except NormalizationError:
        return None


def join(elements: Sequence[bytes | JsonText], tenant: Tenant, now: float) -> NormalizedAlert:
    """Return one alert from its parts, in any order.

    Args:
        elements: At least one; `part_of` names the same alert for each.
        tenant: The authenticated tenant.
        now: When the first one was received, in Unix seconds.

    Raises:
        NormalizationError: They are not parts of one alert.
    """
    # The only part in a wrapper is stored with it.
    records = [_recognised("defender", each)[0] for each in elements]
    return defender_hunting.join(records, tenant, now)


def customer_ids(vendor: EdrVendor, element: bytes | JsonText) -> list[str]:
    """Return the vendor's own customer ids that `element` names, at most one of each kind.

    The element is opened as `read` opens it. A payload that cannot be read names none.
    """
    try:
        payload, _ = _recognised(vendor, element)
        found = [payload.first(*paths) for paths in _CUSTOMERS[vendor]]
        if vendor == "crowdstrike" and found[0] is None:
            found[0] = customer_in(payload.first(*_COMPOSITES) or "")
    except NormalizationError:
        return []
    return list(dict.fromkeys(each for each in found if each is not None))


def _recognised(vendor: EdrVendor, element: bytes | JsonText) -> tuple[Payload, _Form | None]:
    """Return the one alert in `element`, taken out of its wrapper if there is one, and its form.

    Raises:
        NormalizationError: It is not JSON, is more than one alert, or needs too much work.
    """
    payload = parse(element)
    form = _form_of(vendor, payload)
    if form is not None:
        return payload, form
    parts = split(vendor, element)
    if len(parts) != 1:
        raise NormalizationError(f"{len(parts)} alerts where one is expected")
    payload = Payload(parts[0])
    return payload, _form_of(vendor, payload)


def _form_of(vendor: EdrVendor, payload: Payload) -> _Form | None:
    if payload.raws:
        return None  # a list: paths would find values of different alerts
    return next((form for form in _FORMS[vendor] if form.recognises(payload)), None)


def _unwrapped(vendor: EdrVendor, node: Node, levels: int) -> Iterator[Node]:
    if levels and (raws := node.raws):
        for raw in raws:
            yield from _unwrapped(vendor, Node(raw, Work()), levels - 1)
    elif levels and (inner := _inner(node)) and _form_of(vendor, _payload(node)) is None:
        yield from _unwrapped(vendor, inner, levels - 1)
    else:
        yield node


def _payload(node: Node) -> Payload:
    return node if isinstance(node, Payload) else Payload(JsonText(bytes(node.raw)))


def _inner(node: Node) -> Node | None:
    inner = (each for name in _WRAPPERS for each in node.members.get(name, ()))
    return next((each for each in inner if each.members or each.raws), None)
