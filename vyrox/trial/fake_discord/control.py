"""What a test or a person in another process does at the fake Discord. All bodies are JSON."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox.trial.fake_discord.clicks import Clicks
from vyrox.trial.fake_discord.faults import Fault
from vyrox.trial.fake_discord.world import Json, RefusedError, World

UserId = Annotated[str, msgspec.Meta(pattern="^[0-9]{17,20}$")]
"""As Discord numbers its accounts."""


class Press(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A click, and what is written into the modal that it opens.

    Attributes:
        button: `a`, `r`, `i`, or a whole `custom_id`.
    """

    message: str
    button: str
    user: UserId
    comment: str | None = None
    channel: str | None = None


class Slash(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`/vyrox NAME`."""

    name: str
    user: UserId
    options: dict[str, str] = {}
    channel: str | None = None


def create_routes(world: World, clicks: Clicks, faults: list[Fault]) -> list[BaseRoute]:
    """Return the routes. Each is one function below."""

    async def show_messages(_body: bytes) -> object:
        return {channel: world.messages(channel) for channel in world.channels}

    async def show_seen(_body: bytes) -> object:
        return [{"user": user, "data": data} for user, data in world.seen]

    async def press(body: bytes) -> object:
        asked = msgspec.json.decode(body, type=Press)
        return await clicks.press(
            asked.message,
            asked.button,
            asked.user,
            comment=asked.comment,
            channel_id=asked.channel,
        )

    async def slash(body: bytes) -> object:
        asked = msgspec.json.decode(body, type=Slash)
        return await clicks.slash(asked.name, asked.user, asked.options, channel_id=asked.channel)

    async def plan(body: bytes) -> object:
        faults.append(msgspec.json.decode(body, type=Fault))
        return faults

    async def clear(_body: bytes) -> object:
        faults.clear()
        return faults

    return [
        _route("/messages", "GET", show_messages),
        _route("/seen", "GET", show_seen),
        _route("/press", "POST", press),
        _route("/slash", "POST", slash),
        _route("/faults", "POST", plan),
        _route("/faults", "DELETE", clear),
    ]


def _route(path: str, method: str, answer: Callable[[bytes], Awaitable[object]]) -> Route:
    async def respond(request: Request) -> Response:
        try:
            status, content = 200, await answer(await request.body())
        except RefusedError as exc:
            status, content = exc.status, exc.body
        except ValueError as exc:
            status, content = 400, {"message": str(exc)}
        return Response(msgspec.json.encode(content), status, media_type="application/json")

    return Route(path, respond, methods=[method])


def settings(world: World, url: str) -> dict[str, str]:
    """Return the environment of a service that uses the fake."""
    return {
        "DISCORD_TEST_URL": url,
        "DISCORD_APPLICATION_ID": world.application_id,
        "DISCORD_PUBLIC_KEY": world.public_key,
        "DISCORD_BOT_TOKEN": world.bot_token,
    }


def inventory(world: World, url: str) -> Json:
    """Return what the demo needs to know of the fake."""
    return {
        "url": url,
        "application_id": world.application_id,
        "public_key": world.public_key,
        "bot_token": world.bot_token,
        "guild_id": world.guild_id,
        "channel_id": world.channel_id,
        "on_call_role_id": world.role_id,
    }
