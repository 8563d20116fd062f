"""The REST API of the fake Discord, version 10, as far as Vyrox uses it, and faults on demand."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from vyrox.clock import Clock, monotonic_clock, wall_clock
from vyrox.trial.fake_discord.buckets import Buckets
from vyrox.trial.fake_discord.clicks import Clicks
from vyrox.trial.fake_discord.control import create_routes
from vyrox.trial.fake_discord.faults import Fault
from vyrox.trial.fake_discord.limits import check_message
from vyrox.trial.fake_discord.world import Json, RefusedError, World
from vyrox.trial.mock_edr.delivery import RESET

API: Final = "/api/v10"


class FakeDiscord:
    """A fake Discord as an ASGI application.

    Attributes:
        app: The application: the API at `/api/v10`, and what tests and people do at `/_fake`.
        requests: Method and path of all requests to the API, in order.
        faults: Those still to come; the first counts.
    """

    def __init__(self, clock: Clock = monotonic_clock, wall: Clock = wall_clock) -> None:
        self.world = World(clock)
        self.buckets = Buckets(clock)
        self.clicks = Clicks(self.world, wall)
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.app = Starlette(
            routes=[
                Mount("/_fake", routes=create_routes(self.world, self.clicks, self.faults)),
                Mount(API, self),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to the API."""
        request = Request(scope, receive)
        path = scope["path"].removeprefix(API)
        self.requests.append((request.method, path))
        fault = self._take_fault()
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        if fault is not None and fault.kind in {"status", "away"}:
            response = Response(status_code=fault.status)
        else:
            response = await self._respond(request, path)
        if fault is not None and fault.kind in {"lost", "away"}:
            await _end(scope, receive)
            return
        await response(scope, receive, send)

    def _take_fault(self) -> Fault | None:
        if not self.faults:
            return None
        fault = self.faults[0]
        fault.count -= 1
        if fault.count == 0:
            self.faults.pop(0)
        return fault

    async def _respond(self, request: Request, path: str) -> Response:
        headers: dict[str, str] = {}
        try:
            route, groups = _find(request.method, path)
            self._check_sender(request)
            headers, limited = self.buckets.take(route.name, groups[0] if groups else "")
            if limited is not None:
                return _json(429, limited, headers)
            body = msgspec.json.decode(await request.body() or b"{}")
            return _json(200, await route.answer(self, groups, body), headers)
        except RefusedError as exc:
            return _json(exc.status, exc.body, headers)
        except (ValueError, TypeError, KeyError, AttributeError):
            return _json(400, {"message": "Invalid Form Body", "code": 50035}, headers)

    def _check_sender(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bot {self.world.bot_token}":
            raise RefusedError(401, 0, "401: Unauthorized")
        if not request.headers.get("user-agent", "").startswith("DiscordBot ("):
            raise RefusedError(403, 40333, "internal network error")

    async def application(self, _groups: tuple[str, ...], _body: Json) -> Json:
        """`GET /applications/@me`."""
        world = self.world
        return {
            "id": world.application_id,
            "name": "vyrox",
            "verify_key": world.public_key,
            "interactions_endpoint_url": world.endpoint,
            "bot": {"id": world.bot_user_id, "username": "vyrox", "bot": True},
        }

    async def set_endpoint(self, groups: tuple[str, ...], body: Json) -> Json:
        """`PATCH /applications/@me`: the new endpoint is tried before it is taken."""
        url = body.get("interactions_endpoint_url")
        if isinstance(url, str):
            why = await self.clicks.check_endpoint(url)
            if why is not None:
                words = "The specified interactions endpoint url could not be verified."
                found = [{"code": "APPLICATION_INTERACTIONS_ENDPOINT_URL_INVALID", "message": why}]
                errors = {"interactions_endpoint_url": {"_errors": found}}
                raise RefusedError(400, 50035, f"Invalid Form Body. {words}", errors)
        self.world.endpoint = url
        return await self.application(groups, body)

    async def user(self, _groups: tuple[str, ...], _body: Json) -> Json:
        """`GET /users/@me`."""
        return {"id": self.world.bot_user_id, "username": "vyrox", "bot": True}

    async def show_channel(self, groups: tuple[str, ...], _body: Json) -> Json:
        """`GET /channels/ID`."""
        channel = self.world.channel(groups[0])
        return {"id": channel.id, "guild_id": channel.guild_id, "type": 0, "name": "approvals"}

    async def roles(self, groups: tuple[str, ...], _body: Json) -> list[Json]:
        """`GET /guilds/ID/roles`."""
        self._check_guild(groups[0])
        return [
            {"id": self.world.guild_id, "name": "@everyone", "mentionable": False},
            {
                "id": self.world.role_id,
                "name": "on-call",
                "mentionable": self.world.is_mentionable,
            },
        ]

    async def post(self, groups: tuple[str, ...], body: Json) -> Json:
        """`POST /channels/ID/messages`."""
        check_message(body, is_new=True)
        return self.world.post(groups[0], body)

    async def show(self, groups: tuple[str, ...], _body: Json) -> Json:
        """`GET /channels/ID/messages/ID`."""
        return self.world.message(groups[0], groups[1])

    async def edit(self, groups: tuple[str, ...], body: Json) -> Json:
        """`PATCH /channels/ID/messages/ID`."""
        message = self.world.message(groups[0], groups[1])
        check_message(body, is_new=False)
        message["edited_timestamp"] = "2026-01-01T00:00:00+00:00"
        return self.world.change(self.world.channel(groups[0]), message, body)

    async def delete(self, groups: tuple[str, ...], _body: Json) -> Json:
        """`DELETE /channels/ID/messages/ID`."""
        self.world.message(groups[0], groups[1])
        return dict(self.world.channel(groups[0]).messages.pop(groups[1]))

    async def register(self, groups: tuple[str, ...], body: list[Json]) -> list[Json]:
        """`PUT /applications/ID/guilds/ID/commands`."""
        if groups[0] != self.world.application_id or not self.world.can_command:
            raise RefusedError(403, 20012, "You are not authorized to perform this action")
        self._check_guild(groups[1])
        for command in body:
            if not re.fullmatch(r"[a-z_-]{1,32}", command["name"]) or not command["description"]:
                raise RefusedError(400, 50035, "Invalid Form Body")
        self.world.commands[groups[1]] = body
        return body

    def _check_guild(self, guild_id: str) -> None:
        if guild_id != self.world.guild_id:
            raise RefusedError(403, 50001, "Missing Access")


_Answer = Callable[[FakeDiscord, tuple[str, ...], Any], Awaitable[object]]


class _Call(msgspec.Struct, frozen=True):
    name: str
    method: str
    path: re.Pattern[str]
    answer: _Answer


def _call(name: str, path: str, answer: _Answer) -> _Call:
    method, _, rest = path.partition(" ")
    return _Call(name, method, re.compile(re.sub("ID", "([0-9]{1,20})", rest)), answer)


_CALLS: Final = (
    _call("application", "GET /applications/@me", FakeDiscord.application),
    _call("endpoint", "PATCH /applications/@me", FakeDiscord.set_endpoint),
    _call("user", "GET /users/@me", FakeDiscord.user),
    _call("channel", "GET /channels/ID", FakeDiscord.show_channel),
    _call("roles", "GET /guilds/ID/roles", FakeDiscord.roles),
    _call("post", "POST /channels/ID/messages", FakeDiscord.post),
    _call("show", "GET /channels/ID/messages/ID", FakeDiscord.show),
    _call("edit", "PATCH /channels/ID/messages/ID", FakeDiscord.edit),
    _call("delete", "DELETE /channels/ID/messages/ID", FakeDiscord.delete),
    _call("commands", "PUT /applications/ID/guilds/ID/commands", FakeDiscord.register),
)


def _find(method: str, path: str) -> tuple[_Call, tuple[str, ...]]:
    for call in _CALLS:
        match = call.path.fullmatch(path)
        if match is not None and call.method == method:
            return call, match.groups()
    raise RefusedError(404, 0, "404: Not Found")


def _json(status: int, body: object, headers: dict[str, str]) -> Response:
    content = msgspec.json.encode(body)
    return Response(content, status, headers, media_type="application/json")


async def _end(scope: Scope, receive: Receive) -> None:
    """End the connection without a response."""
    end = scope.get("state", {}).get(RESET)
    if end is None:
        raise httpx.ReadError("ended by the fake")
    end()
    await receive()
