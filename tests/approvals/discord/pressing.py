"""Interactions as Discord sends them, and `/interactions` in process, by the clock of the test."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from tests.approvals.decided import NAMES, prepared
from tests.audit import NOW, TENANT, Clock
from vyrox.approvals.decisions import Decisions
from vyrox.approvals.discord import configured
from vyrox.approvals.discord.clicks import Application
from vyrox.approvals.discord.configured import Channel
from vyrox.approvals.discord.message import button_id, message_of
from vyrox.approvals.discord.posted import Posted, find_message
from vyrox.approvals.discord.receiving import Interactions
from vyrox.approvals.drills import ShownDrill
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.shown import ShownProposal, show
from vyrox.http.application import JsonApplication
from vyrox.routes.interactions import create_routes
from vyrox.store.database import Database
from vyrox.store.tables import approvers, discord_messages

KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
APPLICATION: Final = Application("100000000000000001", KEY.public_key().public_bytes_raw().hex())
CHANNEL: Final = Channel(
    tenant_id=TENANT,
    application_id=APPLICATION.id,
    public_key=APPLICATION.public_key,
    guild_id="100000000000000002",
    channel_id="100000000000000003",
    bot_user_id="100000000000000004",
)
ACCOUNTS: Final = {name: f"20000000000000000{n}" for n, name in enumerate(NAMES)}
CONSOLE: Final = "https://console.example.com"
STRANGER: Final = "299999999999999999"

Body = dict[str, Any]
Shown = Proposed | ShownDrill
_ids = itertools.count(300_000_000_000_000_000)


def headers(body: bytes, at: float = NOW, key: Ed25519PrivateKey = KEY) -> dict[str, str]:
    """Return the headers with which Discord signs a body."""
    timestamp = str(int(at))
    signature = key.sign(timestamp.encode() + body).hex()
    return {"x-signature-ed25519": signature, "x-signature-timestamp": timestamp}


def encoded(body: Body) -> bytes:
    return json.dumps(body).encode()


def interaction(kind: int, account: str, **members: object) -> Body:
    return {
        "type": kind,
        "id": str(next(_ids)),
        "application_id": CHANNEL.application_id,
        "guild_id": CHANNEL.guild_id,
        "channel_id": CHANNEL.channel_id,
        "member": {"user": {"id": account, "username": "x"}, "roles": []},
        "token": "secret-token",
        "version": 1,
        **members,
    }


def slash(command: str, account: str, **arguments: object) -> Body:
    options = [{"name": name, "type": 3, "value": each} for name, each in arguments.items()]
    chosen = {"name": command, "type": 1, "options": options}
    return interaction(2, account, data={"id": "1", "name": "vyrox", "options": [chosen]})


class Discord:
    """`/interactions` of a running service, and what is posted in the tenant's channel."""

    def __init__(
        self, database: Database, client: httpx.AsyncClient, clock: Clock, app: JsonApplication
    ) -> None:
        self.database = database
        self.app = app
        self.client = client
        self.clock = clock
        self.failures: list[str] = []
        self.notices = 0

    def serve(self, application: Application, used: Database | None = None) -> Interactions:
        """Answer from now on as after a start with the settings of `application`.

        Args:
            used: The database as the service sees it.
        """
        used = used or self.database
        decisions = Decisions(used, lambda: None, self.clock, [self.notice])
        interactions = Interactions(application, used, decisions, self.clock, CONSOLE)
        self.app.state.ingestion = SimpleNamespace(
            clock=self.clock, events=self, interactions=interactions
        )
        return interactions

    async def shown(self, proposal: Shown) -> ShownProposal:
        return await self.database.read(show, TENANT, proposal.proposal_id, self.clock())

    async def post(self, proposal: Shown) -> str:
        """Post the message of a proposal; return its id."""
        message_id = str(next(_ids))
        await self.database.write(post_message, proposal.proposal_id, message_id, self.clock())
        return message_id

    async def body(
        self,
        proposal: Shown,
        letter: str = "a",
        name: str = "ann",
        reason: str | None = None,
    ) -> Body:
        """Return a press of a button; with a `reason`, the form that it opens."""
        shown = await self.shown(proposal)
        posted = await self.database.read(find_message, proposal.proposal_id)
        now_shown = message_of(msgspec.structs.replace(shown, state="pending"))
        custom_id = button_id(letter, shown.proposal_sha256)
        message = {
            "id": None if posted is None else posted.message_id,
            "author": {"id": CHANNEL.bot_user_id, "bot": True},
            "content": now_shown.content,
            "components": list(now_shown.components),
        }
        data: Body = {"component_type": 2, "id": 2, "custom_id": custom_id}
        if reason is not None:
            field = {"type": 4, "custom_id": "reason", "value": reason}
            data = {"custom_id": custom_id, "components": [{"type": 18, "component": field}]}
        kind = 3 if reason is None else 5
        return interaction(kind, ACCOUNTS.get(name, STRANGER), data=data, message=message)

    async def press(
        self,
        proposal: Shown,
        letter: str = "a",
        name: str = "ann",
        reason: str | None = None,
    ) -> Body:
        """Press a button, and return Discord's view of the answer."""
        return await self.say(await self.body(proposal, letter, name, reason))

    async def say(self, body: Body) -> Body:
        response = await self.send(encoded(body))
        assert response.status_code == 200, response.text
        answer: Body = response.json()
        if answer["type"] in {4, 7}:
            assert answer["data"]["allowed_mentions"] == {"parse": []}
            assert len(answer["data"]["content"]) <= 2000
        return answer

    async def send(self, body: bytes, **changed: str) -> httpx.Response:
        sent = {**headers(body, self.clock()), **changed}
        return await self.client.post("/interactions", content=body, headers=sent)

    def note_unauthenticated(self, kind: str, *_: object, failure: str, **__: object) -> None:
        assert kind == "auth.failed"
        self.failures.append(failure)

    def notice(self) -> None:
        self.notices += 1


def refusal(answer: Body) -> str:
    """Return the text of an answer that only the caller sees."""
    assert (answer["type"], answer["data"]["flags"]) == (4, 64)
    assert "components" not in answer["data"]
    text: str = answer["data"]["content"]
    return text


def post_message(connection: Connection, proposal_id: str, message_id: str, now: float) -> None:
    """Store that the message of a proposal was posted."""
    row = Posted(
        id=proposal_id,
        kind="proposal",
        tenant_id=TENANT,
        channel_id=CHANNEL.channel_id,
        message_id=message_id,
        created_at=now,
        next_at=now,
    )
    connection.execute(discord_messages.insert().values(msgspec.structs.asdict(row)))


def bind(connection: Connection, name: str, account: str | None) -> None:
    """Give an approver an account, without an event."""
    bound = approvers.update().where(approvers.c.name == name)
    connection.execute(bound.values(discord_user_id=account))


@asynccontextmanager
async def discord(database: Database, used: Database | None = None) -> AsyncIterator[Discord]:
    """Prepare a tenant whose approvers have accounts, and serve `/interactions`.

    Args:
        used: The database as the service sees it.
    """
    await prepared(database)
    for name, account in ACCOUNTS.items():
        await database.write(bind, name, account)
    await database.write(configured.configure, CHANNEL, "operator", NOW)
    app = JsonApplication(create_routes())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vyrox") as client:
        running = Discord(database, client, Clock(), app)
        interactions = running.serve(APPLICATION, used)
        yield running
        await interactions.drain()
