"""An approver of a running service: an account at the fake Discord, and a passkey."""

import json
import uuid
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
import msgspec

from tests.approvals.authenticator import Authenticator
from tests.console.running import Browser
from tests.vendor import add_alert
from vyrox.approvals import approvers, enrolment
from vyrox.approvals.discord import configured
from vyrox.approvals.discord.configured import Channel
from vyrox.approvals.passkeys import RelyingParty
from vyrox.approvals.proposing import Proposed, Wanted, propose
from vyrox.approvals.states import DECIDE_S
from vyrox.clock import wall_clock
from vyrox.store.database import Database
from vyrox.trial.fake_discord import control
from vyrox.trial.fake_discord.app import FakeDiscord

ORIGIN: Final = "http://localhost:8002"
PARTY: Final = RelyingParty("localhost", ORIGIN)
ALERT: Final = "alt_abc123"
TIMEOUT_S: Final = 10.0


def settings(fake: FakeDiscord, url: str) -> dict[str, str]:
    """Return the environment of a service that these people can use."""
    return {"CONSOLE_ORIGIN": ORIGIN, **control.settings(fake.world, url)}


def channel_of(fake: FakeDiscord, tenant: str, **changes: object) -> Channel:
    """Return the channel of the fake Discord, as a tenant's."""
    world = fake.world
    channel = Channel(
        tenant_id=tenant,
        application_id=world.application_id,
        public_key=world.public_key,
        guild_id=world.guild_id,
        channel_id=world.channel_id,
        bot_user_id=world.bot_user_id,
    )
    return msgspec.structs.replace(channel, **changes)


async def open_channel(database: Database, tenant_id: str, fake: FakeDiscord) -> None:
    """Show the tenant's proposals in the channel of the fake Discord."""
    channel = channel_of(fake, tenant_id)
    await database.write(configured.configure, channel, "operator", wall_clock())


class Person:
    """An approver who can decide in both channels."""

    def __init__(self, tenant_id: str, name: str) -> None:
        self.tenant_id = tenant_id
        self.name = name
        self.account = str(10**17 + zlib.crc32(f"{tenant_id} {name}".encode()))
        self.passkey = Authenticator("ES256", uuid.uuid4().bytes)

    async def enrol(self, database: Database) -> None:
        """Put the person on the list, with the account and a confirmed passkey."""
        now, tenant_id = wall_clock(), self.tenant_id
        await database.write(approvers.add, tenant_id, self.name, "operator", now, self.account)
        secret = await database.write(enrolment.new_code, tenant_id, self.name, "passkey", now)
        opened = await database.read(enrolment.open_link, secret, now)
        response = self.passkey.create(opened.challenge)
        key = await database.write(enrolment.register, secret, response, PARTY, now)
        thumbprint = key.thumbprint
        await database.write(enrolment.confirm, tenant_id, self.name, thumbprint, "operator", now)

    @asynccontextmanager
    async def browser(self, console_url: str) -> AsyncIterator[Browser]:
        """Sign in to the console of a running service."""
        host = {"host": ORIGIN.removeprefix("http://")}
        async with httpx.AsyncClient(
            base_url=console_url, headers=host, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            browser = Browser(client, self.passkey)
            response = await browser.sign_in()
            assert response.status_code == 200, response.text
            # httpx sends a secure cookie over https only. A browser does for localhost too.
            cookie = response.headers["set-cookie"].partition(";")[0]
            client.cookies.clear()
            client.headers["cookie"] = cookie
            yield browser

    async def propose(self, database: Database, host: str) -> Proposed:
        """Propose to isolate a host for 4 hours, for the person to decide."""
        await add_alert(database, self.tenant_id, ALERT, device_id=host)
        wanted = Wanted(
            tenant_id=self.tenant_id,
            alert_id=ALERT,
            action_type="HOST_ISOLATION",
            host=host,
            requested_by="vyrox",
            reason="live intrusion",
            lease_s=14_400,
        )
        return await database.write(propose, wanted, wall_clock(), DECIDE_S)


def message_about(fake: FakeDiscord, proposal: Proposed) -> dict[str, object] | None:
    """Return the message that shows a proposal, or None before it is posted."""
    for message in fake.world.messages():
        if proposal.proposal_sha256 in message["content"]:
            return message
    return None


def is_open(message: dict[str, object]) -> bool:
    """Return whether the message has buttons that decide."""
    return '"v1:a:' in json.dumps(message["components"])
