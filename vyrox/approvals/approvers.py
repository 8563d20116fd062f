"""Who may decide for a tenant, and where two persons are needed (contract 62, A5 to A8, A18).

An approver is a name on the tenant's list. A name is never used again for another person, so it
identifies the person in the log for ever. No e-mail address and no other name is compared with it.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.events import draft
from vyrox.chain.writer import append
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.models import Device
from vyrox.store.locks import lock
from vyrox.store.tables import approval_rules, approvers
from vyrox.tenants.device_rules import MAX_RULES, check_rule, matches

FOUR_EYES: Final = "four-eyes"
"""The rule that the person who asked never counts, not even for an action that needs one person."""

SERVICE_NAME: Final = "vyrox"
"""Who asks for what triage proposes by itself. No person may have this name."""

MAX_APPROVERS: Final = 100
"""Of one tenant."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?")
"""At most 40 characters, so that two names and a digest fit into `approved_by` (A35)."""

_DISCORD_ID: Final = re.compile(r"[0-9]{17,20}")

_a: Final = approvers.c
_r: Final = approval_rules.c


class Approver(msgspec.Struct, frozen=True):
    """A person who may decide for a tenant.

    Attributes:
        name: The stable id.
        discord_user_id: The account's number at Discord; a name there can change hands.
    """

    tenant_id: str
    name: str
    discord_user_id: str | None
    added_at: float
    added_by: str
    removed_at: float | None


def list_approvers(connection: Connection, tenant_id: str | None) -> Sequence[Approver]:
    """Return the approvers of a tenant, or of all, also those that were removed."""
    query = sa.select(approvers).order_by(_a.tenant_id, _a.name)
    if tenant_id is not None:
        query = query.where(_a.tenant_id == tenant_id)
    return [Approver(*row) for row in connection.execute(query)]


def present(connection: Connection, tenant_id: str) -> dict[str, Approver]:
    """Return by name who may decide for the tenant now."""
    found = list_approvers(connection, tenant_id)
    return {each.name: each for each in found if each.removed_at is None}


def add(
    connection: Connection,
    tenant_id: str,
    name: str,
    by: str,
    now: float,
    discord_user_id: str | None = None,
) -> Approver:
    """Put a person on the tenant's list, with an event.

    Raises:
        InvalidRequestError: The name or the number is not of the form of one.
        NotPossibleError: The name was used before, the account is another approver's, or the list
            is full.
    """
    if _NAME.fullmatch(name) is None or name == SERVICE_NAME:
        raise InvalidRequestError(
            "a name has 1 to 40 characters of a-z, 0-9, '.', '_' and '-', and is not 'vyrox'"
        )
    if discord_user_id is not None and _DISCORD_ID.fullmatch(discord_user_id) is None:
        raise InvalidRequestError("a user id of Discord is a number of 17 to 20 digits")
    lock(connection, "containments")
    found = list_approvers(connection, tenant_id)
    if any(each.name == name for each in found):
        raise NotPossibleError(f"{name} is or was an approver of {tenant_id}: use another name")
    now_present = [each for each in found if each.removed_at is None]
    if discord_user_id and discord_user_id in {each.discord_user_id for each in now_present}:
        raise NotPossibleError("another approver of the tenant has this account at Discord")
    if len(now_present) >= MAX_APPROVERS:
        raise NotPossibleError(f"{tenant_id} has {MAX_APPROVERS} approvers, which is the most")
    added = Approver(tenant_id, name, discord_user_id, now, by, None)
    connection.execute(approvers.insert().values(msgspec.structs.asdict(added)))
    _append(connection, "approver.added", added, by, now)
    return added


def remove(connection: Connection, tenant_id: str, name: str, by: str, now: float) -> None:
    """Take a person off the tenant's list, with an event. Decisions of that person count no longer.

    Raises:
        NotFoundError: There is no such approver.
    """
    lock(connection, "containments")
    removed = present(connection, tenant_id).get(name)
    if removed is None:
        raise NotFoundError(f"{tenant_id} has no approver {name[:64]}")
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


def list_rules(connection: Connection, tenant_id: str) -> list[str]:
    """Return FOUR_EYES, if it is set, and the device rules for which two persons are needed."""
    query = sa.select(_r.rule).where(_r.tenant_id == tenant_id).order_by(_r.rule)
    return list(connection.execute(query).scalars())


def add_rule(connection: Connection, tenant_id: str, rule: str, by: str, now: float) -> None:
    """Require a second person: FOUR_EYES, or a rule as `check_rule` takes it. With an event.

    No function ends a rule: that needs two persons (A17), and no channel can ask them yet.

    Raises:
        ValueError: The text is not a rule.
        NotPossibleError: Without the person who asks, too few approvers would remain (A8).
    """
    rule = rule if rule == FOUR_EYES else check_rule(rule)
    lock(connection, "containments")
    rules = list_rules(connection, tenant_id)
    if rule in rules:
        return
    needed = 2 if rule == FOUR_EYES else 3  # the person who asks, and those who must approve
    if len(present(connection, tenant_id)) < needed:
        raise NotPossibleError(
            f"{tenant_id} has fewer than {needed} approvers: without the one who asks, too few "
            "would remain"
        )
    if len(rules) >= MAX_RULES:
        raise NotPossibleError(f"at most {MAX_RULES} rules")
    connection.execute(
        approval_rules.insert().values(tenant_id=tenant_id, rule=rule, added_at=now, added_by=by)
    )
    append(connection, [draft("approval.rule_added", tenant_id, None, rule=rule, by=by)], now)


def needs_two(rules: Sequence[str], device: Device) -> bool:
    """Return whether a rule requires two persons for `device` (A18).

    A rule about what is not known of the device applies.
    """
    return any(matches(rule, device) for rule in rules if rule != FOUR_EYES)
