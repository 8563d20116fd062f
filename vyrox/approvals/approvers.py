"""Who may decide for a tenant (contract 65, A5 and A17).

An approver is a name on the tenant's list. A name is never used again for another person, so it
identifies the person in the log for ever. No e-mail address and no other name is compared with it.
"""

import os
import re
from collections.abc import Sequence
from typing import Final, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import codes, keys
from vyrox.approvals.events import draft
from vyrox.approvals.telling import tell
from vyrox.chain.writer import append
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.store.locks import lock
from vyrox.store.tables import approvers, decisions, proposals, viewers

SERVICE_NAME: Final = "vyrox"
"""Who asks for what triage proposes by itself. No person may have this name."""

MAX_APPROVERS: Final = 100
"""Of one tenant."""

RESET_S: Final = 86_400
"""For so long after a reset, an approver is not one of two persons (A39)."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")
"""At most 40 characters, so that two names and a digest fit into `approved_by` (A35)."""

_DISCORD_ID: Final = re.compile(r"[0-9]{17,20}")

_USER_ID_BYTES: Final = 64

_NOTICES: Final = {
    "approver.added": "{by} has put {name} on the list of approvers.",
    "approver.removed": "{by} has taken {name} off the list of approvers.",
    "approver.reset": "{by} has reset {name}: no passkey and no account of {name} decides any "
    "more, and a new link was made. If {name} did not ask for that, act now.",
    "approver.discord_bound": "{name} decides in Discord from now on, with the account {account}.",
}
"""What people should know of an event, by its kind (A17)."""

_a: Final = approvers.c
_COLUMNS: Final = (
    _a.tenant_id,
    _a.name,
    _a.discord_user_id,
    _a.added_at,
    _a.added_by,
    _a.removed_at,
    _a.reset_at,
)


class Approver(msgspec.Struct, frozen=True):
    """A person who may decide for a tenant.

    Attributes:
        name: The stable id.
        discord_user_id: The account's number at Discord; a name there can change hands.
        reset_at: When an operator last took all means to decide from the person.
    """

    tenant_id: str
    name: str
    discord_user_id: str | None
    added_at: float
    added_by: str
    removed_at: float | None
    reset_at: float | None = None

    def is_reset(self, now: float) -> bool:
        """Return whether the person's means to decide were given again less than RESET_S ago."""
        return self.reset_at is not None and now < self.reset_at + RESET_S


def list_approvers(connection: Connection, tenant_id: str | None) -> Sequence[Approver]:
    """Return the approvers of a tenant, or of all, also those that were removed."""
    query = sa.select(*_COLUMNS).order_by(_a.tenant_id, _a.name)
    if tenant_id is not None:
        query = query.where(_a.tenant_id == tenant_id)
    return [Approver(*row) for row in connection.execute(query)]


def present(connection: Connection, tenant_id: str) -> dict[str, Approver]:
    """Return by name who may decide for the tenant now."""
    found = list_approvers(connection, tenant_id)
    return {each.name: each for each in found if each.removed_at is None}


def require(connection: Connection, tenant_id: str, name: str) -> Approver:
    """Return an approver who is on the tenant's list.

    Raises:
        NotFoundError: There is no such approver.
    """
    found = present(connection, tenant_id).get(name)
    if found is None:
        raise NotFoundError(f"{tenant_id} has no approver {name[:64]}")
    return found


def standing(connection: Connection, tenant_id: str) -> dict[str, frozenset[str]]:
    """Return by name with what each approver may decide now.

    That is the credential ids of the confirmed passkeys, and the account at Discord.
    """
    means: dict[str, set[str]] = {}
    for approver in present(connection, tenant_id).values():
        account = approver.discord_user_id
        means[approver.name] = set() if account is None else {account}
    for name, credential_id in _confirmed(connection, tenant_id):
        if name in means:
            means[name].add(credential_id)
    return {name: frozenset(each) for name, each in means.items()}


def with_passkeys(connection: Connection, tenant_id: str) -> set[str]:
    """Return the approvers who have a confirmed passkey."""
    names = {name for name, _ in _confirmed(connection, tenant_id)}
    return names & present(connection, tenant_id).keys()


def _confirmed(connection: Connection, tenant_id: str) -> list[tuple[str, str]]:
    return [
        (each.approver, each.credential_id)
        for each in keys.list_keys(connection, tenant_id)
        if each.confirmed_at is not None and each.removed_at is None
    ]


def user_id_of(connection: Connection, tenant_id: str, name: str) -> bytes:
    """Return the 64 random bytes by which authenticators know the approver."""
    is_it = sa.and_(_a.tenant_id == tenant_id, _a.name == name)
    return cast("bytes", connection.execute(sa.select(_a.user_id).where(is_it)).scalar_one())


def bind_account(
    connection: Connection, tenant_id: str, name: str, account: str, by: str, now: float
) -> Approver:
    """Let an approver decide with this account at Discord from now on, with an event.

    Raises:
        NotFoundError: There is no such approver.
        InvalidRequestError: The account is not a number of Discord.
        NotPossibleError: It is another approver's.
    """
    lock(connection, "containments")
    bound = msgspec.structs.replace(require(connection, tenant_id, name), discord_user_id=account)
    check_account(connection, tenant_id, name, account)
    is_it = sa.and_(_a.tenant_id == tenant_id, _a.name == name)
    connection.execute(approvers.update().where(is_it).values(discord_user_id=account))
    _append(connection, "approver.discord_bound", bound, by, now)
    return bound


def check_account(connection: Connection, tenant_id: str, name: str, account: str) -> None:
    """Raise InvalidRequestError or NotPossibleError if `name` cannot have this account."""
    if _DISCORD_ID.fullmatch(account) is None:
        raise InvalidRequestError("a user id of Discord is a number of 17 to 20 digits")
    others = present(connection, tenant_id).values()
    if any(each.discord_user_id == account and each.name != name for each in others):
        raise NotPossibleError("another approver of the tenant has this account at Discord")


def reset(connection: Connection, tenant_id: str, name: str, by: str, now: float) -> None:
    """Take from an approver all means to decide, with an event. A new link gives new ones.

    Raises:
        NotFoundError: There is no such approver.
    """
    lock(connection, "containments")
    found = require(connection, tenant_id, name)
    is_it = sa.and_(_a.tenant_id == tenant_id, _a.name == name)
    connection.execute(approvers.update().where(is_it).values(reset_at=now))
    _append(connection, "approver.reset", found, by, now)
    _forget_means(connection, tenant_id, name, by, now)


def _forget_means(connection: Connection, tenant_id: str, name: str, by: str, now: float) -> None:
    """Remove the approver's passkeys, account at Discord and open codes, and end their approvals.

    What was approved with them does not count again, though the account may be bound again.
    """
    keys.remove(connection, keys.keys_of(connection, tenant_id, name), by, now)
    codes.drop(connection, tenant_id, name)
    is_it = sa.and_(_a.tenant_id == tenant_id, _a.name == name)
    connection.execute(approvers.update().where(is_it).values(discord_user_id=None))
    own = sa.select(proposals.c.id).where(proposals.c.tenant_id == tenant_id)
    by_it = sa.and_(decisions.c.approver == name, decisions.c.proposal_id.in_(own))
    connection.execute(decisions.update().where(by_it).values(means=None))


def check_name(name: str) -> None:
    """Raise InvalidRequestError if no person can have this name."""
    if _NAME.fullmatch(name) is None or name == SERVICE_NAME:
        raise InvalidRequestError(
            "a name has 1 to 40 characters of a-z, 0-9, '.', '_' and '-', and is not 'vyrox'"
        )


def add(
    connection: Connection,
    tenant_id: str,
    name: str,
    by: str,
    now: float,
    discord_user_id: str | None = None,
    *,
    is_same: bool = False,
) -> Approver:
    """Put a person on the tenant's list, with an event.

    Args:
        is_same: A viewer of this name who is another tenant's approver is this person, who may
            then act for both tenants.

    Raises:
        InvalidRequestError: The name or the number is not of the form of one.
        NotPossibleError: The name was used before, the account is another approver's, or the list
            is full; or a viewer of this name is another tenant's approver.
    """
    check_name(name)
    lock(connection, "containments")
    home = _home_of_viewer(connection, tenant_id, name)
    if home is not None and not is_same:
        raise NotPossibleError(
            f"{name} is a viewer of {tenant_id}, as the approver {name} of {home}, who would then "
            f"act for {tenant_id} too: if it is the same person, add --same-person; if not, use "
            "another name"
        )
    found = list_approvers(connection, tenant_id)
    if any(each.name == name for each in found):
        raise NotPossibleError(f"{name} is or was an approver of {tenant_id}: use another name")
    now_present = [each for each in found if each.removed_at is None]
    if discord_user_id is not None:
        check_account(connection, tenant_id, name, discord_user_id)
    if len(now_present) >= MAX_APPROVERS:
        raise NotPossibleError(f"{tenant_id} has {MAX_APPROVERS} approvers, which is the most")
    added = Approver(tenant_id, name, discord_user_id, now, by, None)
    values = {**msgspec.structs.asdict(added), "user_id": os.urandom(_USER_ID_BYTES)}
    connection.execute(approvers.insert().values(values))
    _append(connection, "approver.added", added, by, now)
    return added


def _home_of_viewer(connection: Connection, tenant_id: str, name: str) -> str | None:
    c = viewers.c
    query = sa.select(c.home).where(
        c.tenant_id == tenant_id, c.name == name, c.removed_at.is_(None)
    )
    return connection.execute(query).scalar()


def remove(connection: Connection, tenant_id: str, name: str, by: str, now: float) -> None:
    """Take a person off the tenant's list, with an event. Decisions of that person count no longer.

    Raises:
        NotFoundError: There is no such approver.
    """
    lock(connection, "containments")
    removed = require(connection, tenant_id, name)
    _forget_means(connection, tenant_id, name, by, now)
    is_it = sa.and_(_a.tenant_id == tenant_id, _a.name == name)
    connection.execute(approvers.update().where(is_it).values(removed_at=now))
    _append(connection, "approver.removed", removed, by, now)


def _append(connection: Connection, kind: str, approver: Approver, by: str, now: float) -> None:
    event = draft(
        kind,
        approver.tenant_id,
        None,
        approver=approver.name,
        discord_user_id=approver.discord_user_id,
        by=by,
    )
    append(connection, [event], now)
    text = _NOTICES[kind].format(name=approver.name, by=by, account=approver.discord_user_id)
    tell(connection, approver.tenant_id, "approvers.changed", text, "/", now)
