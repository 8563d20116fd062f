"""Notices to approvers, by every channel that the tenant has (contract 69)."""

from typing import Final

from sqlalchemy import Connection

from vyrox.approvals.discord.posted import add_notice
from vyrox.notify import outbox
from vyrox.notify.messages import NoticeKind

_SHOWN_IN_DISCORD: Final[frozenset[NoticeKind]] = frozenset({"approval.proposed"})
"""Discord has a message of its own for these."""

_MENTIONED: Final[frozenset[NoticeKind]] = frozenset(
    {
        "approval.reminder",
        "break_glass.used",
        "lease.ending",
        "lease.failed",
        "lease.waiting",
        "tenant.frozen",
    }
)
"""These mention the on-call role: a person should act, or know at once."""


def tell(
    connection: Connection,
    tenant_id: str,
    kind: NoticeKind,
    text: str,
    link: str | None,
    now: float,
) -> None:
    """Have a notice sent to webhooks, other channels and Discord, as part of this transaction.

    Args:
        text: Is cleaned and bounded, so it may contain what an attacker wrote.
        link: The path of a page of the console, as `/approvals/ID`.
    """
    outbox.tell(connection, tenant_id, kind, text, link, now)
    if kind not in _SHOWN_IN_DISCORD:
        add_notice(connection, tenant_id, text, now, link=link, is_alarm=kind in _MENTIONED)
