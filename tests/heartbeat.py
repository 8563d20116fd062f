"""A short transaction that writes."""

from sqlalchemy import Connection

from vyrox.store.tables import heartbeat


def write_beat(connection: Connection, now: float) -> None:
    """Write one row. A full disk or a read-only server refuses it."""
    connection.execute(heartbeat.update().values(at=now))
