"""`vyrox fake-discord`: a Discord, made up, on a socket of this machine."""

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from vyrox.cli.mocks import address_options, serve_until_stopped
from vyrox.cli.output import json_option

if TYPE_CHECKING:
    from vyrox.trial.fake_discord.world import Json


@click.command("fake-discord")
@address_options
@json_option
def fake_discord(host: str, port: int, as_json: bool) -> None:
    """Serve a fake Discord until SIGTERM or Ctrl-C.

    Prints the settings for a service that uses it; with --json, as one line.
    """
    # Imported here: the other commands start faster without it.
    from vyrox.trial.fake_discord.app import FakeDiscord
    from vyrox.trial.fake_discord.control import inventory

    fake = FakeDiscord()

    def announce(url: str) -> None:
        click.echo("vyrox: this is a fake Discord: no person ever sees a message", err=True)
        found = inventory(fake.world, url)
        if as_json:
            click.echo(msgspec.json.encode(found))
        else:
            _print(found)

    asyncio.run(serve_until_stopped(fake, host, port, announce))


def _print(found: "Json") -> None:
    click.echo(
        f"DISCORD_TEST_URL={found['url']}\n"
        f"DISCORD_APPLICATION_ID={found['application_id']}\n"
        f"DISCORD_PUBLIC_KEY={found['public_key']}\n"
        f"DISCORD_BOT_TOKEN={found['bot_token']}\n\n"
        f"vyrox discord setup TENANT --guild {found['guild_id']} "
        f"--channel {found['channel_id']} --on-call-role {found['on_call_role_id']} "
        "--endpoint http://127.0.0.1:8001/interactions"
    )
