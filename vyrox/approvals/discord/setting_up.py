"""Whether a tenant's channel at Discord works, point by point, and what to do (contract 67, A33).

`vyrox discord setup` stores a channel only if every point is right; `check` lists them all.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Final

import msgspec

from vyrox.approvals.discord.client import (
    DiscordClient,
    DiscordError,
    ForbiddenError,
    Json,
    Method,
    MissingError,
    RateLimitedError,
)
from vyrox.approvals.discord.commands import COMMANDS
from vyrox.approvals.discord.configured import Channel
from vyrox.approvals.discord.message import Evidence, embed_of, plain
from vyrox.errors import OperatorError

PERMISSIONS: Final = 1024 + 2048 + 16384 + 65536
"""View Channel, Send Messages, Embed Links, Read Message History."""

PATIENCE_S: Final = 15.0
"""How long a command waits in all for a limit of Discord."""


class Point(msgspec.Struct, frozen=True):
    """One thing that was checked.

    Attributes:
        text: What is right, or what is wrong and what to do.
    """

    name: str
    is_right: bool
    text: str


class Examined(msgspec.Struct):
    """What was learned on the way."""

    bot_user_id: str = ""
    endpoint: str | None = None


class _WrongError(Exception):
    """A point is wrong; the text says what to do."""


class Examination:
    """Checks a channel with the bot token. Each point is one function."""

    def __init__(
        self, client: DiscordClient, channel: Channel, *, keeps_message: bool = False
    ) -> None:
        """Create it.

        Args:
            channel: As it is stored, or as it would be; its `bot_user_id` may be empty.
            keeps_message: The test message stays in the channel.
        """
        self._client = client
        self._channel = channel
        self._keeps_message = keeps_message
        self.found = Examined()

    async def points(self) -> AsyncIterator[Point]:
        """Yield the points. If the token is wrong, it is the only one."""
        first = await self._point("bot token", self._token())
        yield first
        if not first.is_right:
            return
        yield await self._point("application", self._application())
        channel = await self._point("channel", self._in_guild())
        yield channel
        if self._channel.on_call_role_id is not None:
            yield await self._point("on-call role", self._role(self._channel.on_call_role_id))
        if channel.is_right:
            yield await self._point("message", self._message())

    async def set_endpoint(self, url: str) -> Point:
        """Have Discord send clicks to `url`, which it tries first."""
        return await self._point("endpoint", self._set_endpoint(url))

    async def register_commands(self) -> Point:
        """Register the slash commands for the server."""
        return await self._point("commands", self._register())

    async def _point(self, name: str, work: Awaitable[str]) -> Point:
        try:
            return Point(name, True, await work)
        except (_WrongError, DiscordError) as exc:
            return Point(name, False, str(exc))

    async def _ask(self, method: Method, path: str, body: object = None) -> Json:
        """Send a request, and wait for a limit for a while."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            try:
                return await self._client.request(method, path, body)
            except RateLimitedError as exc:
                if loop.time() + exc.after_s > deadline:
                    raise
                await asyncio.sleep(exc.after_s)

    async def _token(self) -> str:
        user = await self._ask("GET", "/users/@me")
        self.found.bot_user_id = str(user.get("id", ""))
        expected = self._channel.bot_user_id
        if expected and expected != self.found.bot_user_id:
            raise _WrongError(
                "DISCORD_BOT_TOKEN is of another bot than the one that was set up: run "
                "vyrox discord setup again"
            )
        return "Discord accepts DISCORD_BOT_TOKEN"

    async def _application(self) -> str:
        found = await self._ask("GET", "/applications/@me")
        endpoint = found.get("interactions_endpoint_url")
        self.found.endpoint = endpoint if isinstance(endpoint, str) else None
        if found.get("id") != self._channel.application_id:
            raise _WrongError(
                "DISCORD_BOT_TOKEN is of another application than DISCORD_APPLICATION_ID: take "
                "both from the same application in Discord's developer portal"
            )
        if found.get("verify_key") != self._channel.public_key:
            raise _WrongError(
                "DISCORD_PUBLIC_KEY is not the key of this application, so no click could be "
                "checked: take it from General Information in Discord's developer portal"
            )
        return "id and public key are those of the settings"

    async def _in_guild(self) -> str:
        try:
            found = await self._ask("GET", f"/channels/{self._channel.channel_id}")
        except (ForbiddenError, MissingError) as exc:
            raise _WrongError(
                f"the bot cannot see the channel {self._channel.channel_id}: check the number, and "
                f"invite the bot with {self._invitation()}"
            ) from exc
        if found.get("guild_id") != self._channel.guild_id:
            raise _WrongError(
                f"the channel is not in the server {self._channel.guild_id}: --guild is the "
                "number of the server that holds the channel"
            )
        return "the bot sees it, in this server"

    async def _role(self, role_id: str) -> str:
        found = await self._ask("GET", f"/guilds/{self._channel.guild_id}/roles")
        roles = found.get("items")
        for role in roles if isinstance(roles, list) else []:
            if isinstance(role, dict) and role.get("id") == role_id:
                if role.get("mentionable") is not True:
                    raise _WrongError(
                        "the role cannot be mentioned: allow anyone to mention it, in its settings"
                    )
                return "it exists and can be mentioned"
        raise _WrongError(f"the server has no role {role_id}")

    async def _message(self) -> str:
        path = f"/channels/{self._channel.channel_id}/messages"
        tenant = plain(self._channel.tenant_id, 300)
        sent: Json = {
            "content": f"A test: Vyrox will ask here for approvals of {tenant}, once it is set up.",
            "embeds": [embed_of(Evidence("Evidence is shown like this", (("Why", ("a test",)),)))],
            "allowed_mentions": {"parse": []},
        }
        try:
            posted = await self._ask("POST", path, sent)
        except ForbiddenError as exc:
            raise _WrongError(
                "the bot may not post in the channel: allow it View Channel, Send Messages, Embed "
                "Links and Read Message History there"
            ) from exc
        try:
            return await self._read_back(f"{path}/{posted.get('id')}", sent)
        finally:
            if not self._keeps_message:
                await self._ask("DELETE", f"{path}/{posted.get('id')}")

    async def _read_back(self, path: str, sent: Json) -> str:
        try:
            found = await self._ask("GET", path)
        except ForbiddenError as exc:
            raise _WrongError(
                "the bot may not read the channel: allow it Read Message History there"
            ) from exc
        if found.get("content") != sent["content"]:
            raise _WrongError("Discord has stored another text than Vyrox sent")
        if not found.get("embeds"):
            raise _WrongError(
                "Discord leaves out the evidence: allow the bot Embed Links in the channel"
            )
        return "a test message was posted and read back"

    async def _set_endpoint(self, url: str) -> str:
        try:
            await self._ask("PATCH", "/applications/@me", {"interactions_endpoint_url": url})
        except DiscordError as exc:
            raise _WrongError(
                f"Discord does not take {url} for clicks: the service must be running with the "
                f"same DISCORD_PUBLIC_KEY, and be reached there from the internet ({exc})"
            ) from exc
        return f"Discord sends clicks to {url}"

    async def _register(self) -> str:
        channel = self._channel
        path = f"/applications/{channel.application_id}/guilds/{channel.guild_id}/commands"
        try:
            await self._ask("PUT", path, COMMANDS)
        except ForbiddenError as exc:
            raise _WrongError(
                f"the bot may not add commands: invite it again with {self._invitation()}"
            ) from exc
        return "/vyrox is registered for the server"

    def _invitation(self) -> str:
        return (
            "https://discord.com/oauth2/authorize?scope=bot%20applications.commands"
            f"&client_id={self._channel.application_id}&permissions={PERMISSIONS}"
        )


async def set_up(client: DiscordClient, channel: Channel, endpoint: str) -> Channel:
    """Check everything, register the commands and the endpoint; return the channel to store.

    Raises:
        OperatorError: A point is wrong. The text says which, and what to do.
    """
    examination = Examination(client, channel, keeps_message=True)
    async for point in examination.points():
        _require(point)
    _require(await examination.register_commands())
    _require(await examination.set_endpoint(endpoint))
    return msgspec.structs.replace(channel, bot_user_id=examination.found.bot_user_id)


async def check(client: DiscordClient, channel: Channel, endpoint: str | None) -> list[Point]:
    """Return every point, and where Discord sends clicks.

    Args:
        endpoint: Where clicks should go; None: it is not known.
    """
    examination = Examination(client, channel)
    points = [point async for point in examination.points()]
    if points[0].is_right:
        points.append(_endpoint_point(examination.found.endpoint, endpoint))
    return points


def _endpoint_point(found: str | None, wanted: str | None) -> Point:
    if found is None:
        text = "Discord sends no clicks: it has removed the endpoint, or none was set. Run vyrox "
        return Point("endpoint", False, f"{text}discord setup again, while the service runs")
    if wanted is not None and found != wanted:
        text = f"Discord sends clicks to {found}, and PUBLIC_URL says {wanted}"
        return Point("endpoint", False, text)
    return Point("endpoint", True, f"Discord sends clicks to {found}")


def _require(point: Point) -> None:
    if not point.is_right:
        raise OperatorError(f"{point.name}: {point.text}; nothing was stored")
