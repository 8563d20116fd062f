"""A site with a fake Discord and an approver, on which decisions are killed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

import httpx
import msgspec

from chaos.part import limit
from chaos.site import Site, site
from tests.approvals.people import Person, is_open, message_about, open_channel, settings
from tests.console.running import Browser
from tests.service import Service
from vyrox.approvals import rows
from vyrox.approvals.discord.answers import NOT_OWN, NOT_READ, NOT_RECORDED_YET
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.rows import StoredProposal
from vyrox.store.database import Database
from vyrox.trial.fake_discord.app import FakeDiscord
from vyrox.trial.fake_discord.clicks import UPDATE
from vyrox.trial.mock_edr.serve import serving

T = TypeVar("T")

COMMAND: Final = ("-m", "chaos.decisions_service")
TENANT: Final = "acme-corp"
STEP_LIMIT_S: Final = 40.0
PRESSES: Final = 50
PAUSE_S: Final = 0.1


class Click(msgspec.Struct):
    """A proposal, and what its approver knows of the decision.

    Attributes:
        is_acknowledged: The response said that the decision counts.
    """

    proposal: Proposed
    host: str
    is_acknowledged: bool = False


class Place:
    """A site with a fake Discord, a tenant and an approver."""

    def __init__(self, here: Site, fake: FakeDiscord, url: str, database: Database) -> None:
        self.site = here
        self.fake = fake
        self.database = database
        self.person = Person(TENANT, "ann")
        self.clicks: list[Click] = []
        self.seen: list[Service] = []
        self._settings = settings(fake, url)

    @asynccontextmanager
    async def service(self, step: str | None = None, number: int = 0) -> AsyncIterator[Service]:
        """Run a container; it dies at `step`."""
        command = () if step is None else COMMAND
        extra = {} if step is None else {"KILL_STEP": step}
        directory = self.site.data_dir.with_name(f"data-{number}" if number else "data")
        directory.mkdir(exist_ok=True)
        extra["VYROX_DATA_DIR"] = str(directory)
        async with self.site.service(*command, **self._settings, **extra) as service:
            self.fake.world.endpoint = f"{service.ingestion_url}/interactions"
            self.seen.append(service)
            yield service

    async def propose(self) -> Click:
        host = self.site.vendor.add_host()
        click = Click(await self.person.propose(self.database, host), host)
        self.clicks.append(click)
        return click

    async def press(self, click: Click) -> None:
        """Press Approve at the fake Discord, as soon as the message is there.

        Once more if Vyrox says so: it may not have stored yet which message it has posted, and a
        busy machine may not read its database in time for Discord.
        """
        for _ in range(PRESSES):
            message = await until(lambda: found_message(self.fake, click), "the message")
            if not is_open(message):
                return
            answer = await self.fake.clicks.press(str(message["id"]), "a", self.person.account)
            # Type 7 changes the message; otherwise Vyrox says to the person what is so.
            click.is_acknowledged |= answer.status == httpx.codes.OK and answer.kind == UPDATE
            if answer.content not in {NOT_OWN, NOT_READ, NOT_RECORDED_YET}:
                return
            await asyncio.sleep(PAUSE_S)

    async def sign(self, click: Click, browser: Browser) -> None:
        """Approve with the passkey in the console."""
        try:
            response = await browser.decide(click.proposal.proposal_id)
        except httpx.TransportError:
            return  # the service is dead
        click.is_acknowledged |= response.status_code == httpx.codes.OK

    async def decide(self, click: Click, channel: str, service: Service) -> None:
        if channel == "discord":
            await self.press(click)
            return
        async with self.person.browser(service.console_url) as browser:
            await self.sign(click, browser)

    async def stored(self, click: Click) -> StoredProposal:
        return await self.database.read(rows.require, TENANT, click.proposal.proposal_id)


def found_message(fake: FakeDiscord, click: Click) -> dict[str, object] | None:
    return message_about(fake, click.proposal)


async def until(find: Callable[[], T | None], what: str, within_s: float = STEP_LIMIT_S) -> T:
    """Return what `find` returns, as soon as it is something. Raises HangError."""
    async with limit(within_s, what):
        while (found := find()) is None:  # noqa: ASYNC110  (another process makes it so)
            await asyncio.sleep(PAUSE_S)
        return found


@asynccontextmanager
async def open_place(
    opening: asyncio.Lock, database_url: str | None = None
) -> AsyncIterator[Place]:
    """Make one. `opening` is for migrations, of which this process can run one at a time."""
    fake = FakeDiscord()
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(site(database_url))
        url = await stack.enter_async_context(serving(fake))
        async with opening:
            database = await stack.enter_async_context(here.database())
        await here.give_credentials(database, TENANT)
        place = Place(here, fake, url, database)
        await open_channel(database, TENANT, fake)
        await place.person.enrol(database)
        yield place
