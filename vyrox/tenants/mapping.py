"""What a payload becomes, and which field comes from where: for people (contract 73)."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from vyrox.adapters import ADAPTERS, generic, own_forms
from vyrox.adapters.own_forms import Ignored
from vyrox.adapters.probing import FIELDS, MAX_PROBED, loaded, sources_of
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant, Vendor
from vyrox.tenants.customers import read_element
from vyrox.tenants.payloads import elements_in

MAX_SHOWN_MEMBERS: Final = 20


class MappedField(msgspec.Struct, frozen=True):
    """One field of the alert. `sources` are the places of its value, the best one first."""

    field: str
    value: str | None
    sources: Sequence[str] = ()
    error: str | None = None


class Mapped(msgspec.Struct, frozen=True):
    """What one payload becomes.

    Attributes:
        reason: Why it is refused, or which event is ignored.
        customer_ids: The vendor's own ids of the customer in it.
        documented: Whether the path without the tenant takes it too.
    """

    status: Literal["alert", "ignored", "refused"]
    fields: Sequence[MappedField] = ()
    missing: Sequence[str] = ()
    reason: str | None = None
    customer_ids: Sequence[str] = ()
    documented: bool = True
    notes: Sequence[str] = ()
    alert: NormalizedAlert | None = None


class Given(msgspec.Struct, frozen=True):
    """A body, who sent it, and when it was received, in Unix seconds."""

    body: bytes
    vendor: Vendor
    tenant: Tenant
    received_at: float


def parts_of(given: Given) -> list[JsonText]:
    """Return the elements of the payload, as the path with the tenant in it reads them.

    Raises:
        NormalizationError: It cannot be inflated, or has too many elements.
    """
    found = elements_in(given.vendor, given.body, given.tenant.field_map)
    return [each.text for each in found]


def mapped(part: JsonText, given: Given, most_probed: int = MAX_PROBED) -> Mapped:
    """Return what one element becomes.

    Args:
        most_probed: Values of it that are tried to find the fields' sources.
    """
    vendor = given.vendor

    def read_alert(body: JsonText) -> NormalizedAlert | Ignored:
        return read_element(vendor, body, given.tenant, given.received_at)

    ids = [] if vendor == "generic" else own_forms.customer_ids(vendor, part)
    try:
        alert = read_alert(part)
    except NormalizationError as exc:
        return Mapped(
            "refused",
            _found_by_map(part, given),
            reason=f"{exc}{_members(part)}",
            customer_ids=ids,
            documented=False,
        )
    if isinstance(alert, Ignored):
        return Mapped("ignored", reason=alert.what, customer_ids=ids, documented=False)
    sources = sources_of(read_alert, part.content, most_probed)
    fields = [
        MappedField(name, str(getattr(alert, name)), sources.get(name, ()))
        for name in FIELDS
        if getattr(alert, name) is not None
    ]
    return Mapped(
        "alert",
        fields,
        [name for name in FIELDS if getattr(alert, name) is None],
        customer_ids=ids,
        documented=_is_documented(part, given),
        notes=alert.notes,
        alert=alert,
    )


def _found_by_map(part: JsonText, given: Given) -> list[MappedField]:
    if given.vendor != "generic" or given.tenant.field_map is None:
        return []
    try:
        looked = generic.explain(part, given.tenant.field_map)
    except NormalizationError:
        return []
    return [MappedField(each.field, each.text, (each.path,), each.error) for each in looked]


def _members(part: JsonText) -> str:
    """Return which members the payload has, to compare them with what is expected."""
    try:
        value = loaded(part.content)
    except NormalizationError:
        return ""
    names = list(value)[:MAX_SHOWN_MEMBERS] if isinstance(value, dict) else []
    return f" (its members: {', '.join(names)})" if names else ""


def _is_documented(part: JsonText, given: Given) -> bool:
    if given.vendor == "generic":
        return True
    adapter = ADAPTERS[given.vendor]
    try:
        adapter.normalize(part, given.tenant, given.received_at)
    except NormalizationError:
        return False
    return True
