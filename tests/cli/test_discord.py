"""`vyrox discord`: setup refuses each wrong thing and says what to do (contract 67; A33)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import Connection

from tests.approvals.decided import WANTED
from tests.audit import TENANT
from tests.cli import Vyrox, refused, succeeded
from tests.trial.fake_discord.endpoint import Endpoint
from vyrox.approvals.discord import configured, posted
from vyrox.approvals.discord.commands import COMMANDS
from vyrox.approvals.discord.configured import Channel
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.clock import wall_clock
from vyrox.store.tables import discord_messages
from vyrox.trial.fake_discord import control
from vyrox.trial.fake_discord.app import FakeDiscord
from vyrox.trial.fake_discord.faults import Fault
from vyrox.trial.mock_edr.serve import serving

pytestmark = pytest.mark.usefixtures("anyio_backend")


class Site:
    """A fake Discord and a service on sockets, and the command with their settings."""

    def __init__(self, vyrox: Vyrox, fake: FakeDiscord, service: Endpoint) -> None:
        self.vyrox, self.fake, self.service = vyrox, fake, service
        self.options = {
            "--guild": fake.world.guild_id,
            "--channel": fake.world.channel_id,
            "--on-call-role": fake.world.role_id,
        }

    async def run(self, *args: str) -> Result:
        return await asyncio.to_thread(self.vyrox, *args)

    async def setup(self, *more: str) -> Result:
        options = [text for pair in self.options.items() for text in pair]
        return await self.run("discord", "setup", TENANT, *options, *more)

    async def stored(self) -> Channel | None:
        return await asyncio.to_thread(self.vyrox.write, configured.channel_of, TENANT)


@pytest.fixture
async def site(data_dir: Path) -> AsyncIterator[Site]:
    vyrox = await asyncio.to_thread(Vyrox(data_dir).migrated)
    accepted = event("alert.accepted", TENANT, None, alert_id=WANTED.alert_id)
    await asyncio.to_thread(vyrox.write, append, [accepted], wall_clock())
    fake = FakeDiscord()
    fake.buckets.limit = 100
    service = Endpoint(fake.world.public_key)
    async with serving(fake) as url, serving(service) as public:
        vyrox.env |= {**control.settings(fake.world, url), "PUBLIC_URL": public}
        yield Site(vyrox, fake, service)


async def test_setup_stores_the_channel_and_all_points_are_right_contract_67(site: Site) -> None:
    printed = succeeded(await site.setup("--no-review", "--by", "jane"))
    assert printed.endswith(f"are shown in the channel {site.fake.world.channel_id}\n")
    stored = await site.stored()
    assert stored is not None
    assert (stored.bot_user_id, stored.shows_review) == (site.fake.world.bot_user_id, False)
    assert stored.public_key == site.fake.world.public_key
    assert site.fake.world.endpoint == f"{site.vyrox.env['PUBLIC_URL']}/interactions"
    [command] = site.fake.world.commands[site.fake.world.guild_id]
    names = [each["name"] for each in command["options"]]
    assert names == ["register", "status", "incidents", "contained", "drill"]
    [test_message] = site.fake.world.messages()
    assert test_message["content"].startswith("A test: Vyrox will ask here for approvals of acme")
    points = json.loads(succeeded(await site.run("discord", "check", TENANT, "--json")))
    assert [each["name"] for each in points if not each["is_right"]] == []
    assert len(site.fake.world.messages()) == 1, "the check deletes its message"
    entry = json.loads(
        succeeded(await site.run("audit", "events", "--kind", "discord.configured", "--json"))
    )
    assert entry["by"] == "jane"


def _no_embeds(site: Site) -> None:
    site.fake.world.channels[site.fake.world.channel_id].can_embed = False


def _not_allowed(site: Site) -> None:
    site.fake.world.channels[site.fake.world.channel_id].can_send = False


def _not_invited(site: Site) -> None:
    site.fake.world.channels[site.fake.world.channel_id].can_view = False


def _takes_bad_signatures(site: Site) -> None:
    site.service.refusal = 200


def _other_channel(site: Site) -> None:
    site.options["--channel"] = "123456789012345678"


def _other_guild(site: Site) -> None:
    site.options["--guild"] = "123456789012345678"


def _other_role(site: Site) -> None:
    site.options["--on-call-role"] = "123456789012345678"


def _quiet_role(site: Site) -> None:
    site.fake.world.is_mentionable = False


def _other_text(site: Site) -> None:
    site.fake.world.channels[site.fake.world.channel_id].mangles = True


def _no_commands(site: Site) -> None:
    site.fake.world.can_command = False


def _no_number(site: Site) -> None:
    site.options["--channel"] = "approvals"


def _other_key(site: Site) -> None:
    site.vyrox.env["DISCORD_PUBLIC_KEY"] = "ab" * 32


def _other_application(site: Site) -> None:
    site.vyrox.env["DISCORD_APPLICATION_ID"] = "123456789012345678"


def _other_token(site: Site) -> None:
    site.vyrox.env["DISCORD_BOT_TOKEN"] = "another-token-CANARY"


def _no_settings(site: Site) -> None:
    for name in ("APPLICATION_ID", "PUBLIC_KEY", "BOT_TOKEN"):
        del site.vyrox.env[f"DISCORD_{name}"]


def _no_endpoint(site: Site) -> None:
    del site.vyrox.env["PUBLIC_URL"]


def _away(site: Site) -> None:
    site.vyrox.env["DISCORD_TEST_URL"] = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_settings, "set DISCORD_APPLICATION_ID"),
        (_no_endpoint, "set PUBLIC_URL, or say with --endpoint"),
        (_no_number, "the channel is not a number"),
        (_away, "Discord cannot be reached"),
        (_other_token, "Discord does not accept DISCORD_BOT_TOKEN"),
        (_other_application, "take both from the same application"),
        (_other_key, "DISCORD_PUBLIC_KEY is not the key of this application"),
        (_other_channel, "the bot cannot see the channel"),
        (_other_guild, "--guild is the number of the server"),
        (_other_role, "the server has no role"),
        (_quiet_role, "allow anyone to mention it"),
        (_not_invited, "invite the bot with https://discord.com/oauth2/authorize"),
        (_not_allowed, "allow it View Channel, Send Messages"),
        (_no_embeds, "allow the bot Embed Links"),
        (_other_text, "Discord has stored another text"),
        (_no_commands, "the bot may not add commands"),
        (_takes_bad_signatures, "the service must be running"),
    ],
)
async def test_setup_refuses_each_wrong_thing_and_says_what_to_do_contract_67(
    site: Site, spoil: Callable[[Site], None], words: str
) -> None:
    spoil(site)
    line = refused(await site.setup())
    assert words in line
    assert "CANARY" not in line
    assert site.fake.world.bot_token not in line
    assert await site.stored() is None


async def test_setup_waits_for_a_limit_contract_67(site: Site) -> None:
    site.fake.faults.append(Fault(kind="status", status=429))
    succeeded(await site.setup())
    assert [path for _, path in site.fake.requests[:2]] == ["/users/@me", "/users/@me"]


async def test_check_names_every_wrong_point_contract_67(site: Site) -> None:
    succeeded(await site.setup())
    site.fake.world.endpoint = None

    def waits(connection: Connection) -> None:
        posted.add_notice(connection, TENANT, "text", 0.0)
        error = "Discord refuses: HTTP 403"
        connection.execute(discord_messages.update().values(last_error=error))

    await asyncio.to_thread(site.vyrox.write, waits)
    _no_embeds(site)
    result = await site.run("discord", "check", TENANT)
    assert result.exit_code == 1
    wrong = [line for line in result.stdout.splitlines() if line.startswith("WRONG")]
    assert [line.split()[1].rstrip(":") for line in wrong] == ["message", "endpoint", "messages"]
    assert "HTTP 403" in wrong[-1]
    site.fake.world.bot_user_id = "123456789012345678"
    lines = (await site.run("discord", "check", TENANT)).stdout.splitlines()
    assert lines[0].startswith("WRONG  bot token: DISCORD_BOT_TOKEN is of another bot")
    site.vyrox.env["DISCORD_BOT_TOKEN"] = "another"
    lines = (await site.run("discord", "check", TENANT)).stdout.splitlines()
    assert lines[0].startswith("WRONG  bot token: Discord does not accept DISCORD_BOT_TOKEN")


async def test_remove_ends_it_contract_67(site: Site) -> None:
    succeeded(await site.setup())
    succeeded(await site.run("discord", "remove", TENANT))
    assert "has no channel" in refused(await site.run("discord", "check", TENANT))
    assert "not onboarded" in refused(await site.run("discord", "check", "acme-crop"))
    assert "has no channel" in refused(await site.run("discord", "remove", TENANT))


def test_no_command_acts_contract_67() -> None:
    """The names of what they read; only one takes an argument, which is a code."""
    [command] = COMMANDS
    options = {each["name"]: each.get("options") for each in command["options"]}  # type: ignore[attr-defined]
    assert [name for name, value in options.items() if value] == ["register"]
