"""Which tenants exist in the database, so that a mistyped name is an error (contract 39).

A tenant is known if it has webhook credentials (also disabled ones), vendor credentials, guard
rails or an accepted alert. The event of an accepted alert is in the audit log, which is never
deleted. Other audit entries do not count: `/execute` with a mistyped name writes one too.
"""

from difflib import get_close_matches
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import OperatorError
from vyrox.store.tables import (
    audit_archives,
    audit_log,
    edr_credentials,
    guard_rails,
    tenant_credentials,
)

NEW_HINT: Final = " (if the name is right: --new)"
"""For commands with an option that accepts an unknown tenant."""

MAX_COMPARED: Final = 10_000
"""Known names that are compared with an unknown name, to suggest the nearest."""

_TABLES: Final = (tenant_credentials, edr_credentials, guard_rails, audit_archives)

_a: Final = audit_log.c
_ACCEPTED: Final = (_a.stream == "events", _a.kind == "alert.accepted")

# Reads one index entry per tenant: the audit log is much longer than the list of tenants.
_NAMES: Final = sa.text("""
WITH RECURSIVE chain(tenant_id) AS (
    SELECT min(tenant_id) FROM audit_log WHERE tenant_id > ''
    UNION ALL
    SELECT (SELECT min(tenant_id) FROM audit_log WHERE tenant_id > chain.tenant_id)
    FROM chain WHERE chain.tenant_id IS NOT NULL
)
SELECT tenant_id FROM tenant_credentials
UNION SELECT tenant_id FROM edr_credentials
UNION SELECT tenant_id FROM guard_rails WHERE tenant_id > ''
UNION SELECT tenant_id FROM chain WHERE EXISTS (
    SELECT 1 FROM audit_log WHERE audit_log.tenant_id = chain.tenant_id
    AND stream = 'events' AND kind = 'alert.accepted'
)
UNION SELECT tenant_id FROM audit_archives WHERE tenant_id > ''
ORDER BY tenant_id LIMIT :most
""")


def require_known(connection: Connection, tenant_id: str, otherwise: str = "") -> None:
    """Return if the tenant is known.

    Args:
        otherwise: The end of the error text: what to do if the name is right.

    Raises:
        OperatorError: The tenant is not known; the text names the most similar known tenant.
    """
    if not is_known(connection, tenant_id):
        raise OperatorError(f"{unknown_text(connection, tenant_id)}{otherwise}")


def require_logged(connection: Connection, tenant_id: str) -> None:
    """Return if the tenant has an audit log, or is known: also a mistyped request is in one.

    Raises:
        OperatorError: Neither; the text names the most similar known tenant.
    """
    entries = sa.select(_a.tenant_id).where(_a.tenant_id == tenant_id).limit(1)
    if tenant_id and connection.execute(entries).first() is None:
        require_known(connection, tenant_id)


def is_known(connection: Connection, tenant_id: str) -> bool:
    """Return whether the tenant was onboarded or configured, or has sent an alert."""
    queries = [
        sa.select(table.c.tenant_id).where(table.c.tenant_id == tenant_id) for table in _TABLES
    ]
    queries.append(sa.select(_a.tenant_id).where(_a.tenant_id == tenant_id, *_ACCEPTED))
    return any(connection.execute(query.limit(1)).first() for query in queries)


def nearest_known(connection: Connection, tenant_id: str) -> str | None:
    """Return the most similar known tenant; None if this one is known, or no other is similar."""
    if is_known(connection, tenant_id):
        return None
    by_lower = {name.lower(): name for name in list_known(connection)}
    nearest = get_close_matches(tenant_id.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[nearest[0]] if nearest else None


def list_known(connection: Connection, most: int = MAX_COMPARED) -> list[str]:
    """Return the names of the known tenants, in order."""
    return list(connection.execute(_NAMES, {"most": most}).scalars())


def unknown_text(connection: Connection, tenant_id: str) -> str:
    """Return what to say of a tenant that is not known, with the most similar known one."""
    nearest = nearest_known(connection, tenant_id)
    hint = f"did you mean {nearest}?" if nearest else "see: vyrox tenant list"
    return f"{tenant_id} is not onboarded and has sent no alert; {hint}"
