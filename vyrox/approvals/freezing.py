"""Freezing and unfreezing, with a notice to the people of each tenant (contract 35 and 69)."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.discord.configured import list_channels
from vyrox.approvals.telling import tell
from vyrox.notify.messages import NoticeKind
from vyrox.store.tables import notify_targets
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
    if found.changed:
        who = (by or "the operator")[:40]
        what = "every tenant" if tenant_id == EVERY_TENANT else tenant_id
        text = (
            f"{who} froze {what}: nothing that is approved is carried out, and no containment ends"
            if frozen
            else f"{who} unfroze {what}: what is approved from now on is carried out"
        )
        kind: NoticeKind = "tenant.frozen" if frozen else "tenant.unfrozen"
        for each in _told(connection, tenant_id):
            tell(connection, each, kind, text, f"/tenants/{each}", now)
    return found


def end_freeze(connection: Connection, tenant_id: str, now: float) -> tuple[Frozen, list[str]]:
    """Unfreeze a tenant, or EVERY_TENANT; return also the tenants whose own freeze remains.

    Raises:
        OperatorError: The tenant is unknown.
    """
    ended = set_frozen(connection, tenant_id, now, frozen=False)
    _, stored = guard_rails.list_all(connection)
    return ended, sorted(name for name, rails in stored.items() if rails.frozen_at is not None)


def _told(connection: Connection, tenant_id: str) -> Sequence[str]:
    """Return the tenants that get a notice: the one, or all that have a way to people."""
    if tenant_id != EVERY_TENANT:
        return [tenant_id]
    found = connection.execute(sa.select(notify_targets.c.tenant_id).distinct()).scalars()
    return sorted({*found, *(each.tenant_id for each in list_channels(connection))})
