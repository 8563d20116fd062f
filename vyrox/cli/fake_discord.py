"""`vyrox fake-discord`: a Discord, made up, on a socket of this machine."""

import asyncio
import signal

import click
import msgspec

from vyrox.cli.output import json_option


@click.command("fake-discord")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default=True,
    help="Port; 0 for a free one.",
)
@json_option
def fake_discord(host: str, port: int, as_json: bool) -> None:
    """Serve a fake Discord until SIGTERM or Ctrl-C.

    Prints the settings for a service that uses it; with --json, as one line.
    """
    asyncio.run(_serve_until_stopped(host, port, as_json))


async def _serve_until_stopped(host: str, port: int, as_json: bool) -> None:
    # Imported here: the other commands start faster without it.
    from vyrox.trial.fake_discord.app import FakeDiscord
    from vyrox.trial.fake_discord.control import inventory
    from vyrox.trial.mock_edr.serve import serving

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    fake = FakeDiscord()
    async with serving(fake, host, port) as url:
        click.echo("vyrox: this is a fake Discord: no person ever sees a message", err=True)
        found = inventory(fake.world, url)
        if as_json:
            click.echo(msgspec.json.encode(found))
        else:
            click.echo(
                f"DISCORD_TEST_URL={url}\n"
                f"DISCORD_APPLICATION_ID={found['application_id']}\n"
                f"DISCORD_PUBLIC_KEY={found['public_key']}\n"
                f"DISCORD_BOT_TOKEN={found['bot_token']}\n\n"
                f"vyrox discord setup TENANT --guild {found['guild_id']} "
                f"--channel {found['channel_id']} --on-call-role {found['on_call_role_id']} "
                "--endpoint http://127.0.0.1:8001/interactions"
            )
        await stopped.wait()
