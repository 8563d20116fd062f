"""Changes of a tenant's guard rails by its operator (contract 35 and 39)."""

from typing import Final

import msgspec
from sqlalchemy import Connection

from vyrox.errors import OperatorError
from vyrox.store.locks import lock
from vyrox.tenants import device_rules, guard_rails, records
from vyrox.tenants.freezes import EVERY_TENANT
from vyrox.tenants.guard_rails import Frozen, OtherHosts, Propose, Rails
from vyrox.tenants.known import NEW_HINT, require_known

_SETTINGS: Final = ("per_hour", "other_hosts", "known_alerts_only", "propose")


class Change(msgspec.Struct, frozen=True):
    """A change of guard rails by an operator. None does not change a setting.

    Attributes:
        added: Rules for the never-contain list, as `device_rules.check_rule` returns them.
        removed: Rules to remove from the list.
        is_new: Whether the tenant may be unknown.
    """

    per_hour: int | None = None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    other_hosts: OtherHosts | None = None
    known_alerts_only: bool | None = None
    propose: Propose | None = None
    is_new: bool = False


def change_policy(connection: Connection, tenant_id: str, change: Change, now: float) -> Rails:
    """Change the tenant's guard rails, with an event, and return the new ones.

    Raises:
        OperatorError: The tenant or a removed rule is unknown, or there are too many rules.
    """
    lock(connection, "containments")
    if not change.is_new:
        require_known(connection, tenant_id, "" if change == Change() else NEW_HINT)
    before = guard_rails.find(connection, [tenant_id])[tenant_id]
    is_first = not guard_rails.has_row(connection, tenant_id)
    if is_first and change.is_new and change.other_hosts is None:
        change = _with_default(connection, tenant_id, change)
    after = _changed(before, change)
    # An explicit `allow` is stored too: `tenant add` must not replace it by its default.
    is_explicit = is_first and change.other_hosts is not None
    if after != before or is_explicit:
        changes = [
            f"{name} {value}".lower()
            for name in _SETTINGS
            if (value := getattr(after, name)) != getattr(before, name)
            or (is_explicit and name == "other_hosts")
        ]
        changes += [f"never_contain {rule}" for rule in change.added]
        changes += [f"allow again {rule}" for rule in change.removed]
        guard_rails.store(connection, tenant_id, after, f"policy: {', '.join(changes)}", now)
    return after


def _with_default(connection: Connection, tenant_id: str, change: Change) -> Change:
    """Return `change` with the default that `tenant add` would set, if that is still to come."""
    if not records.has_no_row(connection, tenant_id):
        return change
    return msgspec.structs.replace(change, other_hosts="refuse")


def _changed(before: Rails, change: Change) -> Rails:
    if unknown := set(change.removed) - set(before.never_contain):
        raise OperatorError(f"no such rule: {min(unknown)}")
    rules = (set(before.never_contain) - set(change.removed)) | set(change.added)
    if len(rules) > device_rules.MAX_RULES:
        raise OperatorError(f"at most {device_rules.MAX_RULES} rules")
    wanted = {name: getattr(change, name) for name in _SETTINGS}
    return msgspec.structs.replace(
        before,
        never_contain=tuple(sorted(rules)),
        **{name: value for name, value in wanted.items() if value is not None},
    )


def set_frozen(
    connection: Connection, tenant_id: str, now: float, *, frozen: bool, by: str | None = None
) -> Frozen:
    """Freeze or unfreeze a known tenant, or EVERY_TENANT.

    Args:
        by: The person, for the event; None: an operator on the command line.

    Raises:
        OperatorError: The tenant is unknown.
    """
    if tenant_id != EVERY_TENANT:
        require_known(connection, tenant_id)
    return guard_rails.freeze(connection, tenant_id, now, frozen=frozen, by=by)
