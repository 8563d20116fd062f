"""Who is signed in (contract 66, 76). A session reads and proposes; only a passkey decides."""

import os
import re
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.keys import find_key
from vyrox.console.challenges import encoded
from vyrox.console.viewers import places_of
from vyrox.store.tables import console_sessions

COOKIE: Final = "__Host-vyrox-session"
"""The prefix makes browsers refuse a cookie that another host or another path has set."""

IDLE_S: Final = 3600
LIFE_S: Final = 43_200

TOUCH_S: Final = 60
"""A request moves the idle time only if the last one that did is older: most requests only read."""

MAX_SESSIONS: Final = 20
"""Of one person; with one more, the oldest ends."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_s: Final = console_sessions.c


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who has signed in, and what this session may see and do.

    Attributes:
        tenant_id: The tenant whose approver the person has signed in as; of a session by link,
            the first that it sees.
        approver: The person's name in all tenants.
        credential_id: The passkey that has begun the session, or None: a link has.
        session: The hash of the session's id, which itself is stored nowhere.
        is_due: Whether the idle time should be moved.
        tenants: Those that the person may see, `tenant_id` first.
        acts_for: Those in which the person may do something, because an approver's passkey has
            begun the session.
        done: A word of `pages.DONE`: what the person has just done.
    """

    tenant_id: str
    approver: str
    credential_id: str | None
    session: str
    is_due: bool
    tenants: tuple[str, ...]
    acts_for: tuple[str, ...]
    done: str = ""


class Session(msgspec.Struct, frozen=True):
    """One of a person's sessions.

    Attributes:
        hash: Of its id.
        is_by_link: Whether a link has begun it, so that it only looks.
    """

    hash: str
    is_by_link: bool
    created_at: float
    seen_at: float


def begin(
    connection: Connection, tenant_id: str, approver: str, credential_id: str, now: float
) -> str:
    """Store a new session, and return its id, 256 random bits, for the cookie."""
    return _begin(connection, tenant_id, approver, now, credential_id=credential_id)


def begin_by_link(connection: Connection, name: str, tenants: Sequence[str], now: float) -> str:
    """Store a new session that sees `tenants`, and return its id as `begin` does."""
    text = msgspec.json.encode(tenants).decode()
    return _begin(connection, tenants[0], name, now, tenants=text)


def _begin(connection: Connection, tenant_id: str, name: str, now: float, **by: str) -> str:
    _delete_expired(connection, now)
    own = sa.and_(_s.tenant_id == tenant_id, _s.approver == name)
    newest = sa.select(_s.hash).where(own).order_by(_s.created_at.desc()).limit(MAX_SESSIONS - 1)
    kept = list(connection.execute(newest).scalars())
    connection.execute(console_sessions.delete().where(own, _s.hash.not_in(kept)))
    session_id = encoded(os.urandom(32))
    row = {"tenant_id": tenant_id, "approver": name, "created_at": now, "seen_at": now, **by}
    connection.execute(console_sessions.insert().values(hash=_hash(session_id), **row))
    return session_id


def find(connection: Connection, session_id: str, now: float) -> Person | None:
    """Return who has this session, if it has not ended and the person may still look."""
    query = sa.select(console_sessions).where(_s.hash == _hash(session_id))
    row = connection.execute(query).first()
    if row is None or now >= row.created_at + LIFE_S or now >= row.seen_at + IDLE_S:
        return None
    tenants, acts_for = _rights(connection, row)
    if not tenants:
        return None
    return Person(
        tenant_id=tenants[0],
        approver=row.approver,
        credential_id=row.credential_id,
        session=row.hash,
        is_due=now >= row.seen_at + TOUCH_S,
        tenants=tenants,
        acts_for=acts_for,
    )


def _rights(connection: Connection, row: sa.Row[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tenants that a session sees, and those in which it may do something.

    They are read for each request, so a right that is taken away ends at once.
    """
    if row.credential_id is None:
        linked = msgspec.json.decode(row.tenants, type=list[str])
        found = {each.tenant_id for each in places_of(connection, row.approver, linked)}
        return tuple(each for each in linked if each in found), ()
    key = find_key(connection, row.credential_id)
    is_own = key is not None and (key.tenant_id, key.approver) == (row.tenant_id, row.approver)
    places = [
        each
        for each in places_of(connection, row.approver)
        if row.tenant_id in (each.tenant_id, each.home)
    ]
    acts_for = [each.tenant_id for each in places if each.is_approver]
    if not is_own or row.tenant_id not in acts_for:
        return (), ()
    return (
        tuple(sorted((each.tenant_id for each in places), key=row.tenant_id.__ne__)),
        tuple(sorted(acts_for, key=row.tenant_id.__ne__)),
    )


def list_sessions(
    connection: Connection, tenants: Collection[str], name: str, now: float
) -> list[Session]:
    """Return the sessions of a person that have not ended, the newest first.

    Args:
        tenants: In which the name is this person.
    """
    mine = [
        Session(row.hash, row.credential_id is None, row.created_at, row.seen_at)
        for row in _of(connection, tenants, name)
        if now < row.created_at + LIFE_S and now < row.seen_at + IDLE_S
    ]
    return sorted(mine, key=lambda each: each.created_at, reverse=True)


def touch(connection: Connection, person: Person, now: float) -> None:
    """Move the idle time of a session."""
    is_it = _s.hash == person.session
    connection.execute(console_sessions.update().where(is_it).values(seen_at=now))


def end(connection: Connection, session: str) -> None:
    """Sign out here."""
    connection.execute(console_sessions.delete().where(_s.hash == session))


def end_all(connection: Connection, tenants: Collection[str], name: str) -> int:
    """Sign a person out everywhere, and return how many sessions there were."""
    hashes = [row.hash for row in _of(connection, tenants, name)]
    return connection.execute(console_sessions.delete().where(_s.hash.in_(hashes))).rowcount


def end_by_link(connection: Connection, tenant_id: str, name: str) -> None:
    """End the sessions of a name that a link has begun and that see a tenant."""
    own = [row.hash for row in _of(connection, [tenant_id], name) if row.credential_id is None]
    connection.execute(console_sessions.delete().where(_s.hash.in_(own)))


def _of(connection: Connection, tenants: Collection[str], name: str) -> list[sa.Row[Any]]:
    """Return the sessions of a name that one of `tenants` has begun, or that see one of them."""
    rows = connection.execute(sa.select(console_sessions).where(_s.approver == name))
    return [row for row in rows if not _begun_for(row).isdisjoint(tenants)]


def _begun_for(row: sa.Row[Any]) -> set[str]:
    if row.tenants is None:
        return {row.tenant_id}
    return set(msgspec.json.decode(row.tenants, type=list[str]))


def is_possible_id(text: str) -> bool:
    """Return whether a cookie may be the id of a session, before the database is asked."""
    return _ID.fullmatch(text) is not None


def _hash(session_id: str) -> str:
    return sha256(session_id.encode()).hexdigest()


def _delete_expired(connection: Connection, now: float) -> None:
    is_over = sa.or_(_s.created_at <= now - LIFE_S, _s.seen_at <= now - IDLE_S)
    connection.execute(console_sessions.delete().where(is_over))
