"""Dead letters: alerts that were delivered MAX_DELIVERIES times and never acknowledged."""

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
"""Deliveries after which an alert that no consumer acknowledges becomes a dead letter."""

LAST_DELIVERY_MS: Final = 60_000
"""How long the service waits for an acknowledgement after the last delivery."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A dead letter without its body. Times are Unix seconds."""

    alert_id: str
    source: str
    received_at: float
    dead_at: float
    reason: str


def is_dead(deliveries: int, idle_ms: int, max_idle_ms: int = LAST_DELIVERY_MS) -> bool:
    """Return whether an alert is to become a dead letter.

    That is `max_idle_ms` after the last delivery, or at once after one delivery more: a consumer
    that claims idle alerts faster than the service checks would otherwise receive it for ever.
    """
    if deliveries == MAX_DELIVERIES:
        return idle_ms >= max_idle_ms
    return deliveries > MAX_DELIVERIES


def mark_dead(
    connection: Connection, tenant_id: str, alert_id: str, deliveries: int, now: float
) -> bool:
    """Mark the alert as a dead letter, with an event; return False if it was finished already."""
    marked = connection.execute(
        alerts.update()
        .where(alerts.c.id == alert_id, alerts.c.finished_at.is_(None))
        .values(finished_at=now, dead_reason=f"delivered {deliveries} times, never finished")
    ).rowcount
    if marked:
        dead = event("alert.dead", tenant_id, None, alert_id=alert_id, deliveries=deliveries)
        append(connection, [dead], now)
    return bool(marked)


def list_dead(connection: Connection, tenant_id: str) -> list[DeadLetter]:
    """Return the tenant's dead letters, oldest first."""
    c = alerts.c
    query = (
        sa.select(c.id, c.source, c.received_at, c.finished_at, c.dead_reason)
        .where(c.tenant_id == tenant_id, c.finished_at.is_not(None), c.dead_reason.is_not(None))
        .order_by(c.received_at, c.id)
    )
    return [DeadLetter(*row) for row in connection.execute(query)]


def check_dead(connection: Connection, tenant_id: str, alert_ids: Sequence[str]) -> None:
    """Return if all of `alert_ids` are dead letters of the tenant.

    Raises:
        OperatorError: One is not; the text names it.
    """
    known = {row.alert_id for row in list_dead(connection, tenant_id)}
    if unknown := [alert_id for alert_id in alert_ids if alert_id not in known]:
        raise _not_dead(tenant_id, ", ".join(unknown))


def _not_dead(tenant_id: str, alert_ids: str) -> OperatorError:
    return OperatorError(
        f"{tenant_id} has no dead letter {alert_ids}; see: vyrox queue dead list {tenant_id}"
    )


def revive(
    connection: Connection, tenant_id: str, alert_id: str, now: float, by: str | None = None
) -> tuple[bytes, bytes]:
    """Make a dead letter unfinished again, with an event; return the alert as JSON and its body.

    Args:
        by: The person who asked for it at the console.

    Raises:
        OperatorError: The tenant has no dead letter with this id.
    """
    c = alerts.c
    row = connection.execute(
        alerts.update()
        .where(c.id == alert_id, c.tenant_id == tenant_id, c.dead_reason.is_not(None))
        .values(finished_at=None, dead_reason=None)
        .returning(c.alert, c.raw)
    ).one_or_none()
    if row is None:
        raise _not_dead(tenant_id, alert_id)
    who = {} if by is None else {"by": by}
    append(connection, [event("alert.revived", tenant_id, None, alert_id=alert_id, **who)], now)
    return row.alert, row.raw
