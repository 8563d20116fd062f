"""What the elements of an authenticated delivery are (contract 71)."""

from collections import Counter
from typing import NamedTuple

import msgspec

from vyrox.adapters import own_forms
from vyrox.adapters.forms.payload import one_delivery
from vyrox.adapters.own_forms import Ignored
from vyrox.adapters.received import Element, elements_of, text_of
from vyrox.alerts.batches import key_of_message
from vyrox.alerts.intake import MAX_NAME, Delivery, delivery, storable
from vyrox.alerts.quarantine import Unreadable
from vyrox.alerts.records import Record
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant, Vendor
from vyrox.tenants.bindings import Bindings
from vyrox.tenants.customers import read_element, tenant_of


class Sender(NamedTuple):
    """Who sent a delivery.

    Attributes:
        message_id: The sender's own name of the delivery, or None.
    """

    tenant: Tenant
    vendor: Vendor
    message_id: bytes | None


class Readings(NamedTuple):
    """What the elements of a delivery are. `records` are parts of alerts that have others."""

    deliveries: list[Delivery]
    unreadable: list[Unreadable]
    ignored: Counter[str]
    records: list[Record]


def read_delivery(
    bindings: Bindings,
    sender: Sender,
    body: bytes,
    content_type: bytes,
    is_gzip: bool,
    now: float,
) -> Readings:
    """Return what the elements are. A body without elements is one that cannot be read."""
    readings = Readings([], [], Counter(), [])
    content = body
    with one_delivery():
        try:
            content = text_of(body, content_type, is_gzip=is_gzip)
            elements = elements_of(sender.vendor, content, sender.tenant.field_map)
        except NormalizationError as exc:
            _keep(readings, sender, sender.tenant, content, exc, now)
            return readings
        for number, element in enumerate(elements):
            _read_element(bindings, sender, number, element, now, readings)
    return readings


def _read_element(
    bindings: Bindings,
    sender: Sender,
    number: int,
    element: Element,
    now: float,
    readings: Readings,
) -> None:
    tenant = sender.tenant
    try:
        tenant = tenant_of(sender.vendor, element.text, tenant, bindings)
        found = read_element(sender.vendor, element.text, tenant, now)
    except NormalizationError as exc:
        _keep(readings, sender, tenant, element.raw, exc, now)
        return
    if isinstance(found, Ignored):
        readings.ignored[found.what] += 1
    elif sender.vendor == "defender" and (raw_id := own_forms.part_of("defender", element.text)):
        name = storable(raw_id)[:MAX_NAME]
        readings.records.append(Record(tenant.tenant_id, name, element.raw, now))
    else:
        readings.deliveries.append(_delivery(sender, number, found, element.raw, now))


def _delivery(
    sender: Sender, number: int, alert: NormalizedAlert, raw: bytes, now: float
) -> Delivery:
    new = delivery(alert, raw, now)
    if sender.message_id is None:
        return new
    key = key_of_message(alert.tenant_id, alert.source, sender.message_id, number)
    return msgspec.structs.replace(new, dedup_key=key)


def _keep(
    readings: Readings,
    sender: Sender,
    tenant: Tenant,
    raw: bytes,
    reason: NormalizationError,
    now: float,
) -> None:
    unreadable = Unreadable(tenant.tenant_id, sender.vendor, raw, str(reason), now)
    readings.unreadable.append(unreadable)
