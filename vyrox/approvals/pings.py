"""Pings the approvers because an action waits for them: once, and again at half time (A13).

Every channel asks `admit` before it pings: beyond PINGS_PER_HOUR of a tenant no person is pinged.
"""

import logging
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import log
from vyrox.approvals import rows
from vyrox.approvals.approvers import present
from vyrox.approvals.proposal import Proposal
from vyrox.approvals.rows import StoredProposal
from vyrox.approvals.telling import tell
from vyrox.clock import utc_text
from vyrox.notify.messages import NoticeKind
from vyrox.store.locks import lock
from vyrox.store.tables import approval_pings, proposals

PINGS_PER_HOUR: Final = 20
"""Proposals of a tenant about which people are pinged in an hour. Later ones are shown only."""

MAX_AT_ONCE: Final = 100

HOUR_S: Final = 3600.0

_g: Final = approval_pings.c
_p: Final = proposals.c

# Literally the condition of the index `proposals_open`, so that both databases use it.
_IS_OPEN: Final = sa.text("proposals.state IN ('pending', 'approved')")


class Ping(msgspec.Struct, frozen=True):
    """Whether the approvers are pinged about a proposal.

    Attributes:
        is_pinged: False: the limit of the hour is reached.
        remind_at: When they are reminded. None: they were, or are not.
    """

    is_pinged: bool
    remind_at: float | None


def find(connection: Connection, proposal_id: str) -> Ping | None:
    """Return whether people are pinged about a proposal; None: it is not decided yet."""
    query = sa.select(_g.is_pinged, _g.remind_at)
    row = connection.execute(query.where(_g.proposal_id == proposal_id)).one_or_none()
    return None if row is None else Ping(*row)


def admit(connection: Connection, stored: StoredProposal, now: float) -> Ping:
    """Decide once whether people are pinged about a proposal, and put the notice into the outbox.

    Called again, it returns what was decided.
    """
    lock(connection, "containments")
    found = find(connection, stored.id)
    if found is not None:
        return found
    tenant_id, proposal = stored.tenant_id, _readable(stored)
    ping = Ping(False, None)
    if proposal is not None and _may_ping(connection, tenant_id, now):
        ping = Ping(True, (proposal.created_at + proposal.expires_at) / 2)
    connection.execute(
        approval_pings.insert().values(
            proposal_id=stored.id, tenant_id=tenant_id, at=now, **msgspec.structs.asdict(ping)
        )
    )
    if proposal is not None and ping.is_pinged:
        _tell(connection, "approval.proposed", proposal, now)
    return ping


def find_waiting(connection: Connection, now: float) -> list[tuple[str, str]]:
    """Return tenant and id of proposals about which people must be pinged, or reminded."""
    is_due = sa.or_(_g.proposal_id.is_(None), _g.remind_at <= now)
    query = (
        sa.select(_p.tenant_id, _p.id)
        .select_from(proposals.outerjoin(approval_pings, _g.proposal_id == _p.id))
        .where(_IS_OPEN, _p.expires_at > now, is_due)
        .order_by(_p.created_at)
        .limit(MAX_AT_ONCE)
    )
    return [(row.tenant_id, row.id) for row in connection.execute(query)]


def ping(connection: Connection, tenant_id: str, proposal_id: str, now: float) -> None:
    """Ping people about a proposal, or remind them, if that is due and it is still pending."""
    lock(connection, "containments")
    stored = rows.require(connection, tenant_id, proposal_id)
    if stored.state_at(now) != "pending":
        return
    found = admit(connection, stored, now)
    if found.remind_at is None or found.remind_at > now:
        return
    reminded = approval_pings.update().where(_g.proposal_id == proposal_id)
    connection.execute(reminded.values(remind_at=None))
    _tell(connection, "approval.reminder", stored.proposal, now)


def _readable(stored: StoredProposal) -> Proposal | None:
    try:
        return stored.proposal
    except ValueError as exc:  # its text was changed in the database
        log.event(
            "approval.unreadable",
            logging.ERROR,
            tenant=stored.tenant_id,
            proposal=stored.id,
            reason=str(exc),
        )
        return None


def _may_ping(connection: Connection, tenant_id: str, now: float) -> bool:
    in_hour = sa.select(sa.func.count()).where(
        _g.tenant_id == tenant_id, _g.at > now - HOUR_S, _g.is_pinged
    )
    if connection.execute(in_hour).scalar_one() >= PINGS_PER_HOUR:
        return False
    return bool(present(connection, tenant_id))


def _tell(connection: Connection, kind: NoticeKind, proposal: Proposal, now: float) -> None:
    until = utc_text(proposal.expires_at, "%H:%M")
    needed = "one person" if proposal.required == 1 else f"{proposal.required} persons"
    # The reason comes last: the text is cut.
    text = (
        f"a drill, until {until} UTC: answer it, to show that you can decide"
        if proposal.is_drill
        else f"{proposal.action_type} of {(proposal.hostname or proposal.host)[:80]}, asked for by "
        f"{proposal.requested_by[:40]}, needs {needed} until {until} UTC: {proposal.reason}"
    )
    tell(connection, proposal.tenant_id, kind, text, f"/approvals/{proposal.id}", now)
