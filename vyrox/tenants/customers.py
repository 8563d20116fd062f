"""Whose alert an element is, by the vendor's own customer ids in it (contract 71)."""

from vyrox.adapters import ADAPTERS, own_forms
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import NormalizationError
from vyrox.ids import normal_customer_id
from vyrox.models import NormalizedAlert, Tenant, Vendor
from vyrox.tenants.bindings import Bindings


def tenant_of(vendor: Vendor, text: JsonText, tenant: Tenant, bindings: Bindings) -> Tenant:
    """Return the tenant of an element that was delivered on the path of `tenant`.

    Raises:
        NormalizationError: It names a customer of another tenant, to whom the tenant may not route.
    """
    if vendor == "generic":
        return tenant
    options = bindings.options_of(tenant.tenant_id)
    ids = own_forms.customer_ids(vendor, text)
    # In the documented forms the id is the name of the tenant itself.
    names = {normal_customer_id(vendor, each): each for each in options.routes_to}
    names[normal_customer_id(vendor, tenant.tenant_id)] = tenant.tenant_id
    found = (normal_customer_id(vendor, each) for each in ids)
    owners = {owner for each in found if (owner := bindings.owner_of(each) or names.get(each))}
    others = owners - {tenant.tenant_id}
    if not others:
        if options.routes_to and ids and not owners:
            raise NormalizationError("the payload names a customer id that is bound to no tenant")
        return tenant
    child = next(iter(others))
    if len(others) > 1 or child not in options.routes_to or not bindings.is_enabled(child):
        raise NormalizationError("the payload names a customer id of another tenant")
    return Tenant(child)


def read_element(
    vendor: Vendor, text: JsonText, tenant: Tenant, now: float
) -> NormalizedAlert | own_forms.Ignored:
    """Return the alert in an element, or which known event it is instead.

    Raises:
        NormalizationError: It is neither.
    """
    if vendor == "generic":
        return ADAPTERS[vendor].normalize(text, tenant, now)
    return own_forms.read(vendor, text, tenant, now)
