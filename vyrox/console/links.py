"""One-time links with which a person signs in to look (contract 76).

Only the hash of a link's secret is stored, so a person who reads the database cannot use one.
"""

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.console import sessions
from vyrox.console.challenges import encoded
from vyrox.console.viewers import places_of
from vyrox.errors import NotFoundError, NotPossibleError
from vyrox.store.tables import console_links

LINK_S: Final = 600
"""How long a link may be used."""

_REFUSED: Final = "this link is used, older than 10 minutes, or not complete: ask for a new one"
_DOMAIN: Final = b"vyrox-link-v1\n"
_l: Final = console_links.c


def make(
    connection: Connection, name: str, tenants: Sequence[str], now: float
) -> tuple[str, list[str]]:
    """Return the secret of a new link for a person, and the tenants that it opens.

    Args:
        tenants: Those to open; empty: all of the person.

    Raises:
        NotFoundError: The name is neither an approver nor a viewer, or not in one of `tenants`.
        NotPossibleError: The name may be several persons: `tenants` must say which.
    """
    opened = _tenants_of(connection, name, tenants)
    connection.execute(console_links.delete().where(_l.expires_at <= now))
    secret = encoded(os.urandom(32))
    connection.execute(
        console_links.insert().values(
            hash=_hash(secret),
            name=name,
            tenants=msgspec.json.encode(opened).decode(),
            created_at=now,
            expires_at=now + LINK_S,
        )
    )
    return secret, opened


def check(connection: Connection, secret: str, now: float) -> None:
    """Raise NotPossibleError if a link cannot be used. This does not use it up."""
    query = sa.select(_l.hash).where(_is_open(secret, now))
    if connection.execute(query).first() is None:
        raise NotPossibleError(_REFUSED)


def use(connection: Connection, secret: str, now: float) -> tuple[str, list[str], str]:
    """Use a link up. Return the person's name, the tenants, and the id of the new session.

    Raises:
        NotPossibleError: It is used, too old or not a link.
    """
    used = (
        console_links.update()
        .where(_is_open(secret, now))
        .values(used_at=now)
        .returning(_l.name, _l.tenants)
    )
    found = connection.execute(used).first()
    if found is None:
        raise NotPossibleError(_REFUSED)
    name, text = found
    tenants = msgspec.json.decode(text, type=list[str])
    return name, tenants, sessions.begin_by_link(connection, name, tenants, now)


def forget(connection: Connection, tenant_id: str, name: str) -> None:
    """End the links of a name that open a tenant, and the sessions that they have begun.

    Else a later person of the same name would give them their right to look back.
    """
    query = sa.select(_l.hash, _l.tenants).where(_l.name == name)
    own = [
        row.hash
        for row in connection.execute(query)
        if tenant_id in msgspec.json.decode(row.tenants, type=list[str])
    ]
    connection.execute(console_links.delete().where(_l.hash.in_(own)))
    sessions.end_by_link(connection, tenant_id, name)


def _tenants_of(connection: Connection, name: str, tenants: Sequence[str]) -> list[str]:
    places = places_of(connection, name, tenants or None)
    found = {each.tenant_id: each.home for each in places}
    missing = [each for each in tenants if each not in found]
    if missing or not found:
        where = f" of {', '.join(missing)}" if missing else ""
        raise NotFoundError(f"{name[:64]} is neither an approver nor a viewer{where}")
    if not tenants and len(set(found.values())) > 1:
        raise NotPossibleError(
            f"{name} of {', '.join(found)} may be different persons: name the tenants of this one"
        )
    return list(dict.fromkeys(tenants)) or list(found)


def _is_open(secret: str, now: float) -> sa.ColumnElement[bool]:
    return sa.and_(_l.hash == _hash(secret), _l.expires_at > now, _l.used_at.is_(None))


def _hash(secret: str) -> str:
    return sha256(_DOMAIN + secret.encode("utf-8", "replace")).hexdigest()
