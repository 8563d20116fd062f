"""Alerts that have no verdict yet, read from their rows and not from the queue."""

from typing import Final, get_args

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.queue import decode_alert
from vyrox.models import NormalizedAlert, PersonVerdict
from vyrox.store.tables import alerts, verdicts

DECIDED_WITHIN_S: Final = 7 * 86_400.0
"""How old an alert may be that a person has judged before the worker."""

_c: Final = alerts.c
_JUDGED: Final = sa.exists().where(verdicts.c.alert_id == _c.id)


def severe(connection: Connection, limit: int) -> list[NormalizedAlert]:
    """Return critical and high alerts that are not finished, the oldest first."""
    # As text: with a bound condition, SQLite would not use the index.
    is_severe = sa.text("severity IN ('critical', 'high')")
    return _alerts(connection, limit, _c.received_at, _c.finished_at.is_(None), is_severe)


def dead(connection: Connection, limit: int) -> list[NormalizedAlert]:
    """Return dead letters without a verdict."""
    return _alerts(connection, limit, _c.finished_at, _c.dead_reason.is_not(None), ~_JUDGED)


def decided(connection: Connection, now: float, limit: int) -> list[NormalizedAlert]:
    """Return alerts on which a person has decided before the worker has read them."""
    is_new = _c.received_at > now - DECIDED_WITHIN_S
    is_finished = _c.finished_at.is_not(None)
    # With the values and a sum, SQLite reads the index of verdicts, not every alert of a week.
    is_decided = _c.verdict.in_(get_args(PersonVerdict))
    order = _c.received_at + 0.0
    return _alerts(connection, limit, order, is_decided, is_finished, is_new, ~_JUDGED)


def is_any() -> sa.ColumnElement[bool]:
    """Return the condition that an alert is not finished."""
    return sa.exists().where(_c.finished_at.is_(None))


def oldest(connection: Connection) -> float | None:
    """Return when the oldest alert that is not finished was received."""
    query = sa.select(sa.func.min(_c.received_at)).where(_c.finished_at.is_(None))
    received_at: float | None = connection.execute(query).scalar()
    return received_at


def _alerts(
    connection: Connection,
    limit: int,
    order: sa.ColumnElement[float],
    *conditions: sa.ColumnElement[bool] | sa.TextClause,
) -> list[NormalizedAlert]:
    query = sa.select(_c.alert).where(*conditions).order_by(order).limit(limit)
    return [decode_alert(alert) for alert in connection.execute(query).scalars()]
