"""Which messages Discord lacks, and which show an earlier state (contract 67, A32).

What a message should show is computed from its proposal each time, also the states that time
brings. So no change can be missed, and after a restart or an outage the first run finds all.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals import rows
from vyrox.approvals.discord import configured
from vyrox.approvals.discord.composing import message_for
from vyrox.approvals.discord.configured import Channel
from vyrox.approvals.discord.evidence import incident_of, new_incidents
from vyrox.approvals.discord.message import Message
from vyrox.approvals.discord.posted import Kind, Posted, insert
from vyrox.approvals.shown import outcome_of
from vyrox.approvals.states import State, state_at
from vyrox.store.tables import decisions, discord_messages, proposals

CLAIM_S: Final = 30.0
"""A row that was claimed is not claimed again for this long. Longer than its request may take."""

OLD_S: Final = 3600.0
"""After this time a message is not changed any more, and one that waits is not posted."""

CLICK_S: Final = 3.0
"""How long Discord takes a response to a click, which changes the message. Only then it is compared
again: an edit at the same time could be overwritten by the response."""

MAX_PER_CHANNEL: Final = 20
"""Messages of one channel in one run."""

MAX_NEW: Final = 200
"""Rows made in one run."""

_CHANGING: Final[frozenset[State]] = frozenset({"pending", "approved", "dispatched"})
_SETTLED: Final = frozenset({"confirmed", "failed", "dry_run"})
"""Outcomes that cannot change any more."""

_m: Final = discord_messages.c
_p: Final = proposals.c
_d: Final = decisions.c
_IS_OPEN: Final = sa.text("next_at IS NOT NULL")
_IS_UNDECIDED: Final = sa.text("proposals.state IN ('pending', 'approved')")
_ORDER: Final[dict[Kind, int]] = {"proposal": 0, "alarm": 1, "notice": 2, "incident": 3}


class Work(msgspec.Struct, frozen=True):
    """A message to post or to edit.

    Attributes:
        mark: The state that it shows afterwards.
        is_last: Nothing can change after that.
    """

    row: Posted
    message: Message
    mark: str
    is_last: bool


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a message.

    Attributes:
        row: As it was claimed.
        error: Why it could not be sent; then the rest is as it was.
    """

    row: Posted
    message_id: str | None
    shown: str | None
    is_altered: bool
    next_at: float | None
    error: str | None = None


class _Due(msgspec.Struct, frozen=True):
    row: Posted
    mark: str
    is_last: bool
    is_over: bool = False


def is_any_due(connection: Connection, now: float) -> bool:
    """Return whether `claim` would find something."""
    channels = configured.list_channels(connection)
    return bool(_new(connection, channels, now) or _due(connection, now))


def claim(
    connection: Connection, now: float, busy: Collection[str], console: str | None
) -> list[Work]:
    """Make the rows of new messages, and return what is to be sent now, claimed by this caller.

    Args:
        busy: Channels whose messages are being sent already.
        console: The origin of the console, for a link; None: no link.
    """
    channels = configured.list_channels(connection)
    _insert(connection, _new(connection, channels, now), now)
    by_tenant = {each.tenant_id: each for each in channels}
    found: list[Work] = []
    taken: dict[str, int] = {}
    for due in sorted(_due(connection, now), key=lambda each: _ORDER[each.row.kind]):
        channel_id = due.row.channel_id
        if due.is_over:
            _end(connection, due.row)
        elif channel_id not in busy and taken.get(channel_id, 0) < MAX_PER_CHANNEL:
            row = _take(connection, due.row, now)
            if row is not None:
                taken[channel_id] = taken.get(channel_id, 0) + 1
                message = message_for(connection, row, by_tenant.get(row.tenant_id), now, console)
                if message is None:
                    _end(connection, row)
                else:
                    found.append(Work(row, message, due.mark, due.is_last))
    return found


def settle(connection: Connection, sent: Sent) -> None:
    """Store what became of a message that this caller has claimed."""
    values: dict[str, object] = {
        "message_id": sent.message_id,
        "shown": sent.shown,
        "is_altered": sent.is_altered,
        "next_at": sent.next_at,
        "last_error": None if sent.error is None else sent.error[:500],
    }
    if sent.error is None:
        values["attempts"] = 0
    is_claimed = sa.and_(_m.id == sent.row.id, _m.next_at == sent.row.next_at)
    connection.execute(discord_messages.update().where(is_claimed).values(values))


def waiting(connection: Connection, tenant_id: str) -> tuple[int, str | None]:
    """Return how many messages of the tenant could not be sent yet, and the newest error."""
    query = (
        sa.select(_m.last_error)
        .where(_IS_OPEN, _m.tenant_id == tenant_id, _m.last_error.is_not(None))
        .order_by(_m.created_at.desc())
    )
    errors = list(connection.execute(query).scalars())
    return len(errors), errors[0] if errors else None


def _new(
    connection: Connection, channels: Sequence[Channel], now: float
) -> list[tuple[str, Kind, Channel]]:
    """Return the ids of what has no message yet."""
    if not channels:
        return []
    by_tenant = {each.tenant_id: each for each in channels}
    query = (
        sa.select(_p.id, _p.tenant_id)
        .outerjoin(discord_messages, _m.id == _p.id)
        .where(
            _IS_UNDECIDED,
            _p.state == "pending",
            _p.expires_at > now,
            _p.tenant_id.in_(by_tenant),
            _m.id.is_(None),
        )
        .order_by(_p.created_at, _p.id)
        .limit(MAX_NEW)
    )
    found: list[tuple[str, Kind, Channel]] = [
        (row.id, "proposal", by_tenant[row.tenant_id]) for row in connection.execute(query)
    ]
    for channel in channels:
        for incident_id in new_incidents(connection, channel, now):
            found.append((incident_id, "incident", channel))
    return found


def _insert(connection: Connection, new: Sequence[tuple[str, Kind, Channel]], now: float) -> None:
    """Make the rows. An incident that a proposal's message shows gets a row that is over."""
    insert(connection, new, now)
    for message_id, kind, channel in new:
        alert_id = _alert_of(connection, channel, message_id) if kind == "proposal" else None
        if alert_id is None:
            continue
        incident = incident_of(connection, channel.tenant_id, alert_id)
        if incident is not None:
            insert(connection, [(incident.id, "incident", channel)], now, is_over=True)


def _alert_of(connection: Connection, channel: Channel, proposal_id: str) -> str | None:
    try:
        return rows.require(connection, channel.tenant_id, proposal_id).proposal.alert_id
    except ValueError:  # its text was changed in the database
        return None


def _due(connection: Connection, now: float) -> list[_Due]:
    """Return the rows whose message is not what it should be, or that are over."""
    own = _d.proposal_id == _m.id
    count = sa.select(sa.func.count()).where(own).scalar_subquery()
    clicked_at = sa.select(sa.func.max(_d.at)).where(own, _d.proof == "discord").scalar_subquery()
    query = (
        sa.select(
            discord_messages,
            _p.state,
            _p.expires_at,
            _p.approved_at,
            count.label("count"),
            clicked_at.label("clicked_at"),
        )
        .outerjoin(proposals, _p.id == _m.id)
        .where(_IS_OPEN, _m.next_at <= now)
        .order_by(_m.created_at, _m.id)
    )
    found = []
    for values in connection.execute(query).mappings():
        row = Posted(**{name: values[name] for name in Posted.__struct_fields__})
        if row.kind != "proposal":
            found.append(_Due(row, "posted", is_last=True, is_over=row.created_at + OLD_S < now))
        elif values["clicked_at"] is None or values["clicked_at"] + CLICK_S <= now:
            due = _due_proposal(connection, row, values, now)
            if due is not None:
                found.append(due)
    return found


def _due_proposal(
    connection: Connection, row: Posted, values: sa.RowMapping, now: float
) -> _Due | None:
    if values["state"] is None or values["expires_at"] + OLD_S < now:
        return _Due(row, "", is_last=True, is_over=True)
    state = state_at(values["state"], values["expires_at"], values["approved_at"], now)
    mark, is_last = f"{state}:{values['count'] or 0}", state not in _CHANGING
    if state == "dispatched":
        outcome = outcome_of(connection, row.tenant_id, row.id)
        mark, is_last = f"{mark}:{outcome}", outcome in _SETTLED
    never_tried = row.message_id is None and row.attempts == 0
    is_over = (never_tried and state != "pending") or (is_last and row.shown == mark)
    if row.shown == mark and not is_over:
        return None
    return _Due(row, mark, is_last, is_over)


def _take(connection: Connection, row: Posted, now: float) -> Posted | None:
    """Return the row as claimed by this caller, or None if another caller was faster."""
    is_free = sa.and_(_m.id == row.id, _m.next_at == row.next_at)
    values = {"next_at": now + CLAIM_S, "attempts": _m.attempts + 1}
    if connection.execute(discord_messages.update().where(is_free).values(values)).rowcount != 1:
        return None
    return msgspec.structs.replace(row, next_at=now + CLAIM_S, attempts=row.attempts + 1)


def _end(connection: Connection, row: Posted) -> None:
    ended = discord_messages.update().where(_m.id == row.id, _m.next_at == row.next_at)
    connection.execute(ended.values(next_at=None))
