"""The alerts in a payload that was kept, as the path with the tenant in it reads them."""

from typing import Final

from sqlalchemy import Connection

from vyrox.adapters.own_forms import Ignored
from vyrox.adapters.received import Element, elements_of, text_of
from vyrox.errors import NormalizationError
from vyrox.models import FieldMap, NormalizedAlert, Tenant, Vendor
from vyrox.tenants import records
from vyrox.tenants.bindings import Bindings, read_bindings
from vyrox.tenants.customers import read_element, tenant_of

GZIP: Final = b"\x1f\x8b"
"""How a compressed body begins: one whose sender did not say so is kept as it was sent."""


def elements_in(vendor: Vendor, raw: bytes, field_map: FieldMap | None) -> list[Element]:
    """Return what may be alerts in a body as received, inflated within the usual limits.

    Raises:
        NormalizationError: It cannot be inflated, or has too many elements.
    """
    text = text_of(raw, b"", is_gzip=raw.startswith(GZIP))
    return elements_of(vendor, text, field_map)


def read_kept(
    connection: Connection, vendor: Vendor, tenant_id: str, raw: bytes, received_at: float
) -> list[tuple[NormalizedAlert, bytes]]:
    """Return the alerts in a body, each with its bytes, by the tenant's present field map.

    Raises:
        NormalizationError: It has none, or an element of it cannot be read or is not the tenant's.
    """
    tenant = Tenant(tenant_id, records.field_map_of(connection, tenant_id, vendor))
    bindings = read_bindings(connection, vendor)
    found: list[tuple[NormalizedAlert, bytes]] = []
    ignored: Ignored | None = None
    for element in elements_in(vendor, raw, tenant.field_map):
        alert = _read(vendor, element, tenant, bindings, received_at)
        if isinstance(alert, Ignored):
            ignored = alert
        else:
            found.append((alert, element.raw))
    if not found and ignored is not None:
        raise NormalizationError(f"{ignored.what} is not a detection")
    return found


def _read(
    vendor: Vendor, element: Element, tenant: Tenant, bindings: Bindings, received_at: float
) -> NormalizedAlert | Ignored:
    owner = tenant_of(vendor, element.text, tenant, bindings)
    return read_element(vendor, element.text, owner, received_at)
