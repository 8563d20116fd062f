"""Freezing and unfreezing, with a notice to the people of each tenant (contract 35 and 69)."""

from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import discord_channels, notify_targets
from vyrox.tenants import guard_rails, policy
from vyrox.tenants.freezes import EVERY_TENANT
from vyrox.tenants.guard_rails import Frozen


def set_frozen(
    connection: Connection, tenant_id: str, now: float, *, frozen: bool, by: str | None = None
) -> Frozen:
    """Freeze or unfreeze a known tenant, or EVERY_TENANT, with a notice if that changes it.

    Args:
        by: The person, for the event; None: an operator on the command line.

    Raises:
        OperatorError: The tenant is unknown.
    """
    found = policy.set_frozen(connection, tenant_id, now, frozen=frozen, by=by)
    people = _reachable(connection, tenant_id) if found.changed else ()
    if people:
        who = (by or "the operator")[:40]
        what = "every tenant" if tenant_id == EVERY_TENANT else tenant_id
        text = (
            f"{who} froze {what}: nothing that is approved is carried out, and no containment ends"
            if frozen
            else f"{who} unfroze {what}: what is approved from now on is carried out"
        )
        _notify(connection, people, text, now, frozen=frozen)
    return found


def end_freeze(connection: Connection, tenant_id: str, now: float) -> tuple[Frozen, list[str]]:
    """Unfreeze a tenant, or EVERY_TENANT; return also the tenants whose own freeze remains.

    Raises:
        OperatorError: The tenant is unknown.
    """
    ended = set_frozen(connection, tenant_id, now, frozen=False)
    _, stored = guard_rails.list_all(connection)
    return ended, sorted(name for name, rails in stored.items() if rails.frozen_at is not None)


def _reachable(connection: Connection, tenant_id: str) -> Sequence[str]:
    """Return which tenants have a target or a channel: of the one, or of all."""
    columns = (notify_targets.c.tenant_id, discord_channels.c.tenant_id)
    queries = [sa.select(each) for each in columns]
    if tenant_id != EVERY_TENANT:
        queries = [sa.select(each).where(each == tenant_id) for each in columns]
    return sorted(connection.execute(sa.union(*queries)).scalars())


def _notify(
    connection: Connection, people: Sequence[str], text: str, now: float, *, frozen: bool
) -> None:
    # Imported here: what notices need is most of what the command to freeze would load.
    from vyrox.approvals.telling import tell

    for each in people:
        kind: Literal["tenant.frozen", "tenant.unfrozen"]
        kind = "tenant.frozen" if frozen else "tenant.unfrozen"
        tell(connection, each, kind, text, f"/tenants/{each}", now)
