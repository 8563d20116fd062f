"""A running service, a fake Discord and a click: setup to edited message (contract 67)."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.approvals.decided import KILL, account_of, prepared, proposed
from tests.approvals.discord.conftest import buttons_of
from tests.audit import TENANT
from tests.cli import Vyrox, succeeded
from tests.patient_service import patient_service
from tests.polling import until
from vyrox.approvals.discord.posted import find_message
from vyrox.clock import wall_clock
from vyrox.store.database import open_database
from vyrox.trial.fake_discord import control
from vyrox.trial.fake_discord.app import FakeDiscord
from vyrox.trial.mock_edr.serve import serving

pytestmark = pytest.mark.usefixtures("anyio_backend")


async def test_from_setup_to_the_edited_message_contract_67(data_dir: Path) -> None:
    """Also across a restart: what the message shows then is found from the proposal."""
    fake = FakeDiscord()
    world = fake.world
    vyrox = await asyncio.to_thread(Vyrox(data_dir).migrated)
    async with serving(fake) as url, open_database(None, data_dir) as database:
        settings = {
            **control.settings(world, url),
            "VYROX_ENCRYPTION_KEY": "c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc=",
        }
        vyrox.env |= settings
        await prepared(database)
        async with patient_service(data_dir, **settings) as service:
            options = ["--guild", world.guild_id, "--channel", world.channel_id]
            options += ["--endpoint", f"{service.ingestion_url}/interactions"]
            succeeded(await asyncio.to_thread(vyrox, "discord", "setup", TENANT, *options))
            proposal = await proposed(database, KILL, wall_clock())

            async def is_posted() -> bool:
                return await database.read(find_message, proposal.proposal_id) is not None

            await until(is_posted)
            message = world.messages()[1]
            assert buttons_of(message) == ["Approve", "Reject", "Investigate"]
            answer = await fake.clicks.press(message["id"], "a", account_of("ann"))
            assert (answer.kind, answer.is_shown) == (7, True), answer.content
            assert message["content"].startswith("**Approved** by ann")
            assert message["components"] == []
            service.signal(signal.SIGTERM)
            assert await service.ended() == 0
            assert world.bot_token not in "".join(service.output)
        async with patient_service(data_dir, **settings) as service:
            world.endpoint = f"{service.ingestion_url}/interactions"

            async def is_done() -> bool:
                return "A dry run: nothing was sent" in message["content"]

            await until(is_done)
            assert message["content"].endswith(f"{proposal.proposal_sha256}\n```")
            assert len(world.messages()) == 2
