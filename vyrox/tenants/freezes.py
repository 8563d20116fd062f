"""Reads whether a tenant is frozen (contract 35 and 39).

Vyrox reads this before it begins an action, and again before each vendor request that changes
something. The result is never kept in memory.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import guard_rails

EVERY_TENANT: Final = ""
"""The key of the row that freezes all tenants, new ones included. No tenant can have this name
(contract 7). A tenant's own freeze has its own row, so the two do not affect each other."""

_t: Final = guard_rails.c
_FROZEN: Final = sa.select(sa.func.min(_t.frozen_at)).where(
    _t.tenant_id.in_((EVERY_TENANT, sa.bindparam("tenant")))
)


def frozen_since(connection: Connection, tenant_id: str) -> float | None:
    """Return when the tenant was frozen (Unix seconds), or None if it is not frozen."""
    since: float | None = connection.execute(_FROZEN, {"tenant": tenant_id}).scalar()
    return since
