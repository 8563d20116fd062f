"""`vyrox discord`: the channel in which a tenant's proposals are shown (contract 67)."""

import asyncio
from typing import Final

import click
import httpx
import msgspec

from vyrox.approvals.discord import configured, due, setting_up
from vyrox.approvals.discord.client import DiscordClient, open_http
from vyrox.approvals.discord.configured import Channel
from vyrox.approvals.discord.setting_up import Point
from vyrox.cli.options import by_option, tenant_argument
from vyrox.cli.output import json_option, print_json, printable
from vyrox.cli.stores import opened_database, write
from vyrox.clock import monotonic_clock, wall_clock
from vyrox.errors import OperatorError
from vyrox.settings import Settings
from vyrox.settings.discord import DiscordApplication
from vyrox.store.database import database_time
from vyrox.tenants.known import require_known

ENDPOINT_PATH: Final = "/interactions"


@click.command("setup")
@tenant_argument
@click.option("--guild", required=True, metavar="NUMBER", help="The server.")
@click.option("--channel", required=True, metavar="NUMBER", help="The channel in it.")
@click.option("--on-call-role", metavar="NUMBER", help="The role that a proposal mentions.")
@click.option(
    "--endpoint",
    metavar="URL",
    help="Where Discord reaches this service. Default: PUBLIC_URL and /interactions.",
)
@click.option(
    "--review/--no-review",
    default=True,
    show_default=True,
    help="Also post incidents in review, without buttons.",
)
@by_option
def setup(
    tenant_id: str,
    guild: str,
    channel: str,
    on_call_role: str | None,
    endpoint: str | None,
    review: bool,
    by: str,
) -> None:
    """Show TENANT's proposals in a channel, and take clicks from there.

    Checks everything first; the service must be running. To copy a NUMBER, switch on Developer Mode
    in Discord and right-click.
    """
    settings = Settings.from_process()
    application = _application(settings)
    where = endpoint or _endpoint(settings)
    if where is None:
        raise OperatorError(
            "set PUBLIC_URL, or say with --endpoint where Discord reaches /interactions"
        )
    wanted = Channel(
        tenant_id=tenant_id,
        application_id=application.application_id,
        public_key=application.public_key,
        guild_id=guild,
        channel_id=channel,
        bot_user_id="",
        on_call_role_id=on_call_role,
        shows_review=review,
    )
    asyncio.run(_set_up(application, wanted, where, by))
    click.echo(f"proposals of {tenant_id} are shown in the channel {channel}")


@click.command("check")
@tenant_argument
@json_option
def check(tenant_id: str, as_json: bool) -> None:
    """Check each point of TENANT's channel, and say what to do. Exits with 1 if one is wrong.

    Posts a message and deletes it again.
    """
    points = asyncio.run(_check(tenant_id))
    if as_json:
        print_json(points)
    else:
        for point in points:
            word = "ok   " if point.is_right else "WRONG"
            click.echo(f"{word}  {point.name}: {printable(point.text)}")
    if not all(point.is_right for point in points):
        raise click.exceptions.Exit(1)


@click.command("remove")
@tenant_argument
@by_option
def remove(tenant_id: str, by: str) -> None:
    """Show TENANT's proposals no longer; no click counts any more."""
    write(configured.remove, tenant_id, by, wall_clock())
    click.echo(f"proposals of {tenant_id} are not shown at Discord any more")


async def _set_up(application: DiscordApplication, wanted: Channel, endpoint: str, by: str) -> None:
    configured.check_form(msgspec.structs.replace(wanted, bot_user_id=wanted.application_id))
    async with opened_database() as opened, open_http(opened.settings.outbound) as http:
        await opened.database.read(require_known, wanted.tenant_id)
        found = await setting_up.set_up(_client(application, http), wanted, endpoint)
        now = await opened.database.read(database_time, wall_clock())
        await opened.database.write(configured.configure, found, by, now)


async def _check(tenant_id: str) -> list[Point]:
    async with opened_database() as opened, open_http(opened.settings.outbound) as http:
        channel = await opened.database.read(configured.channel_of, tenant_id)
        if channel is None:
            await opened.database.read(require_known, tenant_id)
            raise OperatorError(f"{tenant_id} has no channel; set one: vyrox discord setup")
        application = _application(opened.settings)
        client = _client(application, http)
        present = _with_settings(channel, application)
        points = await setting_up.check(client, present, _endpoint(opened.settings))
        points.append(_stored_point(channel, present))
        points.append(_waiting_point(*await opened.database.read(due.waiting, tenant_id)))
        return points


def _stored_point(stored: Channel, present: Channel) -> Point:
    if stored == present:
        return Point("settings", True, "they name the application that was set up")
    text = "they name another application than the one that was set up: run vyrox discord setup"
    return Point("settings", False, f"{text} again")


def _waiting_point(number: int, error: str | None) -> Point:
    if number == 0:
        return Point("messages", True, "none waits because of an error")
    return Point("messages", False, f"{number} wait to be sent; the newest reason: {error}")


def _client(application: DiscordApplication, http: httpx.AsyncClient) -> DiscordClient:
    return DiscordClient(http, application.bot_token, monotonic_clock, application.test_url)


def _with_settings(channel: Channel, application: DiscordApplication) -> Channel:
    return msgspec.structs.replace(
        channel, application_id=application.application_id, public_key=application.public_key
    )


def _application(settings: Settings) -> DiscordApplication:
    if settings.discord is None:
        raise OperatorError(
            "set DISCORD_APPLICATION_ID, DISCORD_PUBLIC_KEY and DISCORD_BOT_TOKEN in this shell, "
            "as the service has them"
        )
    return settings.discord


def _endpoint(settings: Settings) -> str | None:
    return None if settings.public_url is None else settings.public_url + ENDPOINT_PATH
