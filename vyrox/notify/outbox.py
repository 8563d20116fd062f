"""Notifications that wait to be sent: rows, written with what they announce (contract 58).

A row is pending while `next_at` is set. A row that is neither pending nor sent nor dead was held
back: it is counted in the digest of its hour. A digest is a row whose body is made when it is sent.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import WorkResult
from vyrox.notify.messages import MAX_ITEMS, RANKS, Announcement, Band, Digest, Message, cleaned
from vyrox.notify.ocsf import to_ocsf
from vyrox.notify.targets import Format
from vyrox.notify.timers import is_held_back
from vyrox.store.database import Database
from vyrox.store.rows import insert_rows
from vyrox.store.tables import notifications, notify_targets

PER_HOUR: Final = 30
"""Announcements that a target gets in an hour one by one, unless they are urgent."""

HOUR_S: Final = 3600.0

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
_json: Final = msgspec.json.Encoder()


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


def enqueue(
    connection: Connection,
    tenant_id: str,
    incident: int,
    band: Band,
    message: Announcement,
    now: float,
    *,
    key: str | None = None,
    per_hour: int = PER_HOUR,
) -> int:
    """Store the announcement for each of the tenant's targets that want this band.

    It is part of the caller's transaction. An announcement that is stored already is not stored
    again. Beyond `per_hour`, one that is not urgent is counted in the digest of the hour.

    Args:
        key: Distinguishes this announcement from others of the incident with the same type. None:
            the message does.

    Returns:
        How many rows were added.
    """
    targets = _targets(connection, tenant_id, band)
    if not targets:
        return 0
    bodies = {form: encode(message, form) for form in dict.fromkeys(targets.values())}
    kind = type(message).__struct_config__.tag
    name = key if key is not None else sha256(_json.encode(message)).hexdigest()
    ids = {target: _id(target, str(incident), str(kind), name) for target in targets}
    stored = _existing(connection, ids.values())
    hour = now // HOUR_S * HOUR_S
    sent = {} if band == "urgent" else _sent_since(connection, tenant_id, hour)
    rows: list[tuple[object, ...]] = []
    for target, form in targets.items():
        if ids[target] in stored:
            continue
        held = is_held_back(band, sent.get(target, 0), per_hour)
        due_at = None if held else now
        rows.append((ids[target], tenant_id, target, incident, bodies[form], now, 0, due_at))
        if held:
            digest = _id(target, "digest", str(int(hour)))
            rows.append((digest, tenant_id, target, None, b"", now, 0, hour + HOUR_S))
    return insert_rows(connection, notifications, rows, "ON CONFLICT (id) DO NOTHING")


def encode(message: Message, form: Format) -> bytes:
    """Return the body that a target with the format `form` gets."""
    return _json.encode(to_ocsf(message) if form == "ocsf" else cleaned(message))


def is_any_due(connection: Connection, now: float) -> bool:
    """Return whether a notification waits to be sent."""
    return connection.execute(sa.select(_n.id).where(_is_due(now)).limit(1)).first() is not None


def claim_due(
    connection: Connection, now: float, limit: int, per_target: int, busy: Collection[str]
) -> list[Due]:
    """Return notifications that are due, reserved for this container for CLAIM_S.

    Args:
        limit: Of all.
        per_target: Of one target, so that one slow target does not delay the others.
        busy: Targets to which nothing more is sent now.
    """
    columns = [_n[name] for name in Due.__struct_fields__[:8]]
    target = (_t.format, _t.url, _t.secret, _t.removed_at.is_not(None))
    query = (
        sa.select(*columns, *target)
        .join(notify_targets, _t.id == _n.target_id)
        .where(_is_due(now), _n.target_id.not_in(list(busy)))
        .order_by(_n.next_at, _n.id)
        .limit(limit)
    )
    claimed: list[Due] = []
    taken: Counter[str] = Counter()
    for row in connection.execute(query).all():
        due = Due(*tuple(row))
        if taken[due.target_id] < per_target and _claim(connection, due, now, claimed):
            taken[due.target_id] += 1
    return claimed


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
    while await database.write(_delete_some, before):
        pass


def _delete_some(connection: Connection, before: float) -> int:
    old = (
        sa.select(_n.id)
        .where(_n.created_at < before, _n.next_at.is_(None))
        .limit(MAX_DELETED_ROWS)
        .with_for_update(skip_locked=True)
    )
    ids = connection.execute(old).scalars().all()
    if not ids:
        return 0
    return connection.execute(notifications.delete().where(_n.id.in_(ids))).rowcount


def _targets(connection: Connection, tenant_id: str, band: Band) -> dict[str, Format]:
    query = sa.select(_t.id, _t.format, _t.min_band).where(
        _t.tenant_id == tenant_id, _t.removed_at.is_(None)
    )
    rows = connection.execute(query.order_by(_t.id))
    return {row.id: row.format for row in rows if RANKS[row.min_band] <= RANKS[band]}


def _id(*parts: str) -> str:
    return "msg_" + sha256("\0".join(parts).encode()).hexdigest()[:32]


def _existing(connection: Connection, ids: Collection[str]) -> set[str]:
    query = sa.select(_n.id).where(_n.id.in_(list(ids)))
    return set(connection.execute(query).scalars())


def _is_held() -> sa.ColumnElement[bool]:
    return sa.and_(_n.next_at.is_(None), _n.sent_at.is_(None), _n.dead_at.is_(None))


def _sent_since(connection: Connection, tenant_id: str, since: float) -> dict[str, int]:
    """Return by target how many announcements were not held back since then."""
    query = (
        sa.select(_n.target_id, sa.func.count())
        .where(
            _n.tenant_id == tenant_id,
            _n.created_at >= since,
            _n.incident.is_not(None),
            sa.not_(_is_held()),
        )
        .group_by(_n.target_id)
    )
    return dict(row._tuple() for row in connection.execute(query))


def _is_due(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(_n.next_at <= now, _n.next_at > now + MAX_AHEAD_S)


def _claim(connection: Connection, due: Due, now: float, claimed: list[Due]) -> bool:
    """Claim `due` and add it to `claimed`; False if another container was first."""
    body = due.body or _digest(connection, due)
    mine = msgspec.structs.replace(due, body=body, attempts=due.attempts + 1, next_at=now + CLAIM_S)
    updated = connection.execute(
        notifications.update()
        .where(_n.id == due.id, _n.next_at == due.next_at)
        .values(body=body, attempts=mine.attempts, next_at=mine.next_at)
    )
    if updated.rowcount:
        claimed.append(mine)
    return bool(updated.rowcount)


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
            _is_held(),
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
