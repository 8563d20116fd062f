"""Whether a tenant is frozen: the one place that reads it (contract 35 and 39).

Everything that begins an action, or is about to send a call that changes something, asks here, in
a transaction of its own or in that of the claim. Nothing keeps the result in memory.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import guard_rails

EVERY_TENANT: Final = ""
"""The row that freezes every tenant, those added later too; no tenant has this name (contract 7).
A tenant's own freeze is in the tenant's own row, so neither ends the other."""

_t: Final = guard_rails.c
_FROZEN: Final = sa.select(sa.func.min(_t.frozen_at)).where(
    _t.tenant_id.in_((EVERY_TENANT, sa.bindparam("tenant")))
)


def frozen_since(connection: Connection, tenant_id: str) -> float | None:
    """Return since when (Unix seconds) nothing may be carried out for the tenant, or None."""
    since: float | None = connection.execute(_FROZEN, {"tenant": tenant_id}).scalar()
    return since
