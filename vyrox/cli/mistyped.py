"""An error about a tenant that does not exist names the nearest one that does (contract 88)."""

from vyrox.cli.stores import read
from vyrox.errors import VyroxError
from vyrox.tenants.known import nearest_known


def hint_of(tenant_id: str) -> str:
    """Return the end of an error about the tenant; empty if it is known, or no name is near."""
    try:
        nearest = read(nearest_known, tenant_id)
    except VyroxError:
        return ""
    return "" if nearest is None else f"; there is no tenant {tenant_id}: did you mean {nearest}?"
