"""What the commands do about approvers, each in one transaction (contract 65)."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from vyrox.approvals import approvers, changes, drills, enrolment, keys, rules
from vyrox.approvals.changes import Change
from vyrox.approvals.drills import ShownDrill
from vyrox.approvals.keys import Key
from vyrox.approvals.listed import Listed, list_all
from vyrox.store.database import database_time
from vyrox.tenants.guard_rails import Rails
from vyrox.tenants.known import require_known
from vyrox.tenants.policy import Change as PolicyChange
from vyrox.tenants.policy import change_policy


class Codes(msgspec.Struct, frozen=True):
    """What the operator hands to a person, once.

    Attributes:
        secret: Of the link, which enrols a passkey.
        discord: For `/vyrox register`, if it was asked for.
    """

    secret: str
    discord: str | None

    def __repr__(self) -> str:
        """Return a text without the codes."""
        return "Codes(…)"


def add(
    connection: Connection,
    tenant_id: str,
    name: str,
    by: str,
    wall: float,
    *,
    discord: bool,
    is_same: bool,
) -> Codes:
    """Put a person on the list. Raises as `approvers.add`, and OperatorError."""
    require_known(connection, tenant_id)
    now = database_time(connection, wall)
    approvers.add(connection, tenant_id, name, by, now, is_same=is_same)
    return _codes(connection, tenant_id, name, now, discord=discord)


def link(connection: Connection, tenant_id: str, name: str, wall: float, *, discord: bool) -> Codes:
    """Return a new link for a person. Raises NotFoundError."""
    now = database_time(connection, wall)
    return _codes(connection, tenant_id, name, now, discord=discord)


def reset(
    connection: Connection, tenant_id: str, name: str, by: str, wall: float, *, discord: bool
) -> Codes:
    """Take all means to decide from a person, and return a new link. Raises NotFoundError."""
    now = database_time(connection, wall)
    approvers.reset(connection, tenant_id, name, by, now)
    return _codes(connection, tenant_id, name, now, discord=discord)


def remove(connection: Connection, tenant_id: str, name: str, by: str, wall: float) -> None:
    """Take a person off the list. Raises NotFoundError."""
    approvers.remove(connection, tenant_id, name, by, database_time(connection, wall))


def waiting_keys(connection: Connection, tenant_id: str, name: str) -> list[Key]:
    """Return the keys of a person that wait to be confirmed. Raises NotFoundError."""
    approvers.require(connection, tenant_id, name)
    found = keys.keys_of(connection, tenant_id, name)
    return [each for each in found if each.confirmed_at is None]


def confirm(
    connection: Connection, tenant_id: str, name: str, thumbprint: str, by: str, wall: float
) -> int:
    """Confirm a key. Raises as `enrolment.confirm`, whose result this returns."""
    now = database_time(connection, wall)
    return enrolment.confirm(connection, tenant_id, name, thumbprint, by, now)


def listed(connection: Connection, tenant_id: str | None, wall: float) -> Listed:
    """Return who may decide, with which keys, and what waits."""
    return list_all(connection, tenant_id, database_time(connection, wall))


def start_drill(connection: Connection, tenant_id: str, by: str, wall: float) -> ShownDrill:
    """Begin a drill. Raises as `drills.start`, and OperatorError."""
    require_known(connection, tenant_id)
    return drills.start(connection, tenant_id, by, database_time(connection, wall))


def show_drill(connection: Connection, tenant_id: str, proposal_id: str, wall: float) -> ShownDrill:
    """Return a drill, and who has answered it. Raises NotFoundError."""
    return drills.show_drill(connection, tenant_id, proposal_id, database_time(connection, wall))


class RuleChange(msgspec.Struct, frozen=True):
    """Rules for two persons to add, and rules to end."""

    added: Sequence[str] = ()
    ended: Sequence[str] = ()


def change_rules(
    connection: Connection, tenant_id: str, change: RuleChange, by: str, wall: float
) -> tuple[list[str], int]:
    """Change a tenant's rules for two persons.

    Returns:
        The rules that hold, and for how many approvers the end of one waits.

    Raises:
        NotPossibleError: A rule would lock the tenant out, or two persons who could end one are
            missing.
        NotFoundError: There is no such rule to end.
    """
    now = database_time(connection, wall)
    for rule in change.added:
        rules.add_rule(connection, tenant_id, rule, by, now)
    waits_for = 0
    for rule in change.ended:
        rules.require(connection, tenant_id, rule)
        ending = Change(kind="end_rule", tenant_id=tenant_id, approver=None, subject=rule)
        waits_for = max(waits_for, changes.ask(connection, ending, by, now))
    return rules.list_rules(connection, tenant_id), waits_for


def change_policy_and_rules(
    connection: Connection,
    tenant_id: str,
    change: PolicyChange,
    asked: RuleChange,
    by: str,
    wall: float,
) -> tuple[Rails, list[str], int]:
    """Change a tenant's guard rails and its rules for two persons. It may run twice.

    Returns:
        The new guard rails, and what `change_rules` returns.

    Raises:
        OperatorError: As `change_policy`.
        VyroxError: As `change_rules`.
    """
    rails = change_policy(connection, tenant_id, change, wall)
    return rails, *change_rules(connection, tenant_id, asked, by, wall)


def _codes(
    connection: Connection, tenant_id: str, name: str, now: float, *, discord: bool
) -> Codes:
    secret = enrolment.new_code(connection, tenant_id, name, "passkey", now)
    code = enrolment.new_code(connection, tenant_id, name, "discord", now) if discord else None
    return Codes(secret, code)
