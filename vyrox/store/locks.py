"""Locks by name, across containers. The numbers are arbitrary and Vyrox's own."""

from typing import Final, Literal

from sqlalchemy import Connection

Name = Literal["schema", "containments", "tenants", "quarantine"]
"""What a transaction holds the lock to change:

- `schema`: the tables themselves.
- `containments`: claims, devices, confirmations and guard rails.
- `tenants`: credentials, so that versions become visible in order.
- `quarantine`: quarantined payloads and their totals.
"""

_NUMBERS: Final[dict[Name, int]] = {
    "schema": 7261946,
    "containments": 7261947,
    "tenants": 7261948,
    "quarantine": 7261949,
}


def lock(connection: Connection, name: Name) -> None:
    """Make this the only transaction that holds the lock `name`, until it ends.

    A transaction that takes the lock with its first statement waits for no other's rows. SQLite's
    writing transaction is exclusive already.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_NUMBERS[name]})").all()
