"""The channel at the fake Discord: what is shown there, and what Jane does there."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

import httpx
import msgspec

from vyrox.errors import OperatorError
from vyrox.trial.demo.servers import Discord

ACCOUNT: Final = "80351110224678912"
"""Jane's account at Discord."""

SHOWN_WITHIN_S: Final = 30.0
PAUSE_S: Final = 0.1

T = TypeVar("T")


class _Button(msgspec.Struct, frozen=True):
    label: str = ""
    url: str = ""


class _Row(msgspec.Struct, frozen=True):
    components: list[_Button]


class Shown(msgspec.Struct, frozen=True):
    """A message, as the channel shows it."""

    id: str
    content: str
    components: list[_Row]

    @property
    def buttons(self) -> list[str]:
        """The labels of the buttons that Vyrox gets."""
        return [each.label for row in self.components for each in row.components if not each.url]


class _Response(msgspec.Struct, frozen=True):
    """What Vyrox responded to an interaction, and whether Discord has shown it."""

    is_shown: bool
    data: dict[str, object]


class Channel:
    """The channel that `vyrox discord setup` names."""

    def __init__(self, discord: Discord) -> None:
        self.guild_id = discord.guild_id
        self.id = discord.channel_id
        self._url = f"{discord.url}/_fake"

    def register(self, code: str) -> None:
        """Let Jane type `/vyrox register CODE`. Raises OperatorError."""
        body = {"name": "register", "user": ACCOUNT, "options": {"code": code}}
        self._act("slash", body)

    def approve(self, shown: Shown) -> None:
        """Let Jane press Approve. Raises OperatorError."""
        self._act("press", {"message": shown.id, "button": "a", "user": ACCOUNT})

    def reject(self, shown: Shown, comment: str) -> None:
        """Let Jane press Reject, and say why. Raises OperatorError."""
        body = {"message": shown.id, "button": "r", "user": ACCOUNT, "comment": comment}
        self._act("press", body)

    def wait_for(self, is_wanted: Callable[[Shown], bool]) -> Shown:
        """Return the first message that is wanted, as soon as it is shown.

        Raises:
            OperatorError: There was none within SHOWN_WITHIN_S.
        """
        return self._wait_until(lambda shown: next(filter(is_wanted, shown), None))

    def wait_for_none(self) -> None:
        """Return when no message has buttons any more. Raises OperatorError, as `wait_for`."""
        self._wait_until(lambda shown: all(not each.buttons for each in shown))

    def _wait_until(self, found: Callable[[list[Shown]], T | None]) -> T:
        deadline = time.monotonic() + SHOWN_WITHIN_S
        while time.monotonic() < deadline:
            if result := found(list(self._messages())):
                return result
            time.sleep(PAUSE_S)  # the fake reports no message to other programs
        raise OperatorError(f"Discord does not show it: {list(self._messages())}")

    def _messages(self) -> Iterator[Shown]:
        response = httpx.get(f"{self._url}/messages", trust_env=False)
        yield from msgspec.json.decode(response.content, type=dict[str, list[Shown]])[self.id]

    def _act(self, what: str, body: Mapping[str, object]) -> None:
        response = httpx.post(f"{self._url}/{what}", json=body, trust_env=False, timeout=10)
        if response.status_code == httpx.codes.OK:
            answer = msgspec.json.decode(response.content, type=_Response)
            if answer.is_shown:
                return
        raise OperatorError(f"Vyrox did not take it: {response.text}")
