"""What the fake Discord holds: an application with its key, a server, channels and messages."""

import itertools
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vyrox.clock import Clock, monotonic_clock

Json = dict[str, Any]

NONCE_S: Final = 180.0
"""How long a nonce is remembered. Discord says: the past few minutes."""


class RefusedError(Exception):
    """A request that Discord refuses, with its status, its code and its words."""

    def __init__(
        self, status: int, code: int, message: str, errors: object = None, **more: object
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"message": message, "code": code, **more}
        if errors is not None:
            self.body["errors"] = errors


@dataclass
class FakeChannel:
    """A text channel.

    Attributes:
        can_view: Whether the bot sees it.
        can_send: Whether the bot may post there.
        can_embed: The permission Embed Links: without it, embeds are left out without a word.
        mangles: Discord stores another text than it was sent.
    """

    id: str
    guild_id: str
    can_view: bool = True
    can_send: bool = True
    can_embed: bool = True
    mangles: bool = False
    messages: dict[str, Json] = field(default_factory=dict)
    nonces: dict[str, tuple[float, str]] = field(default_factory=dict)


class World:
    """Everything, in memory.

    Attributes:
        endpoint: Where interactions are sent, once it was accepted.
        seen: What only one person was shown: the ephemeral responses, by user.
        pinged: The roles that were mentioned, in order.
        is_mentionable: Whether anyone may mention the role.
        can_command: Whether the bot may register slash commands.
    """

    def __init__(self, clock: Clock = monotonic_clock) -> None:
        self.clock = clock
        self._numbers = itertools.count(1)
        self.key = Ed25519PrivateKey.generate()
        self.application_id = self.new_id()
        self.bot_user_id = self.application_id
        self.guild_id = self.new_id()
        self.role_id = self.new_id()
        self.bot_token = f"fake-bot-token.{self.new_id()}"
        self.endpoint: str | None = None
        self.commands: dict[str, list[Json]] = {}
        self.seen: list[tuple[str, Json]] = []
        self.pinged: list[str] = []
        self.is_mentionable = True
        self.can_command = True
        self.channels: dict[str, FakeChannel] = {}
        self.channel_id = self.add_channel().id

    @property
    def public_key(self) -> str:
        """The application's public key, in hex."""
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        return self.key.public_key().public_bytes(*raw).hex()

    def new_id(self) -> str:
        """Return a new snowflake."""
        return str(1_100_000_000_000_000_000 + next(self._numbers))

    def add_channel(self) -> FakeChannel:
        """Make one more channel in the server."""
        channel = FakeChannel(self.new_id(), self.guild_id)
        self.channels[channel.id] = channel
        return channel

    def channel(self, channel_id: str) -> FakeChannel:
        """Return a channel that the bot can see. Raises RefusedError."""
        channel = self.channels.get(channel_id)
        if channel is None:
            raise RefusedError(404, 10003, "Unknown Channel")
        if not channel.can_view:
            raise RefusedError(403, 50001, "Missing Access")
        return channel

    def message(self, channel_id: str, message_id: str) -> Json:
        """Return a message. Raises RefusedError."""
        message = self.channel(channel_id).messages.get(message_id)
        if message is None:
            raise RefusedError(404, 10008, "Unknown Message")
        return message

    def messages(self, channel_id: str | None = None) -> list[Json]:
        """Return the messages of a channel, by default of the first, in order."""
        return list(self.channels[channel_id or self.channel_id].messages.values())

    def post(self, channel_id: str, body: Json) -> Json:
        """Post a message, or return the one with the same nonce."""
        channel = self.channel(channel_id)
        if not channel.can_send:
            raise RefusedError(403, 50013, "Missing Permissions")
        nonce = body.get("nonce")
        if nonce is not None and body.get("enforce_nonce") is True:
            at, earlier = channel.nonces.get(str(nonce), (0.0, ""))
            if earlier in channel.messages and self.clock() - at < NONCE_S:
                return channel.messages[earlier]
        message: Json = {
            "id": self.new_id(),
            "type": 0,
            "channel_id": channel.id,
            "author": {
                "id": self.bot_user_id,
                "username": "vyrox",
                "discriminator": "0001",
                "bot": True,
            },
            "content": "",
            "components": [],
            "embeds": [],
            "mentions": [],
            "mention_roles": [],
            "mention_everyone": False,
            "edited_timestamp": None,
            "flags": 0,
        }
        if nonce is not None:
            message["nonce"] = nonce
            channel.nonces[str(nonce)] = (self.clock(), message["id"])
        self.change(channel, message, body)
        message["mention_roles"] = self._mentioned(body)
        self.pinged += message["mention_roles"]
        channel.messages[message["id"]] = message
        return message

    def change(self, channel: FakeChannel, message: Json, body: Json) -> Json:
        """Apply a body to a message. What the body leaves out stays, also the buttons."""
        if "content" in body:
            text = str(body["content"] or "").strip()
            message["content"] = text.replace(":", " :") if channel.mangles else text
        if "components" in body:
            message["components"] = body["components"] or []
        if "embeds" in body:
            message["embeds"] = (body["embeds"] or []) if channel.can_embed else []
        return message

    def _mentioned(self, body: Json) -> list[str]:
        """Return the roles that the message mentions, as `allowed_mentions` allows."""
        allowed = body.get("allowed_mentions")
        named = [self.role_id] if f"<@&{self.role_id}>" in str(body.get("content")) else []
        if not isinstance(allowed, dict):
            return named
        if "roles" in (allowed.get("parse") or []):
            return named
        return [role for role in named if role in (allowed.get("roles") or [])]
