"""`vyrox fake-discord`: a Discord, made up, on a socket of this machine."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click
import msgspec

from vyrox.cli.mocks import address_options, serve_until_stopped
from vyrox.cli.output import json_option

if TYPE_CHECKING:
    from vyrox.trial.fake_discord.world import World


@click.command("fake-discord")
@address_options
@json_option
def fake_discord(host: str, port: int, as_json: bool) -> None:
    """Serve a fake Discord until SIGTERM or Ctrl-C.

    Prints the settings for a service that uses it; with --json, as one line.
    """
    # Imported here: the other commands start faster without it.
    from vyrox.trial.fake_discord.app import FakeDiscord
    from vyrox.trial.fake_discord.control import inventory, settings

    fake = FakeDiscord()

    def announce(url: str) -> None:
        click.echo("vyrox: this is a fake Discord: no person ever sees a message", err=True)
        if as_json:
            click.echo(msgspec.json.encode(inventory(fake.world, url)))
        else:
            _print(fake.world, settings(fake.world, url))

    asyncio.run(serve_until_stopped(fake, host, port, announce))


def _print(world: "World", settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        click.echo(f"{name}={value}")
    click.echo(
        f"\nvyrox discord setup TENANT --guild {world.guild_id} --channel {world.channel_id} "
        f"--on-call-role {world.role_id} --endpoint http://127.0.0.1:8001/interactions"
    )
