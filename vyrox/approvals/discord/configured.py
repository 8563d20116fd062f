"""The channel in which a tenant's proposals are shown (contract 67, A33 and A34)."""

import re
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.approvals.events import draft
from vyrox.chain.writer import append
from vyrox.errors import InvalidRequestError, NotFoundError, NotPossibleError
from vyrox.store.locks import lock
from vyrox.store.tables import discord_channels, discord_messages
from vyrox.tenants.known import is_known

_SNOWFLAKE: Final = re.compile(r"[0-9]{17,20}")
_PUBLIC_KEY: Final = re.compile(r"[0-9a-f]{64}")

_c: Final = discord_channels.c
_m: Final = discord_messages.c


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's channel, and the application that posts there.

    Attributes:
        public_key: Of the application, in hex: what a click is checked with.
        bot_user_id: The author of Vyrox's messages.
        on_call_role_id: The only role that a message mentions.
        shows_review: Whether incidents in review get a message without buttons.
    """

    tenant_id: str
    application_id: str
    public_key: str
    guild_id: str
    channel_id: str
    bot_user_id: str
    on_call_role_id: str | None = None
    shows_review: bool = True
    configured_at: float = 0.0


def is_snowflake(text: str) -> bool:
    """Return whether `text` is a number as Discord gives to everything."""
    return _SNOWFLAKE.fullmatch(text) is not None


def channel_of(connection: Connection, tenant_id: str) -> Channel | None:
    """Return the tenant's channel, or None if it has none."""
    return _find(connection, _c.tenant_id == tenant_id)


def find_channel(connection: Connection, guild_id: str, channel_id: str) -> Channel | None:
    """Return the channel with these ids, which belongs to one tenant, or None."""
    return _find(connection, sa.and_(_c.guild_id == guild_id, _c.channel_id == channel_id))


def list_channels(connection: Connection) -> list[Channel]:
    """Return the channels of all tenants."""
    query = sa.select(discord_channels).order_by(_c.tenant_id)
    return [Channel(**row) for row in connection.execute(query).mappings()]


def configure(connection: Connection, channel: Channel, by: str, now: float) -> Channel:
    """Store a tenant's channel in place of the one it had, with an event.

    What waits to be posted goes to the new one: the former may be another tenant's soon.

    Raises:
        NotFoundError: The tenant is not known.
        InvalidRequestError: A value has not the form of what it should be.
        NotPossibleError: The channel belongs to another tenant.
    """
    lock(connection, "containments")
    if not is_known(connection, channel.tenant_id):
        raise NotFoundError(f"there is no tenant {channel.tenant_id}")
    check_form(channel)
    taken = _find(connection, _c.channel_id == channel.channel_id)
    if taken is not None and taken.tenant_id != channel.tenant_id:
        raise NotPossibleError("another tenant uses this channel: each needs a channel of its own")
    stored = msgspec.structs.replace(channel, configured_at=now)
    connection.execute(discord_channels.delete().where(_c.tenant_id == channel.tenant_id))
    connection.execute(discord_channels.insert().values(msgspec.structs.asdict(stored)))
    moved = discord_messages.update().where(_is_unposted(channel.tenant_id))
    connection.execute(moved.values(channel_id=channel.channel_id))
    event = draft(
        "discord.configured",
        channel.tenant_id,
        None,
        application_id=channel.application_id,
        public_key=channel.public_key,
        guild_id=channel.guild_id,
        channel_id=channel.channel_id,
        bot_user_id=channel.bot_user_id,
        by=by,
    )
    append(connection, [event], now)
    return stored


def remove(connection: Connection, tenant_id: str, by: str, now: float) -> None:
    """Remove the tenant's channel, with an event. No click counts, and nothing new is posted there.

    Raises:
        NotFoundError: The tenant has none.
    """
    lock(connection, "containments")
    channel = channel_of(connection, tenant_id)
    if channel is None:
        raise NotFoundError(f"{tenant_id} has no channel at Discord")
    connection.execute(discord_channels.delete().where(_c.tenant_id == tenant_id))
    connection.execute(discord_messages.delete().where(_is_unposted(tenant_id)))
    event = draft("discord.removed", tenant_id, None, channel_id=channel.channel_id, by=by)
    append(connection, [event], now)


def _find(connection: Connection, condition: sa.ColumnElement[bool]) -> Channel | None:
    row = connection.execute(sa.select(discord_channels).where(condition)).mappings().first()
    return None if row is None else Channel(**row)


def _is_unposted(tenant_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_m.tenant_id == tenant_id, _m.message_id.is_(None), _m.next_at.is_not(None))


def check_form(channel: Channel) -> None:
    """Return if each value has the form of what it should be. Raises InvalidRequestError."""
    ids = {
        "application": channel.application_id,
        "guild": channel.guild_id,
        "channel": channel.channel_id,
        "bot user": channel.bot_user_id,
        "on-call role": channel.on_call_role_id,
    }
    for name, value in ids.items():
        if value is not None and not is_snowflake(value):
            raise InvalidRequestError(f"the {name} is not a number of 17 to 20 digits")
    if _PUBLIC_KEY.fullmatch(channel.public_key) is None:
        raise InvalidRequestError("the public key is not 64 lower-case hex digits")
