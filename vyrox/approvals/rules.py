"""Where two persons are needed, and "four eyes" (contract 65, A8, A17 and A18)."""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.approvers import standing, with_passkeys
from vyrox.approvals.events import draft
from vyrox.approvals.telling import tell
from vyrox.chain.writer import append
from vyrox.errors import NotFoundError, NotPossibleError
from vyrox.models import Device
from vyrox.store.locks import lock
from vyrox.store.tables import approval_rules
from vyrox.tenants.device_rules import MAX_RULES, check_rule, matches

FOUR_EYES: Final = "four-eyes"
"""The rule that the person who asked never counts, not even for an action that needs one person."""

_r: Final = approval_rules.c


def list_rules(connection: Connection, tenant_id: str) -> list[str]:
    """Return FOUR_EYES, if it is set, and the device rules for which two persons are needed."""
    query = sa.select(_r.rule).where(_r.tenant_id == tenant_id).order_by(_r.rule)
    return list(connection.execute(query).scalars())


def add_rule(connection: Connection, tenant_id: str, rule: str, by: str, now: float) -> None:
    """Require a second person: FOUR_EYES, or a rule as `check_rule` takes it. With an event.

    Raises:
        ValueError: The text is not a rule.
        NotPossibleError: Without the person who asks, too few approvers would remain (A8).
    """
    rule = rule if rule == FOUR_EYES else check_rule(rule)
    lock(connection, "containments")
    rules = list_rules(connection, tenant_id)
    if rule in rules:
        return
    _check_enough(connection, tenant_id, rule)
    if len(rules) >= MAX_RULES:
        raise NotPossibleError(f"at most {MAX_RULES} rules")
    connection.execute(
        approval_rules.insert().values(tenant_id=tenant_id, rule=rule, added_at=now, added_by=by)
    )
    append(connection, [draft("approval.rule_added", tenant_id, None, rule=rule, by=by)], now)
    _tell(connection, tenant_id, f"{by} has added the rule {rule}: it asks for two persons.", now)


def _check_enough(connection: Connection, tenant_id: str, rule: str) -> None:
    """Refuse a rule that locks the tenant out (A8): one of the persons may be the one who asks."""
    able = sum(bool(means) for means in standing(connection, tenant_id).values())
    needed = 2 if rule == FOUR_EYES else 3
    if able < needed:
        raise NotPossibleError(
            f"{tenant_id} has fewer than {needed} approvers who can decide: without the one who "
            "asks, too few would remain"
        )
    if rule != FOUR_EYES and len(with_passkeys(connection, tenant_id)) < 2:
        raise NotPossibleError(
            f"{tenant_id} has fewer than 2 approvers with a passkey: without the one who asks, "
            "none would remain"
        )


def require(connection: Connection, tenant_id: str, rule: str) -> None:
    """Raise NotFoundError unless the tenant has this rule."""
    if rule not in list_rules(connection, tenant_id):
        raise NotFoundError(f"{tenant_id} has no rule {rule[:300]}")


def end_rule(connection: Connection, tenant_id: str, rule: str, by: str, now: float) -> None:
    """End a rule, with an event. Only `changes` calls this, once two persons have agreed (A17)."""
    is_it = sa.and_(_r.tenant_id == tenant_id, _r.rule == rule)
    if connection.execute(approval_rules.delete().where(is_it)).rowcount:
        append(connection, [draft("approval.rule_ended", tenant_id, None, rule=rule, by=by)], now)
        _tell(connection, tenant_id, f"The rule {rule} has ended: two approvers endorsed it.", now)


def _tell(connection: Connection, tenant_id: str, text: str, now: float) -> None:
    tell(connection, tenant_id, "approvers.changed", text, "/", now)


def needs_two(rules: Sequence[str], device: Device) -> bool:
    """Return whether a rule requires two persons for `device` (A18).

    A rule about what is not known of the device applies.
    """
    return any(matches(rule, device) for rule in rules if rule != FOUR_EYES)
