"""Announcements become rows, in the transaction that makes the announcement (contract 58).

A row is pending while `next_at` is set. A row that is neither pending nor sent nor dead was held
back: it is counted in the digest of its hour. A digest is a row whose body is made when it is sent.
"""

from collections.abc import Collection
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.notify.messages import RANKS, Announcement, Band, Message, Notice, NoticeKind, cleaned
from vyrox.notify.ocsf import to_ocsf
from vyrox.notify.short import short_of
from vyrox.notify.targets import Format
from vyrox.notify.timers import is_held_back
from vyrox.store.rows import insert_rows
from vyrox.store.tables import notifications, notify_targets

PER_HOUR: Final = 30
"""Announcements that a target gets in an hour one by one, unless they are urgent."""

HOUR_S: Final = 3600.0

_n: Final = notifications.c
_t: Final = notify_targets.c
_json: Final = msgspec.json.Encoder()


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


def tell(
    connection: Connection,
    tenant_id: str,
    kind: NoticeKind,
    text: str,
    link: str | None,
    now: float,
) -> int:
    """Store a notice for each of the tenant's targets, whatever band they begin with.

    It is part of the caller's transaction, and is not counted against the limit of an hour: the
    caller bounds how often it happens. The same notice at the same time is stored once.

    Args:
        text: Is cleaned and bounded here, so it may contain what an attacker wrote.
        link: The path of a page of the console, as `/approvals/ID`.

    Returns:
        How many rows were added.
    """
    notice = Notice(tenant_id=tenant_id, kind=kind, at=now, text=text, link=link)
    name = sha256(_json.encode(notice)).hexdigest()
    rows: list[tuple[object, ...]] = [
        (_id(target, "notice", name), tenant_id, target, None, encode(notice, form), now, 0, now)
        for target, form in _targets(connection, tenant_id, "urgent").items()
    ]
    return insert_rows(connection, notifications, rows, "ON CONFLICT (id) DO NOTHING")


def encode(message: Message, form: Format) -> bytes:
    """Return the body that a target with the format `form` gets."""
    match form:
        case "ocsf":
            return _json.encode(to_ocsf(message))
        case "apprise":
            return _json.encode(short_of(message))
        case "vyrox":
            return _json.encode(cleaned(message))


def is_held() -> sa.ColumnElement[bool]:
    """Return the condition for rows that were held back."""
    return sa.and_(_n.next_at.is_(None), _n.sent_at.is_(None), _n.dead_at.is_(None))


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


def _sent_since(connection: Connection, tenant_id: str, since: float) -> dict[str, int]:
    """Return by target how many announcements were not held back since then."""
    query = (
        sa.select(_n.target_id, sa.func.count())
        .where(
            _n.tenant_id == tenant_id,
            _n.created_at >= since,
            _n.incident.is_not(None),
            sa.not_(is_held()),
        )
        .group_by(_n.target_id)
    )
    return dict(tuple(row) for row in connection.execute(query))
