"""Who is signed in (contract 66). A session reads and proposes; only a passkey decides."""

import os
import re
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.approvers import present
from vyrox.approvals.keys import find_key
from vyrox.console.challenges import encoded
from vyrox.store.tables import console_sessions

COOKIE: Final = "__Host-vyrox-session"
"""The prefix makes browsers refuse a cookie that another host or another path has set."""

IDLE_S: Final = 3600
LIFE_S: Final = 43_200

TOUCH_S: Final = 60
"""A request moves the idle time only if the last one that did is older: most requests only read."""

MAX_SESSIONS: Final = 20
"""Of one approver; with one more, the oldest ends."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_s: Final = console_sessions.c


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who has signed in, and what this session may see and do.

    Attributes:
        tenant_id: The tenant by whose list the person has signed in.
        approver: The person's name there.
        credential_id: The passkey that has begun the session.
        session: The hash of the session's id, which itself is stored nowhere.
        is_due: Whether the idle time should be moved.
        tenants: Those that the person may see, `tenant_id` first.
        acts_for: Those in which the person may do something, because an approver's passkey has
            begun the session.
        done: A word of `pages.DONE`: what the person has just done.
    """

    tenant_id: str
    approver: str
    credential_id: str
    session: str
    is_due: bool
    tenants: tuple[str, ...]
    acts_for: tuple[str, ...]
    done: str = ""


def begin(
    connection: Connection, tenant_id: str, approver: str, credential_id: str, now: float
) -> str:
    """Store a new session, and return its id, 256 random bits, for the cookie."""
    _delete_expired(connection, now)
    own = sa.and_(_s.tenant_id == tenant_id, _s.approver == approver)
    newest = sa.select(_s.hash).where(own).order_by(_s.created_at.desc()).limit(MAX_SESSIONS - 1)
    kept = list(connection.execute(newest).scalars())
    connection.execute(console_sessions.delete().where(own, _s.hash.not_in(kept)))
    session_id = encoded(os.urandom(32))
    connection.execute(
        console_sessions.insert().values(
            hash=_hash(session_id),
            tenant_id=tenant_id,
            approver=approver,
            credential_id=credential_id,
            created_at=now,
            seen_at=now,
        )
    )
    return session_id


def find(connection: Connection, session_id: str, now: float) -> Person | None:
    """Return who has this session, if it has not ended and the person still has the key."""
    query = sa.select(console_sessions).where(_s.hash == _hash(session_id))
    row = connection.execute(query).first()
    if row is None or now >= row.created_at + LIFE_S or now >= row.seen_at + IDLE_S:
        return None
    key = find_key(connection, row.credential_id)
    is_own = key is not None and (key.tenant_id, key.approver) == (row.tenant_id, row.approver)
    if not is_own or row.approver not in present(connection, row.tenant_id):
        return None
    return Person(
        tenant_id=row.tenant_id,
        approver=row.approver,
        credential_id=row.credential_id,
        session=row.hash,
        is_due=now >= row.seen_at + TOUCH_S,
        tenants=(row.tenant_id,),
        acts_for=(row.tenant_id,),
    )


def touch(connection: Connection, person: Person, now: float) -> None:
    """Move the idle time of a session."""
    is_it = _s.hash == person.session
    connection.execute(console_sessions.update().where(is_it).values(seen_at=now))


def end(connection: Connection, session: str) -> None:
    """Sign out here."""
    connection.execute(console_sessions.delete().where(_s.hash == session))


def end_all(connection: Connection, tenant_id: str, approver: str) -> int:
    """Sign the approver out everywhere, and return how many sessions there were."""
    own = sa.and_(_s.tenant_id == tenant_id, _s.approver == approver)
    return connection.execute(console_sessions.delete().where(own)).rowcount


def is_possible_id(text: str) -> bool:
    """Return whether a cookie may be the id of a session, before the database is asked."""
    return _ID.fullmatch(text) is not None


def _hash(session_id: str) -> str:
    return sha256(session_id.encode()).hexdigest()


def _delete_expired(connection: Connection, now: float) -> None:
    is_over = sa.or_(_s.created_at <= now - LIFE_S, _s.seen_at <= now - IDLE_S)
    connection.execute(console_sessions.delete().where(is_over))
