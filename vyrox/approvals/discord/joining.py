"""Brings the messages at Discord up to date, beside everything else (contract 67, A31 and A32).

Each channel has a task of its own, so one that Discord limits does not hold up another. Only the
container that has claimed a message sends it. If it is killed after that, another sends the message
again after `due.CLAIM_S`, with the same nonce, which Discord takes for a repeat.
"""

import asyncio
import itertools
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from vyrox import log
from vyrox.approvals.discord import due
from vyrox.approvals.discord.client import (
    AwayError,
    DiscordClient,
    DiscordError,
    Json,
    MissingError,
    RateLimitedError,
    RefusedError,
)
from vyrox.approvals.discord.configured import is_snowflake
from vyrox.approvals.discord.due import Sent, Work
from vyrox.approvals.discord.message import nonce_of
from vyrox.approvals.discord.posted import Posted
from vyrox.clock import Clock
from vyrox.errors import UnavailableError
from vyrox.store.database import Database

INTERVAL_S: Final = 1.0

MAX_CHANNELS: Final = 32
"""Channels at the same time."""

REFUSED_S: Final = 60.0
"""How long a channel waits after a refusal: 10,000 refusals in 10 minutes are a ban."""

MAX_AWAY_S: Final = 30.0
"""Longest time between two attempts while Discord is away."""


class Joiner:
    """Posts what has no message yet, and edits what has changed. `run` must be called often."""

    def __init__(
        self,
        database: Database,
        client: DiscordClient | None,
        now: Clock,
        console: str | None = None,
    ) -> None:
        """Create it.

        Args:
            client: None: Discord is not configured, and nothing is done.
            now: The clock of leases.
            console: The origin of the console, if a link to it works for people elsewhere.
        """
        self._database = database
        self._client = client
        self._now = now
        self._console = console
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._is_stopping = False
        self.noticed = asyncio.Event()
        """Set after a change, so that `run` is called at once."""

    async def run(self) -> None:
        """Begin to send what is due, and return while the requests go on.

        Raises:
            UnavailableError: The database is unavailable.
        """
        if self._client is None or self._client.refused is not None or self._is_stopping:
            return
        now = self._now()
        if len(self._sending) >= MAX_CHANNELS or not await self._database.read(due.is_any_due, now):
            return
        busy = frozenset(self._sending)
        work = await self._database.write(due.claim, now, busy, self._console)
        work.sort(key=_channel)
        for channel_id, some in itertools.groupby(work, key=_channel):
            task = asyncio.create_task(self._send_all(self._client, list(some)))
            self._sending[channel_id] = task
            task.add_done_callback(partial(self._forget, channel_id))

    async def stop(self) -> None:
        """Begin nothing more, and end what is in progress. Another run does it again."""
        self._is_stopping = True
        while running := list(self._sending.values()):
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    @property
    def is_on(self) -> bool:
        """Whether the settings name an application of Discord."""
        return self._client is not None

    @property
    def refused(self) -> str | None:
        """Why Discord does not accept the token; None: it does, or was not asked."""
        return None if self._client is None else self._client.refused

    @property
    def sending(self) -> int:
        """How many channels are being sent to now."""
        return len(self._sending)

    async def wait(self) -> None:
        """Return when what is in progress has ended."""
        if self._sending:
            await asyncio.wait(list(self._sending.values()))

    def _forget(self, channel_id: str, _task: asyncio.Task[None]) -> None:
        self._sending.pop(channel_id, None)

    async def _send_all(self, client: DiscordClient, work: Sequence[Work]) -> None:
        """Send the messages of one channel, one after the other, until one cannot be sent."""
        try:
            for number, each in enumerate(work):
                sent, is_going_on = await self._send(client, each)
                await self._database.write(due.settle, sent)
                if not is_going_on:
                    for later in work[number + 1 :]:
                        unsent = _unsent(later.row, sent.next_at, sent.error)
                        await self._database.write(due.settle, unsent)
                    return
        except UnavailableError as exc:
            # The claims expire, and the messages are compared again.
            log.event("discord.not_recorded", logging.WARNING, reason=str(exc))
        except Exception:  # noqa: BLE001  (logged with its traceback; the claims expire)
            log.event("discord.failed", logging.ERROR, channel=work[0].row.channel_id)

    async def _send(self, client: DiscordClient, work: Work) -> tuple[Sent, bool]:
        """Return what became of the message, and whether the next one may be sent now."""
        row = work.row
        try:
            return self._compared(work, await _request(client, work)), True
        except RateLimitedError as exc:
            return _unsent(row, self._now() + exc.after_s, str(exc)), False
        except AwayError as exc:
            pause_s = min(MAX_AWAY_S, 2.0 ** min(row.attempts, 10))
            return _unsent(row, self._now() + pause_s, str(exc)), False
        except DiscordError as exc:
            if isinstance(exc, MissingError) and row.message_id is not None:
                _log(work, "discord.message_missing", exc)  # a person has deleted it
                return _unsent(row, None, str(exc)), True
            _log(work, "discord.refused", exc)
            # Every other refusal holds for the whole channel.
            is_for_message = isinstance(exc, RefusedError)
            return _unsent(row, self._now() + REFUSED_S, str(exc)), is_for_message

    def _compared(self, work: Work, response: Json) -> Sent:
        """Compare the text that Discord has stored with the one that was sent (A31).

        If they differ, the buttons are taken away in the next run. If they are equal again, as
        when Discord has responded with an older message of the same nonce, they come back.
        """
        row = work.row
        message_id = row.message_id or _id_of(response)
        is_altered = response.get("content") != work.message.content
        if is_altered:
            log.event("discord.content_differs", logging.WARNING, tenant=row.tenant_id, id=row.id)
        is_final = is_altered == row.is_altered or (is_altered and not work.message.components)
        if not is_final:
            self.noticed.set()
        now = self._now()
        return Sent(
            row=row,
            message_id=message_id,
            shown=work.mark if is_final else None,
            is_altered=is_altered,
            next_at=None if is_final and work.is_last else now,
        )


async def _request(client: DiscordClient, work: Work) -> Json:
    row, path = work.row, f"/channels/{work.row.channel_id}/messages"
    if row.message_id is None:
        body = work.message.post(nonce_of(row.id))
        try:
            return await client.request("POST", path, body)
        except RefusedError as exc:
            if not work.message.embeds:
                raise
            # Attackers choose the evidence. The text that is decided on must arrive without it.
            _log(work, "discord.evidence_refused", exc)
            return await client.request("POST", path, body | {"embeds": []})
    body = work.message.edit()
    return await client.request("PATCH", f"{path}/{row.message_id}", body, f"{path}/ID")


def _id_of(response: Json) -> str:
    message_id = response.get("id")
    if not isinstance(message_id, str) or not is_snowflake(message_id):
        raise AwayError("Discord's response has no id of the message")
    return message_id


def _unsent(row: Posted, next_at: float | None, error: str | None) -> Sent:
    """Return that the message is as it was, to be tried again at `next_at`."""
    return Sent(
        row=row,
        message_id=row.message_id,
        shown=row.shown,
        is_altered=row.is_altered,
        next_at=next_at,
        error=error,
    )


def _log(work: Work, name: str, error: DiscordError) -> None:
    row = work.row
    log.event(
        name,
        logging.WARNING,
        tenant=row.tenant_id,
        channel=row.channel_id,
        id=row.id,
        reason=str(error),
    )


def _channel(work: Work) -> str:
    return work.row.channel_id
