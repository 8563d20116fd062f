"""Alerts that were delivered and delivered, and never finished: given up, listed, revived."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import OperatorError
from vyrox.store.tables import alerts

MAX_DELIVERIES: Final = 5
"""A consumer that dies on an alert must not die on it for ever."""

PATIENCE_MS: Final = 60_000
"""How long the service leaves an alert with the consumer that has it for the last time."""


class DeadLetter(msgspec.Struct, frozen=True):
    """An alert that was given up, without its body."""

    alert_id: str
    source: str
    received_at: float
    dead_at: float
    reason: str


def is_dead(deliveries: int, idle_ms: int, patience_ms: int = PATIENCE_MS) -> bool:
    """Return whether an alert has had its last delivery, and that one has come to nothing.

    One delivery too many is enough, whoever has it: a consumer that claims what is idle sooner than
    anybody looks would otherwise be given it for ever.
    """
    if deliveries == MAX_DELIVERIES:
        return idle_ms >= patience_ms
    return deliveries > MAX_DELIVERIES


def give_up(
    connection: Connection, tenant_id: str, alert_id: str, deliveries: int, now: float
) -> bool:
    """Mark the alert as dead, with an event; return False where it is finished, or dead already."""
    marked = connection.execute(
        alerts.update()
        .where(alerts.c.id == alert_id, alerts.c.finished_at.is_(None))
        .values(finished_at=now, dead_reason=f"delivered {deliveries} times, never finished")
    ).rowcount
    if marked:
        dead = event(
            "alert.dead_lettered", tenant_id, None, alert_id=alert_id, deliveries=deliveries
        )
        append(connection, [dead], now)
    return bool(marked)


def list_dead(connection: Connection, tenant_id: str) -> list[DeadLetter]:
    """Return the tenant's alerts that were given up, the oldest first."""
    c = alerts.c
    query = (
        sa.select(c.id, c.source, c.received_at, c.finished_at, c.dead_reason)
        .where(c.tenant_id == tenant_id, c.finished_at.is_not(None), c.dead_reason.is_not(None))
        .order_by(c.received_at, c.id)
    )
    return [DeadLetter(*row) for row in connection.execute(query)]


def check_dead(connection: Connection, tenant_id: str, alert_ids: Sequence[str]) -> None:
    """Return if all of `alert_ids` are dead alerts of the tenant.

    Raises:
        OperatorError: One is not.
    """
    known = {row.alert_id for row in list_dead(connection, tenant_id)}
    if unknown := [alert_id for alert_id in alert_ids if alert_id not in known]:
        raise OperatorError(f"{tenant_id} has no dead alert {', '.join(unknown)}")


def revive(
    connection: Connection, tenant_id: str, alert_id: str, now: float
) -> tuple[bytes, bytes]:
    """Make a dead alert unfinished again, with an event; return it as JSON, and its body.

    Raises:
        OperatorError: It is no dead alert of the tenant's.
    """
    c = alerts.c
    row = connection.execute(
        alerts.update()
        .where(c.id == alert_id, c.tenant_id == tenant_id, c.dead_reason.is_not(None))
        .values(finished_at=None, dead_reason=None)
        .returning(c.alert, c.raw)
    ).one_or_none()
    if row is None:
        raise OperatorError(f"{tenant_id} has no dead alert {alert_id}")
    append(connection, [event("alert.revived", tenant_id, None, alert_id=alert_id)], now)
    return row.alert, row.raw
