"""`vyrox console`: links with which people sign in to the console to look (contract 76)."""

import asyncio

import click

from vyrox.cli.options import check_tenant_id
from vyrox.cli.stores import opened_database
from vyrox.clock import wall_clock
from vyrox.console import people_commands as commands


def _check_tenant_ids(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    for value in values:
        check_tenant_id(context, parameter, value)
    return values


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--tenant",
    "tenants",
    metavar="TENANT",
    multiple=True,
    callback=_check_tenant_ids,
    help="Only this tenant; may be given several times. Needed if several people have this name.",
)
def link(name: str, tenants: tuple[str, ...]) -> None:
    """Print a link with which NAME, a viewer or an approver, signs in once to look.

    Who signs in with it sees everything of these tenants and changes nothing.
    """
    origin, secret, opened = asyncio.run(_link(name, tenants))
    click.echo(f"for {name} only, once, within 10 minutes, to see {', '.join(opened)}:")
    click.echo(f"  {origin}/link#{secret}")


async def _link(name: str, tenants: tuple[str, ...]) -> tuple[str, str, list[str]]:
    async with opened_database() as opened:
        origin = opened.settings.require_console_origin()
        secret, seen = await opened.database.write(commands.link, name, tenants, wall_clock())
        return origin, secret, seen
