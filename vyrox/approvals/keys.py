"""The passkeys of approvers, as they are stored (contract 65, A17, A26 and A39).

A key that a link has enrolled decides nothing until it is confirmed: somebody has compared its
thumbprint with the one that the person sees.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from vyrox.approvals.events import draft
from vyrox.approvals.telling import tell
from vyrox.chain import verify
from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.writer import append
from vyrox.errors import NotPossibleError
from vyrox.store.tables import passkeys

MAX_KEYS: Final = 10
"""Of one approver."""

_p: Final = passkeys.c
_members: Final = msgspec.json.Decoder(dict[str, Scalar])


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey of an approver.

    Attributes:
        credential_id: Of the authenticator, in base64url.
        members: As in the event `approver.key_added`.
        thumbprint: Of RFC 7638, in base64url.
        sign_count: As the authenticator last said; a synced passkey does not count.
        vouched_by: The credential id of the person's earlier key that asked for this one.
        confirmed_at: Until then it decides nothing.
        used_at: When it last signed something; None: not since that is noted.
    """

    credential_id: str
    tenant_id: str
    approver: str
    members: dict[str, Scalar]
    thumbprint: str
    sign_count: int
    vouched_by: str | None
    added_at: float
    confirmed_at: float | None
    removed_at: float | None
    used_at: float | None = None


def list_keys(connection: Connection, tenant_id: str | None) -> list[Key]:
    """Return the keys of a tenant, or of all, also those that were removed."""
    query = sa.select(passkeys).order_by(_p.tenant_id, _p.approver, _p.added_at, _p.credential_id)
    if tenant_id is not None:
        query = query.where(_p.tenant_id == tenant_id)
    return [_key(row) for row in connection.execute(query).mappings()]


def keys_of(connection: Connection, tenant_id: str, approver: str) -> list[Key]:
    """Return the approver's keys that were not removed, also those that wait to be confirmed."""
    return [
        each
        for each in list_keys(connection, tenant_id)
        if each.approver == approver and each.removed_at is None
    ]


def confirmed_of(connection: Connection, tenant_id: str, approver: str) -> list[Key]:
    """Return the approver's keys that decide."""
    found = keys_of(connection, tenant_id, approver)
    return [each for each in found if each.confirmed_at is not None]


def find_key(connection: Connection, credential_id: str) -> Key | None:
    """Return the key with this id, if it is confirmed and was not removed."""
    if "\0" in credential_id:
        return None
    query = sa.select(passkeys).where(
        _p.credential_id == credential_id, _p.confirmed_at.is_not(None), _p.removed_at.is_(None)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else _key(row)


def add(connection: Connection, key: Key) -> None:
    """Store a key that waits to be confirmed, with an event.

    Raises:
        NotPossibleError: The key is enrolled already, or the approver has MAX_KEYS.
    """
    used = sa.select(_p.credential_id).where(_p.credential_id == key.credential_id)
    twin = sa.select(_p.credential_id).where(
        _p.tenant_id == key.tenant_id, _p.thumbprint == key.thumbprint, _p.removed_at.is_(None)
    )
    if connection.execute(used.union(twin)).first() is not None:
        raise NotPossibleError("this passkey is enrolled already")
    if len(keys_of(connection, key.tenant_id, key.approver)) >= MAX_KEYS:
        raise NotPossibleError(f"{key.approver} has {MAX_KEYS} passkeys, which is the most")
    values = msgspec.structs.asdict(key)
    encoded = msgspec.json.encode(key.members)
    connection.execute(passkeys.insert().values({**values, "members": encoded}))
    members: dict[str, Scalar] = {**key.members, "by": key.approver}
    if key.vouched_by is not None:
        members["vouched_by"] = key.vouched_by
    append(connection, [draft("approver.key_added", key.tenant_id, None, **members)], key.added_at)


def confirm(connection: Connection, key: Key, by: str, now: float) -> None:
    """Let a key decide from now on, with an event and a notice."""
    is_it = _p.credential_id == key.credential_id
    connection.execute(passkeys.update().where(is_it).values(confirmed_at=now))
    append(connection, [_event("approver.key_confirmed", key, by)], now)
    text = f"{key.approver} decides with a new passkey from now on, {key.thumbprint}."
    tell(connection, key.tenant_id, "approvers.changed", text, "/", now)


def remove(connection: Connection, keys: Sequence[Key], by: str, now: float) -> None:
    """Remove keys for ever, with an event for each."""
    for key in keys:
        is_it = _p.credential_id == key.credential_id
        connection.execute(passkeys.update().where(is_it).values(removed_at=now))
        append(connection, [_event("approver.key_removed", key, by)], now)


def note_sign_count(connection: Connection, key: Key, count: int, now: float) -> None:
    """Note that a key was used, and its count. One that falls is an event, not a refusal (A26).

    The key may have been copied. Or the authenticator does not count.
    """
    is_it = _p.credential_id == key.credential_id
    connection.execute(passkeys.update().where(is_it).values(sign_count=count, used_at=now))
    if count < key.sign_count:
        fell = draft(
            "approver.sign_count_fell",
            key.tenant_id,
            None,
            approver=key.approver,
            credential_id=key.credential_id,
            before=key.sign_count,
            after=count,
        )
        append(connection, [fell], now)


def thumbprint_of(members: Mapping[str, Scalar]) -> str:
    """Return the thumbprint of a checked key (RFC 7638)."""
    return verify.check_key(members).thumbprint


def _key(row: RowMapping) -> Key:
    return Key(**{**row, "members": _members.decode(row["members"])})


def _event(kind: str, key: Key, by: str) -> Draft:
    return draft(
        kind,
        key.tenant_id,
        None,
        approver=key.approver,
        credential_id=key.credential_id,
        thumbprint=key.thumbprint,
        by=by,
    )
