"""Approvers as they are listed, with their keys and with what waits (contract 65)."""

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import approvers, changes, keys
from vyrox.approvals.keys import Key


class ListedKey(msgspec.Struct, frozen=True):
    """A passkey, without its numbers."""

    thumbprint: str
    origin: str
    added_at: float
    confirmed_at: float | None
    removed_at: float | None
    used_at: float | None = None


class ListedApprover(msgspec.Struct, frozen=True):
    """An approver, and the passkeys. See `approvers.Approver`."""

    tenant_id: str
    name: str
    discord_user_id: str | None
    added_at: float
    added_by: str
    removed_at: float | None
    reset_at: float | None
    keys: tuple[ListedKey, ...]


class ListedChange(msgspec.Struct, frozen=True):
    """A change that waits for approvers.

    Attributes:
        what: The change in words.
    """

    id: str
    tenant_id: str
    kind: str
    approver: str | None
    subject: str
    what: str
    asked_by: str
    needed: int
    endorsed_by: tuple[str, ...]
    expires_at: float


class Listed(msgspec.Struct, frozen=True):
    """What `vyrox approver list` shows."""

    approvers: tuple[ListedApprover, ...]
    waiting: tuple[ListedChange, ...]


def list_all(connection: Connection, tenant_id: str | None, now: float) -> Listed:
    """Return the approvers of a tenant, or of all, and the changes that wait."""
    by_approver: dict[tuple[str, str], list[ListedKey]] = {}
    for key in keys.list_keys(connection, tenant_id):
        by_approver.setdefault((key.tenant_id, key.approver), []).append(_listed(key))
    found = approvers.list_approvers(connection, tenant_id)
    people = tuple(
        ListedApprover(
            each.tenant_id,
            each.name,
            each.discord_user_id,
            each.added_at,
            each.added_by,
            each.removed_at,
            each.reset_at,
            tuple(by_approver.get((each.tenant_id, each.name), ())),
        )
        for each in found
    )
    tenants = sorted({each.tenant_id for each in found})
    return Listed(people, tuple(_waiting(connection, tenants, now)))


def _listed(key: Key) -> ListedKey:
    origin = str(key.members["origin"])
    return ListedKey(
        key.thumbprint, origin, key.added_at, key.confirmed_at, key.removed_at, key.used_at
    )


def _waiting(connection: Connection, tenants: list[str], now: float) -> list[ListedChange]:
    return [
        ListedChange(
            each.id,
            tenant_id,
            each.change.kind,
            each.change.approver,
            each.change.subject,
            changes.shown(each.change),
            each.asked_by,
            each.needed,
            each.endorsed_by,
            each.expires_at,
        )
        for tenant_id in tenants
        for each in changes.list_open(connection, tenant_id, now)
    ]
