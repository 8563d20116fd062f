"""Locks that one transaction holds until it ends, across containers.

SQLite needs none of them: its writing transaction is exclusive already.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Literal

from sqlalchemy import Connection

Name = Literal["schema", "containments", "tenants", "quarantine", "records"]
"""What a transaction may change while it holds the lock:

- `schema`: the tables themselves.
- `containments`: claims, devices, confirmations and guard rails.
- `tenants`: credentials, so that versions become visible in order.
- `quarantine`: quarantined payloads and their totals.
- `records`: parts of alerts that wait for other parts.
"""

_NUMBERS: Final[dict[Name, int]] = {
    "schema": 7261946,
    "containments": 7261947,
    "tenants": 7261948,
    "quarantine": 7261949,
    "records": 7261950,
}
"""PostgreSQL's advisory locks have numbers. These are arbitrary; all versions must use the same."""

_LOCK_CHAINS: Final = "SELECT pg_advisory_xact_lock(key) FROM unnest($1::int8[]) AS key"


def lock(connection: Connection, name: Name) -> None:
    """Wait for the lock `name` and hold it until the transaction ends.

    A transaction that locks with its first statement holds no row while it waits.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_NUMBERS[name]})").all()


def lock_chains(connection: Connection, chains: Iterable[tuple[str, str]]) -> None:
    """Wait for the locks of audit chains and hold them until the transaction ends.

    Args:
        chains: Tenant and stream of each, sorted: two transactions that lock the same chains in
            different orders would deadlock.
    """
    if connection.dialect.name == "postgresql":
        from vyrox.store.postgres import execute_postgres  # imports asyncpg

        execute_postgres(connection, _LOCK_CHAINS, ([_number(*chain) for chain in chains],))


def _number(tenant_id: str, stream: str) -> int:
    digest = sha256(f"vyrox\0{stream}\0{tenant_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
