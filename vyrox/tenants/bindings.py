"""Which vendor's customer id belongs to which tenant (contract 71)."""

from collections.abc import Mapping, Set
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import OperatorError
from vyrox.ids import normal_customer_id
from vyrox.models import Vendor
from vyrox.store.tables import tenant_credentials
from vyrox.tenants.webhook_options import DEFAULT, WebhookOptions, decode_options

_table: Final = tenant_credentials.c


class Bindings:
    """The customer ids of one vendor: whose they are, and which tenant may route by them."""

    def __init__(self, options: Mapping[str, WebhookOptions], enabled: Set[str]) -> None:
        """`options` are those of each tenant at the vendor; `enabled` names who is not removed."""
        self._options = options
        self._enabled = enabled
        self._owners = {
            vendor_id: tenant_id
            for is_enabled in (False, True)  # an id of a removed tenant can be bound again
            for tenant_id, each in options.items()
            for vendor_id in each.vendor_ids
            if (tenant_id in enabled) is is_enabled
        }

    def options_of(self, tenant_id: str) -> WebhookOptions:
        """Return the options of a tenant."""
        return self._options.get(tenant_id, DEFAULT)

    def owner_of(self, vendor_id: str) -> str | None:
        """Return the tenant that `vendor_id`, in its normal spelling, is bound to."""
        return self._owners.get(vendor_id)

    def is_enabled(self, tenant_id: str) -> bool:
        """Return whether the tenant is onboarded at the vendor, and not removed."""
        return tenant_id in self._enabled


def read_bindings(connection: Connection, vendor: Vendor) -> Bindings:
    """Return the customer ids of every tenant at `vendor`."""
    query = sa.select(_table.tenant_id, _table.webhook_options, _table.disabled_at)
    rows = list(connection.execute(query.where(_table.vendor == vendor)))
    return Bindings(
        {row.tenant_id: decode_options(row.webhook_options) for row in rows},
        {row.tenant_id for row in rows if row.disabled_at is None},
    )


def check_spelling(connection: Connection, tenant_id: str, vendor: Vendor) -> None:
    """Return if no other tenant's name is the same identifier of the vendor (contract 73).

    Raises:
        OperatorError: Another one is, and is onboarded; the text names it.
    """
    query = sa.select(_table.tenant_id).where(_table.disabled_at.is_(None)).distinct()
    normal = normal_customer_id(vendor, tenant_id)
    for other in connection.execute(query.order_by(_table.tenant_id)).scalars():
        if other != tenant_id and normal_customer_id(vendor, other) == normal:
            raise OperatorError(
                f"{tenant_id} is another spelling of {other}, which is onboarded: use that name"
            )


def check_unbound(
    connection: Connection, tenant_id: str, vendor: Vendor, options: WebhookOptions
) -> None:
    """Return if no other tenant has one of the customer ids in `options`.

    Raises:
        OperatorError: Another one has; the text names it.
    """
    bindings = read_bindings(connection, vendor)
    for vendor_id in options.vendor_ids:
        owner = bindings.owner_of(vendor_id)
        if owner not in {None, tenant_id} and bindings.is_enabled(owner or ""):
            raise OperatorError(f"{vendor_id} is the {vendor} customer id of {owner}")
