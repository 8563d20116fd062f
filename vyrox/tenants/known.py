"""Which tenants are known here, so that a mistyped name is an error (contract 39).

A tenant is known by a row of credentials (a disabled one too), by a vendor's credentials, by an
alert or by an audit entry. An accepted alert has its event in the tenant's chain, from the same
transaction, and the chain outlives it: so the chain is read for both.
"""

from difflib import get_close_matches
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import OperatorError
from vyrox.store.tables import audit_log, edr_credentials, tenant_credentials

NEW_HINT: Final = " (if the name is right: --new)"
"""For commands with an option that accepts an unknown tenant."""

MAX_COMPARED: Final = 10_000
"""Names with which an unknown one is compared."""

_TABLES: Final = (tenant_credentials, edr_credentials, audit_log)

# From one tenant's chain to the next by the index: the log is larger than the list of tenants.
_NAMES: Final = sa.text("""
WITH RECURSIVE chain(tenant_id) AS (
    SELECT min(tenant_id) FROM audit_log WHERE tenant_id > ''
    UNION ALL
    SELECT (SELECT min(tenant_id) FROM audit_log WHERE tenant_id > chain.tenant_id)
    FROM chain WHERE chain.tenant_id IS NOT NULL
)
SELECT tenant_id FROM tenant_credentials
UNION SELECT tenant_id FROM edr_credentials
UNION SELECT tenant_id FROM chain WHERE tenant_id IS NOT NULL
ORDER BY tenant_id LIMIT :most
""")


def require_known(connection: Connection, tenant_id: str, otherwise: str = "") -> None:
    """Return if the tenant is known.

    Args:
        otherwise: What the error recommends where the name is right.

    Raises:
        OperatorError: It is not known; the text names the known one that is nearest.
    """
    if not is_known(connection, tenant_id):
        raise OperatorError(
            f"there is no tenant {tenant_id}{_hint(connection, tenant_id)}{otherwise}"
        )


def is_known(connection: Connection, tenant_id: str) -> bool:
    """Return whether something here is the tenant's."""
    return any(
        connection.execute(
            sa.select(sa.literal(1)).where(table.c.tenant_id == tenant_id).limit(1)
        ).first()
        for table in _TABLES
    )


def _hint(connection: Connection, tenant_id: str) -> str:
    names = connection.execute(_NAMES, {"most": MAX_COMPARED}).scalars()
    by_lower = {name.lower(): name for name in names}
    nearest = get_close_matches(tenant_id.lower(), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {by_lower[nearest[0]]}?" if nearest else "; see: vyrox tenant list"
