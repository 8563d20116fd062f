"""The messages at Discord: one row for each, from before it is posted (contract 67, A32).

A row holds what its message shows. What it should show is computed from the proposal itself, so no
change can be forgotten.
"""

from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.discord.configured import Channel, channel_of
from vyrox.ids import new_id
from vyrox.store.rows import insert_rows
from vyrox.store.tables import discord_messages

Kind = Literal["proposal", "incident", "notice", "alarm"]

MAX_NOTICE: Final = 1_500
"""Characters of a notice; the rest is left out."""

_m: Final = discord_messages.c

# Literally the condition of the index `discord_messages_open`, so that both databases use it.
_IS_OPEN: Final = sa.text("next_at IS NOT NULL")


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or one that waits to be posted.

    Attributes:
        id: Of the proposal or the incident; of a notice or an alarm, random.
        message_id: None until it is posted.
        text: Of a notice, as the next one.
        link: The path of a page of the console.
        shown: The state that the message shows.
        is_altered: Discord has stored another text than was sent, so it has no buttons.
        next_at: When it is next compared with what it should show; None if it is over.
        attempts: How many have begun since the last success.
    """

    id: str
    kind: Kind
    tenant_id: str
    channel_id: str
    created_at: float
    next_at: float | None
    attempts: int = 0
    is_altered: bool = False
    text: str | None = None
    link: str | None = None
    message_id: str | None = None
    shown: str | None = None
    last_error: str | None = None


def find_message(connection: Connection, proposal_id: str) -> Posted | None:
    """Return the message that was posted for the proposal, or None."""
    query = sa.select(discord_messages).where(
        _m.id == proposal_id, _m.kind == "proposal", _m.message_id.is_not(None)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else Posted(**row)


def find_failing(connection: Connection, tenant_ids: Collection[str]) -> dict[str, str]:
    """Return by tenant why a message that waits could not be posted or changed."""
    query = sa.select(_m.tenant_id, sa.func.max(_m.last_error)).where(
        _IS_OPEN, _m.last_error.is_not(None), _m.tenant_id.in_(tenant_ids)
    )
    return {row[0]: row[1] for row in connection.execute(query.group_by(_m.tenant_id))}


def delete_old(connection: Connection, before: float) -> None:
    """Delete the rows of messages that cannot change any more and were made before `before`."""
    old = discord_messages.delete().where(_m.next_at.is_(None), _m.created_at < before)
    connection.execute(old)


def add_notice(
    connection: Connection,
    tenant_id: str,
    text: str,
    now: float,
    *,
    link: str | None = None,
    is_alarm: bool = False,
) -> bool:
    """Have `text` posted in the tenant's channel, once, as it is but escaped.

    Return False if the tenant has no channel.

    Args:
        link: The path of a page of the console, for a button.
        is_alarm: Mention the on-call role. The caller bounds how often.
    """
    channel = channel_of(connection, tenant_id)
    if channel is None:
        return False
    kind: Kind = "alarm" if is_alarm else "notice"
    insert(connection, [(new_id(), kind, channel)], now, (text[:MAX_NOTICE], link))
    return True


def insert(
    connection: Connection,
    new: Sequence[tuple[str, Kind, Channel]],
    now: float,
    notice: tuple[str | None, str | None] = (None, None),
    *,
    is_over: bool = False,
) -> None:
    """Make the rows of messages that wait to be posted, if they do not exist yet.

    Args:
        notice: Its text and link.
        is_over: No message is posted for them.
    """
    next_at = None if is_over else now
    rows: list[tuple[object, ...]] = [
        (message_id, kind, channel.tenant_id, channel.channel_id, now, next_at, 0, False, *notice)
        for message_id, kind, channel in new
    ]
    insert_rows(connection, discord_messages, rows, "ON CONFLICT (id) DO NOTHING")
