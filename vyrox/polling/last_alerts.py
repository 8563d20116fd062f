"""When the last alert of each tenant came from each vendor."""

from collections.abc import Sequence
from functools import cache
from typing import Final, get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.models import Vendor
from vyrox.tenants.listing import Listed, list_all

LastAlerts = dict[tuple[str, str], float]
"""By tenant and vendor, in Unix seconds."""

MAX_TENANTS: Final = 200
"""Tenants in one statement."""

# One step in the index `alerts_source` for each tenant and vendor.
_LAST: Final = """
SELECT t.tenant_id, v.source,
    (SELECT received_at FROM alerts
     WHERE alerts.tenant_id = t.tenant_id AND alerts.source = v.source
     ORDER BY received_at DESC LIMIT 1)
FROM tenants t CROSS JOIN vendors v
"""


def list_with_last_alerts(connection: Connection) -> tuple[list[Listed], LastAlerts]:
    """Return the list of tenants, and when the last alert of each was accepted."""
    rows = list_all(connection)
    return rows, last_alerts(connection, sorted({row.tenant_id for row in rows}))


def last_alerts(connection: Connection, tenant_ids: Sequence[str]) -> LastAlerts:
    """Return by tenant and vendor when the last alert was accepted, in Unix seconds."""
    vendors: tuple[Vendor, ...] = get_args(Vendor)
    values = {f"v{number}": each for number, each in enumerate(vendors)}
    found = {}
    for first in range(0, len(tenant_ids), MAX_TENANTS):
        some = tenant_ids[first : first + MAX_TENANTS]
        named = {f"t{number}": each for number, each in enumerate(some)}
        rows = connection.execute(_query(len(some), len(vendors)), {**values, **named})
        found.update({(row[0], row[1]): row[2] for row in rows if row[2] is not None})
    return found


@cache
def _query(tenants: int, vendors: int) -> sa.TextClause:
    t = ", ".join(f"(:t{number})" for number in range(tenants))
    v = ", ".join(f"(:v{number})" for number in range(vendors))
    return sa.text(
        f"WITH tenants(tenant_id) AS (VALUES {t}), vendors(source) AS (VALUES {v}) {_LAST}"
    )
