"""All that is set for a tenant, for `vyrox tenant show` (contract 87)."""

import msgspec
from sqlalchemy import Connection

from vyrox.approvals.rules import list_rules
from vyrox.polling.arrivals import VENDORS, Arrivals, read_all
from vyrox.tenants import guard_rails
from vyrox.tenants.edr_credentials import EdrCredentials, list_credentials
from vyrox.tenants.known import require_known


class TenantFacts(msgspec.Struct, frozen=True):
    """What is set for a tenant.

    Attributes:
        places: Its vendors, with the last alert and failure of each.
        rules: As `list_rules` returns them.
    """

    tenant_id: str
    places: list[Arrivals]
    rails: guard_rails.Rails
    rules: list[str]
    credentials: list[EdrCredentials]


def read_tenant(connection: Connection, tenant_id: str) -> TenantFacts:
    """Return all that is set for the tenant. Raises OperatorError if it is not known."""
    require_known(connection, tenant_id)
    places = [
        each
        for each in read_all(connection, [tenant_id], VENDORS)
        if each.onboarded or each.poller or each.alert_at
    ]
    return TenantFacts(
        tenant_id,
        places,
        guard_rails.find(connection, [tenant_id])[tenant_id],
        list_rules(connection, tenant_id),
        list_credentials(connection, tenant_id),
    )
