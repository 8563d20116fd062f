"""Rows of the outbox, from being due to being sent or dead (contract 58)."""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import WorkResult
from vyrox.notify.messages import MAX_ITEMS, Digest
from vyrox.notify.outbox import HOUR_S, encode, is_held
from vyrox.notify.targets import Format
from vyrox.store.agenda import Moment
from vyrox.store.database import Database
from vyrox.store.tables import notifications, notify_targets

DEAD_AFTER_S: Final = 86_400.0
"""How long a notification is tried."""

CLAIM_S: Final = 60.0
"""How long a notification is reserved for one container. Longer than an attempt takes."""

FIRST_RETRY_S: Final = 5.0
MAX_RETRY_S: Final = 3600.0
"""Times between two attempts: the first, doubled each time, at most the second."""

MAX_AHEAD_S: Final = 2 * HOUR_S
"""No row is due later than this. One that is was written by a wrong clock, and is due now."""

MAX_DELETED_ROWS: Final = 1000

_n: Final = notifications.c
_t: Final = notify_targets.c


class Due(msgspec.Struct, frozen=True):
    """A notification that is claimed. `url` and `secret` are encrypted."""

    id: str
    tenant_id: str
    target_id: str
    incident: int | None
    body: bytes
    created_at: float
    attempts: int
    next_at: float
    format: Format
    url: str
    secret: str
    is_removed: bool


class Attempt(msgspec.Struct, frozen=True):
    """How an attempt ended.

    Attributes:
        error: None: it was delivered.
        retry_at: When it is tried again; None: never, it is dead.
    """

    due: Due
    at: float
    error: str | None = None
    retry_at: float | None = None


def is_any_due(connection: Connection, now: float) -> bool:
    """Return whether a notification waits to be sent."""
    return bool(connection.execute(sa.select(is_due(now))).scalar())


def is_due(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that a notification waits to be sent."""
    return sa.exists().where(_is_due(now))


def claim_due(
    connection: Connection, now: float, limit: int, per_target: int, busy: Collection[str]
) -> list[Due]:
    """Return notifications that are due, reserved for this container for CLAIM_S.

    Args:
        limit: Of all targets. They take turns.
        per_target: Of one target, so that neither a slow one nor a backlog delays other targets.
            Of a channel, one: few of its kind are sent at the same time.
        busy: Targets to which nothing more is sent now.
    """
    place = sa.func.row_number().over(partition_by=_n.target_id, order_by=(_n.next_at, _n.id))
    waiting = (
        sa.select(_n.id, place.label("place"))
        .where(_is_due(now), _n.target_id.not_in(list(busy)))
        .subquery()
    )
    columns = [_n[name] for name in Due.__struct_fields__[:8]]
    target = (_t.format, _t.url, _t.secret, _t.removed_at.is_not(None))
    query = (
        sa.select(*columns, *target)
        .join(notify_targets, _t.id == _n.target_id)
        .join(waiting, waiting.c.id == _n.id)
        .where(waiting.c.place <= sa.case((_t.format == "apprise", 1), else_=per_target))
        .order_by(waiting.c.place, _n.next_at, _n.id)
        .limit(limit)
    )
    due = [Due(*tuple(row)) for row in connection.execute(query).all()]
    return [mine for each in due if (mine := _claim(connection, each, now))]


def settle(connection: Connection, attempts: Sequence[Attempt]) -> list[WorkResult[None]]:
    """Record how attempts ended. A notification that is dead gets an event."""
    return [_settle(connection, attempt) for attempt in attempts]


def retry_at(due: Due, now: float, jitter: float) -> float | None:
    """Return when a notification that failed is tried again, or None if it is dead.

    Args:
        jitter: From 0 to 1: targets that failed together are not tried again together.
    """
    if now - due.created_at >= DEAD_AFTER_S:
        return None
    wait_s = min(FIRST_RETRY_S * 2.0 ** min(due.attempts - 1, 20), MAX_RETRY_S)
    return now + wait_s * (0.5 + jitter / 2)


async def delete_old(database: Database, before: float) -> None:
    """Delete the notifications that ended and were made before `before`."""
    # They are found by reading all rows. Alerts that are written do not wait for that.
    while ids := await database.read(_find_old, before):
        await database.write(_delete, ids)


def _find_old(connection: Connection, before: float) -> list[str]:
    query = sa.select(_n.id).where(_n.created_at < before, _n.next_at.is_(None))
    return list(connection.execute(query.limit(MAX_DELETED_ROWS)).scalars())


def _delete(connection: Connection, ids: list[str]) -> None:
    connection.execute(notifications.delete().where(_n.id.in_(ids)))


def _is_due(now: Moment) -> sa.ColumnElement[bool]:
    return sa.or_(_n.next_at <= now, _n.next_at > now + MAX_AHEAD_S)


def _claim(connection: Connection, due: Due, now: float) -> Due | None:
    """Return `due` as claimed, or None if another container was first."""
    body = due.body or _digest(connection, due)
    mine = msgspec.structs.replace(due, body=body, attempts=due.attempts + 1, next_at=now + CLAIM_S)
    updated = connection.execute(
        notifications.update()
        .where(_n.id == due.id, _n.next_at == due.next_at)
        .values(body=body, attempts=mine.attempts, next_at=mine.next_at)
    )
    return mine if updated.rowcount else None


def _digest(connection: Connection, due: Due) -> bytes:
    since = due.created_at // HOUR_S * HOUR_S
    query = (
        sa.select(_n.incident)
        .distinct()
        .where(
            _n.tenant_id == due.tenant_id,
            _n.target_id == due.target_id,
            _n.created_at >= since,
            _n.created_at < since + HOUR_S,
            _n.incident.is_not(None),
            is_held(),
        )
        .order_by(_n.incident)
    )
    incidents = connection.execute(query).scalars().all()
    digest = Digest(
        tenant_id=due.tenant_id,
        at=since + HOUR_S,
        since=since,
        more=len(incidents),
        incidents=tuple(incidents[:MAX_ITEMS]),
    )
    return encode(digest, due.format)


def _settle(connection: Connection, attempt: Attempt) -> WorkResult[None]:
    due = attempt.due
    row = notifications.update().where(_n.id == due.id)
    if attempt.error is None:
        # Even if another container has claimed the row since: it was delivered.
        values = {"next_at": None, "sent_at": attempt.at, "last_error": None}
        connection.execute(row.where(_n.sent_at.is_(None)).values(values))
        return WorkResult(None)
    is_dead = attempt.retry_at is None
    changed = connection.execute(
        row.where(_n.next_at == due.next_at).values(
            next_at=attempt.retry_at,
            dead_at=attempt.at if is_dead else None,
            last_error=attempt.error,
        )
    )
    if not (is_dead and changed.rowcount):
        return WorkResult(None)
    dead = event(
        "notify.dead",
        due.tenant_id,
        None,
        notification=due.id,
        target=due.target_id,
        incident=due.incident,
        attempts=due.attempts,
        reason=attempt.error,
    )
    return WorkResult(None, (dead,))
