"""From the button to the vendor and back to the message, with a whole service (contract 67)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, MultiFernet

from tests import audit
from tests.approvals.decided import KILL, add_approvers, proposed
from tests.approvals.discord.conftest import channel_of
from tests.approvals.discord.pressing import ACCOUNTS, bind
from tests.audit import TENANT
from tests.containment.test_crash_points import KEY, Site
from tests.polling import until
from tests.vendor import give_credentials
from vyrox.approvals.discord import configured
from vyrox.approvals.discord.posted import find_message
from vyrox.approvals.proposing import Proposed
from vyrox.chain import verify
from vyrox.clock import wall_clock
from vyrox.store.database import Database, open_database
from vyrox.trial.fake_discord import control
from vyrox.trial.fake_discord.app import FakeDiscord
from vyrox.trial.mock_edr.serve import serving


@dataclass(frozen=True)
class Guild:
    """A service, the fake Discord that it uses, and its database."""

    fake: FakeDiscord
    site: Site
    database: Database

    async def propose(self) -> tuple[Proposed, str]:
        """Propose a kill; return it with the id of its message, once it is posted."""
        proposal = await proposed(self.database, KILL, wall_clock())

        async def is_known() -> bool:
            return await self.database.read(find_message, proposal.proposal_id) is not None

        await until(is_known)
        messages = self.fake.world.messages()
        [found] = [each for each in messages if proposal.proposal_id in each["content"]]
        return proposal, found["id"]

    def content(self, message_id: str) -> str:
        message = self.fake.world.message(self.fake.world.channel_id, message_id)
        return str(message["content"])


@asynccontextmanager
async def guild(data_dir: Path) -> AsyncIterator[Guild]:
    fake = FakeDiscord()
    site = Site(data_dir, None)
    async with serving(fake) as url, open_database(None, data_dir) as database:
        await give_credentials(database, [TENANT], vault=MultiFernet([Fernet(KEY)]))
        await add_approvers(database)
        for name, account in ACCOUNTS.items():
            await database.write(bind, name, account)
        await database.write(configured.configure, channel_of(fake), "operator", wall_clock())
        settings = control.settings(fake.world, url)
        async with site.service("", data_dir, **settings) as service:
            fake.world.endpoint = f"{service.ingestion_url}/interactions"
            yield Guild(fake, site, database)


async def test_a_click_leads_to_the_vendor_and_the_message_says_so_contract_67(
    data_dir: Path,
) -> None:
    """A12, A29 to A32 and A36. The endpoint passes the check that Discord makes of it."""
    async with guild(data_dir) as at:
        assert at.fake.world.endpoint is not None
        assert await at.fake.clicks.check_endpoint(at.fake.world.endpoint) is None
        _, message_id = await at.propose()
        shown = await at.fake.clicks.press(message_id, "i", ACCOUNTS["bob"])
        assert shown.is_ephemeral
        assert shown.content.startswith("```\n")
        rejected = await at.fake.clicks.press(message_id, "r", ACCOUNTS["ann"], comment="a test")
        assert (rejected.kind, rejected.is_shown) == (7, True)
        assert "**Rejected** by ann" in at.content(message_id)
        assert at.site.calls() == []

        proposal, message_id = await at.propose()
        people = ("ann", "bob", "ann", "bob", "ann")
        presses = (at.fake.clicks.press(message_id, "a", ACCOUNTS[name]) for name in people)
        answers = await asyncio.gather(*presses)
        assert sorted(answer.kind or 0 for answer in answers) == [4, 4, 4, 4, 7]

        async def is_done() -> bool:
            return "Done: the vendor confirms it." in at.content(message_id)

        await until(is_done)
        assert len(at.site.calls()) == 1
        made = (await audit.events(at.database, TENANT, "approval.proposed"))[-1]
        event = (await audit.events(at.database, TENANT, "approval.decided"))[-1]
        [settings] = await audit.events(at.database, TENANT, "discord.configured")
        verify.check_discord(
            event,
            verify.check_proposal(str(made["proposal"]), proposal.proposal_sha256),
            verify.check_discord_configuration(settings),
            ACCOUNTS[str(event["approver"])],
        )
