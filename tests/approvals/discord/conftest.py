"""A service's messages at a fake Discord: one tenant with a channel, in one process."""

from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from tests.approvals import people
from tests.approvals.decided import WANTED, prepared, proposed
from tests.approvals.discord.pressing import Discord, discord
from tests.audit import NOW, TENANT, Clock
from tests.polling import PATIENCE_S
from vyrox.approvals.discord import configured, posted, receiving
from vyrox.approvals.discord.client import DiscordClient
from vyrox.approvals.discord.configured import Channel
from vyrox.approvals.discord.joining import Joiner
from vyrox.approvals.discord.posted import Posted
from vyrox.approvals.proposing import Proposed
from vyrox.store.database import Database
from vyrox.trial.fake_discord import clicks
from vyrox.trial.fake_discord.app import FakeDiscord
from vyrox.trial.fake_discord.world import Json


class Site:
    """A database, a fake Discord and what joins them, by one clock."""

    def __init__(self, database: Database, fake: FakeDiscord, http: httpx.AsyncClient) -> None:
        self.database = database
        self.fake = fake
        self.clock = fake.world.clock
        assert isinstance(self.clock, Clock)
        self.time = self.clock
        self.client = DiscordClient(http, fake.world.bot_token, self.time, "http://discord.test")
        self.joiner = self.new_joiner()

    def new_joiner(self) -> Joiner:
        return Joiner(self.database, self.client, self.time)

    async def join(self, joiner: Joiner | None = None) -> None:
        """Run until nothing is being sent, as long as the loop would run again at once."""
        joiner = joiner or self.joiner
        for _ in range(10):
            joiner.noticed.clear()
            await joiner.run()
            while joiner.sending:
                await joiner.wait()
            if not joiner.noticed.is_set():
                return
        raise AssertionError("it never ends")

    async def propose(self, host: str = "workstation-01") -> Proposed:
        wanted = msgspec.structs.replace(WANTED, host=host)
        return await proposed(self.database, wanted, self.time.now)

    async def row(self, proposal: Proposed) -> Posted:
        found = await self.database.read(posted.find_message, proposal.proposal_id)
        assert found is not None
        return found

    @property
    def messages(self) -> list[Json]:
        return self.fake.world.messages()

    def did(self, method: str) -> int:
        return sum(each == method for each, _ in self.fake.requests)


def buttons_of(message: Json) -> list[str]:
    return [button["label"] for row in message["components"] for button in row["components"]]


def channel_of(fake: FakeDiscord, **changes: object) -> Channel:
    return people.channel_of(fake, TENANT, **{"on_call_role_id": fake.world.role_id, **changes})


@pytest.fixture(autouse=True)
def patient_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer for an answer than Discord waits."""
    monkeypatch.setattr(receiving, "ANSWER_S", PATIENCE_S)
    monkeypatch.setattr(receiving, "SHOW_S", PATIENCE_S)
    monkeypatch.setattr(clicks, "TIMEOUT_S", PATIENCE_S)


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    await prepared(database)
    fake = FakeDiscord(Clock(), Clock())
    await database.write(configured.configure, channel_of(fake), "operator", NOW)
    transport = httpx.ASGITransport(fake.app)
    async with httpx.AsyncClient(transport=transport) as http:
        site = Site(database, fake, http)
        yield site
        await site.joiner.stop()


@pytest.fixture
async def at_discord(database: Database) -> AsyncIterator[Discord]:
    async with discord(database) as running:
        yield running
