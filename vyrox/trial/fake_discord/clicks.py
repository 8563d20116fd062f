"""What people do at the fake Discord: it makes the interaction, signs it, and posts it.

The response is applied as Discord does it: type 7 changes the message, type 4 is shown to one
person if it is ephemeral, type 9 opens a modal. A response after 3 s counts for nothing.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec

from vyrox.clock import Clock, wall_clock
from vyrox.trial.fake_discord.limits import check_message
from vyrox.trial.fake_discord.world import Json, RefusedError, World

TIMEOUT_S: Final = 3.0
MAX_RESPONSE: Final = 1 << 20

PING, COMMAND, COMPONENT, MODAL = 1, 2, 3, 5
MESSAGE_ANSWER, DEFERRED_UPDATE, UPDATE, MODAL_ANSWER = 4, 6, 7, 9
EPHEMERAL: Final = 64

Alter = Callable[[Json], None]


class Answer(msgspec.Struct, frozen=True):
    """What the service responded to an interaction.

    Attributes:
        status: 0 if there was no response within 3 s.
        kind: The type of the response.
        is_shown: Whether Discord has applied it.
    """

    status: int
    kind: int | None = None
    data: Json = {}
    is_shown: bool = False

    @property
    def content(self) -> str:
        """The text of the response."""
        return str(self.data.get("content", ""))

    @property
    def is_ephemeral(self) -> bool:
        """Whether only the person who did it sees the response."""
        return bool(self.data.get("flags", 0) & EPHEMERAL)


class Clicks:
    """Signs interactions with the application's key and sends them to its endpoint."""

    def __init__(self, world: World, clock: Clock = wall_clock) -> None:
        """`clock` makes the signed timestamps."""
        self._world = world
        self._clock = clock

    async def press(
        self,
        message_id: str,
        button: str,
        user_id: str,
        *,
        comment: str | None = None,
        channel_id: str | None = None,
        alter: Alter | None = None,
    ) -> Answer:
        """Press a button, and if that opens a modal, submit it with `comment`.

        Args:
            button: The whole `custom_id`, or what follows `v1:` in it, as `a`.
            comment: None: a modal is closed again.
            alter: Changes the interaction before it is signed.
        """
        message = self._world.message(channel_id or self._world.channel_id, message_id)
        custom_id = _custom_id(message, button)
        data = {"component_type": 2, "custom_id": custom_id, "id": 2}
        answer = await self.interact(COMPONENT, data, user_id, message, alter)
        if answer.kind != MODAL_ANSWER or comment is None:
            return answer
        return await self.submit(answer, comment, user_id, message, alter)

    async def submit(
        self, modal: Answer, comment: str, user_id: str, message: Json, alter: Alter | None = None
    ) -> Answer:
        """Submit the modal that the service has opened."""
        fields = [
            {
                "type": 1,
                "id": 1,
                "components": [{"type": 4, "id": 2, "custom_id": each, "value": comment}],
            }
            for each in _inputs(modal.data)
        ]
        data = {"custom_id": modal.data["custom_id"], "components": fields}
        return await self.interact(MODAL, data, user_id, message, alter)

    async def slash(
        self,
        name: str,
        user_id: str,
        options: dict[str, str] | None = None,
        *,
        channel_id: str | None = None,
        alter: Alter | None = None,
    ) -> Answer:
        """Use `/vyrox NAME`. Discord refuses what `discord setup` has not registered."""
        commands = self._world.commands.get(self._world.guild_id, [])
        known = [each["name"] for command in commands for each in command.get("options", [])]
        if name not in known:
            raise RefusedError(404, 10063, "Unknown Application Command")
        values = [{"name": key, "type": 3, "value": text} for key, text in (options or {}).items()]
        data: Json = {
            "id": self._world.new_id(),
            "name": commands[0]["name"],
            "type": 1,
            "guild_id": self._world.guild_id,
            "options": [{"name": name, "type": 1, "options": values}],
        }
        place = None if channel_id is None else {"channel_id": channel_id}
        return await self.interact(COMMAND, data, user_id, place, alter)

    async def interact(
        self,
        kind: int,
        data: Json,
        user_id: str,
        message: Json | None = None,
        alter: Alter | None = None,
    ) -> Answer:
        """Send one interaction, and apply the response."""
        channel_id = self._world.channel_id if message is None else message["channel_id"]
        interaction = self.interaction(kind, data, user_id, channel_id)
        if message is not None and "id" in message:
            interaction["message"] = message
        if alter is not None:
            alter(interaction)
        answer = await self.send(msgspec.json.encode(interaction))
        return self._applied(answer, user_id, interaction.get("message"))

    def interaction(self, kind: int, data: Json, user_id: str, channel_id: str) -> Json:
        """Return an interaction as Discord writes it."""
        return {
            "app_permissions": "2222085186636353",
            "application_id": self._world.application_id,
            "authorizing_integration_owners": {"0": self._world.guild_id},
            "channel": {"id": channel_id, "guild_id": self._world.guild_id, "type": 0},
            "channel_id": channel_id,
            "context": 0,
            "data": data,
            "entitlements": [],
            "guild": {"id": self._world.guild_id, "locale": "en-US", "features": []},
            "guild_id": self._world.guild_id,
            "guild_locale": "en-US",
            "id": self._world.new_id(),
            "locale": "en-US",
            "member": {
                "user": {
                    "id": user_id,
                    "username": f"user{user_id[-4:]}",
                    "global_name": None,
                    "discriminator": "0",
                },
                "roles": [self._world.role_id],
                "permissions": "2222085186636353",
                "nick": None,
            },
            "token": f"fake-interaction-token-{self._world.new_id()}",
            "type": kind,
            "version": 1,
        }

    def signed(self, body: bytes, timestamp: str | None = None) -> dict[str, str]:
        """Return the headers of a body."""
        timestamp = timestamp or str(int(self._clock()))
        signature = self._world.key.sign(timestamp.encode() + body).hex()
        return {
            "content-type": "application/json",
            "user-agent": "Discord-Interactions/1.0 (+https://discord.com)",
            "x-signature-ed25519": signature,
            "x-signature-timestamp": timestamp,
        }

    async def send(self, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        """Post a body to the endpoint, by default rightly signed."""
        if self._world.endpoint is None:
            raise RefusedError(400, 0, "The application has no interactions endpoint URL")
        return await self.post(self._world.endpoint, body, headers)

    async def post(self, url: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        """Post a body to `url`, by default rightly signed."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as http:
                response = await http.post(url, content=body, headers=headers or self.signed(body))
        except httpx.HTTPError:
            return Answer(0)
        try:
            decoded = msgspec.json.decode(response.content[:MAX_RESPONSE], type=Json)
        except ValueError:
            return Answer(response.status_code)
        kind, data = decoded.get("type"), decoded.get("data") or {}
        return Answer(response.status_code, kind if isinstance(kind, int) else None, data)

    async def check_endpoint(self, url: str) -> str | None:
        """Return why Discord does not take the endpoint, or None: it is pinged, and attacked."""
        ping = msgspec.json.encode({**self.interaction(PING, {}, "0", "0"), "data": None})
        wrong = self.signed(ping + b" ")
        attacked = await self.post(url, ping, wrong)
        if attacked.status != 401:
            return f"a bad signature got {attacked.status or 'no response'}, not 401"
        pinged = await self.post(url, ping)
        if (pinged.status, pinged.kind) != (200, PING):
            return f"a ping got {pinged.status or 'no response'} and type {pinged.kind}"
        return None

    def _applied(self, answer: Answer, user_id: str, message: Json | None) -> Answer:
        if answer.status != 200:
            return answer
        if answer.kind == UPDATE and message is not None:
            check_message(answer.data, is_new=False)
            channel = self._world.channel(message["channel_id"])
            stored = channel.messages.get(message["id"])
            if stored is not None:
                self._world.change(channel, stored, answer.data)
        elif answer.kind == MESSAGE_ANSWER:
            check_message({**answer.data, "components": []}, is_new=True)
            if answer.is_ephemeral:
                self._world.seen.append((user_id, answer.data))
            else:
                self._world.post(self._world.channel_id, answer.data)
        return msgspec.structs.replace(answer, is_shown=True)


def _custom_id(message: Json, button: str) -> str:
    ids = [each.get("custom_id", "") for row in message["components"] for each in row["components"]]
    wanted = [each for each in ids if button == each or each.startswith(f"v1:{button}:")]
    if not wanted:
        raise RefusedError(404, 0, f"the message has no button {button[:100]}")
    return str(wanted[0])


def _inputs(data: dict[str, Any]) -> list[str]:
    """Return the `custom_id` of each text field of a modal, in a row or in a label."""
    encoded = msgspec.json.encode(data.get("components") or []).decode()
    return re.findall(r'"custom_id":"([^"]+)"', encoded)
