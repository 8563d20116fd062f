"""`vyrox approver`: who may decide on a tenant's proposals, and with what (contract 65)."""

import asyncio
from collections.abc import Sequence

import click

from vyrox.approvals import approver_commands as commands
from vyrox.approvals.approver_commands import Codes
from vyrox.approvals.keys import Key
from vyrox.approvals.listed import Listed, ListedApprover, ListedChange
from vyrox.cli.options import by_option, same_person_option, tenant_argument, tenant_or_all
from vyrox.cli.output import as_time, counted, in_groups, json_option, print_json, printable
from vyrox.cli.stores import opened_database, read, write
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.console import sessions
from vyrox.errors import OperatorError, SettingsError
from vyrox.store.database import Transaction
from vyrox.tenants.known import require_known

_name_argument = click.argument("name", metavar="NAME")
_discord_option = click.option(
    "--discord", is_flag=True, help="Also print a code with which NAME registers in Discord."
)


@click.command()
@tenant_argument
@_name_argument
@_discord_option
@same_person_option
@by_option
def add(tenant_id: str, name: str, discord: bool, is_same: bool, by: str) -> None:
    """Let NAME decide on TENANT's proposals, and print a link with which NAME enrols a passkey."""
    _print_codes(
        tenant_id,
        name,
        lambda connection: commands.add(
            connection, tenant_id, name, by, wall_clock(), discord=discord, is_same=is_same
        ),
    )


@click.command()
@tenant_argument
@_name_argument
@_discord_option
def link(tenant_id: str, name: str, discord: bool) -> None:
    """Print a new link for NAME, for a further passkey or in place of a link that is too old."""
    _print_codes(
        tenant_id,
        name,
        lambda connection: commands.link(
            connection, tenant_id, name, wall_clock(), discord=discord
        ),
    )


@click.command()
@tenant_argument
@_name_argument
@_discord_option
@by_option
def reset(tenant_id: str, name: str, discord: bool, by: str) -> None:
    """Take NAME's passkeys and account at Discord away, and print a link for a new passkey.

    For a day NAME does not count where two persons are needed.
    """
    _print_codes(
        tenant_id,
        name,
        lambda connection: commands.reset(
            connection, tenant_id, name, by, wall_clock(), discord=discord
        ),
    )


def _print_codes(tenant_id: str, name: str, transaction: Transaction[Codes]) -> None:
    async def run() -> tuple[str, Codes]:
        async with opened_database() as opened:
            origin = opened.settings.require_console_origin()
            return origin, await opened.database.write(transaction)

    origin, codes = asyncio.run(run())
    click.echo(f"for {name} only, once, within an hour:")
    click.echo(f"  {origin}/enrol#{codes.secret}")
    if codes.discord is not None:
        click.echo(f"  in Discord: /vyrox register {codes.discord}")
    click.echo(
        f"the passkey decides nothing until: vyrox approver confirm {tenant_id} {name}", err=True
    )


@click.command()
@tenant_argument
@_name_argument
@click.option("--thumbprint", help="What NAME's page shows, as NAME told you.")
@by_option
def confirm(tenant_id: str, name: str, thumbprint: str | None, by: str) -> None:
    """Let NAME's new passkey decide, once you have compared its thumbprint with NAME's page.

    Ask NAME by voice. If several approvers have passkeys, another one must endorse it in the
    console.
    """
    if thumbprint is None:
        thumbprint = _compared(tenant_id, name)
    whole = "".join(thumbprint.split())  # in groups, as the page shows it
    waits_for = write(commands.confirm, tenant_id, name, whole, by, wall_clock())
    if waits_for:
        click.echo(
            f"{name}'s passkey waits: within a day, {counted(waits_for, 'other approver')} must "
            "endorse it in the console"
        )
    else:
        click.echo(f"{name}'s passkey decides from now on")


def _compared(tenant_id: str, name: str) -> str:
    """Return the thumbprint that the operator has compared."""
    waiting: Sequence[Key] = read(commands.waiting_keys, tenant_id, name)
    if not waiting:
        raise OperatorError(f"{name} has no passkey that waits to be confirmed")
    for key in waiting:
        click.echo(f"{in_groups(key.thumbprint)}  enrolled {as_time(key.added_at)} UTC")
    if len(waiting) > 1:
        raise OperatorError(f"{name} has {len(waiting)} passkeys that wait: give '--thumbprint'")
    click.confirm(f"Does {name}'s page show exactly this thumbprint?", abort=True)
    return waiting[0].thumbprint


@click.command()
@tenant_argument
@_name_argument
@by_option
def remove(tenant_id: str, name: str, by: str) -> None:
    """Take NAME off the list. NAME's decisions that are not carried out yet count no longer."""
    write(commands.remove, tenant_id, name, by, wall_clock())
    click.echo(f"{name} is no approver of {tenant_id} any more")


@click.command("sign-out")
@tenant_argument
@_name_argument
def sign_out(tenant_id: str, name: str) -> None:
    """End NAME's sessions in the console, also a viewer's.

    With a passkey, or a new link, NAME can sign in again.
    """
    ended = write(sessions.end_all, [tenant_id], name)
    if not ended:
        read(require_known, tenant_id)
    click.echo(f"{counted(ended, 'session')} of {name} ended")


@click.command("list")
@tenant_or_all
@wide_option
@json_option
def list_(tenant_id: str | None, as_json: bool) -> None:
    """List who may decide on TENANT's proposals, their passkeys, and what waits."""
    found, origin = asyncio.run(_listed(tenant_id))
    if as_json:
        print_json(found)
        return
    columns = (
        Column("TENANT", "cut"),
        Column("APPROVER", "name"),
        "ADDED",
        Column("BY", "cut"),
        "REMOVED",
        Column("RESET", "more"),
        Column("DISCORD USER", "more"),
    )
    print_table(columns, (_row(each) for each in found.approvers))
    if not found.approvers:
        if tenant_id is not None:
            read(require_known, tenant_id)
        click.echo("there are no approvers; see: vyrox approver add", err=True)
    _print_keys(found.approvers)
    for change in found.waiting:
        click.echo(f"waits: {printable(_change(change))}")
    if others := _other_origins(found.approvers, origin):
        click.echo(
            f"passkeys of {printable(', '.join(others))} decide nothing: the console is {origin}",
            err=True,
        )


async def _listed(tenant_id: str | None) -> tuple[Listed, str | None]:
    """Return what is listed, and the console's origin, unless only the service knows it."""
    async with opened_database() as opened:
        found = await opened.database.read(commands.listed, tenant_id, wall_clock())
        try:
            return found, opened.settings.require_console_origin()
        except SettingsError:
            return found, None


def _other_origins(people: Sequence[ListedApprover], origin: str | None) -> list[str]:
    """Return of which other origins there are passkeys that were not removed (A23)."""
    if origin is None:
        return []
    present = (key for each in people for key in each.keys if key.removed_at is None)
    return sorted({key.origin for key in present} - {origin})


def _row(each: ListedApprover) -> Sequence[object]:
    return (
        each.tenant_id,
        each.name,
        at(each.added_at),
        each.added_by,
        at(each.removed_at),
        at(each.reset_at),
        each.discord_user_id,
    )


def _print_keys(people: Sequence[ListedApprover]) -> None:
    rows = [
        (
            each.tenant_id,
            each.name,
            at(key.added_at),
            "no" if key.confirmed_at is None else at(key.confirmed_at),
            at(key.removed_at),
            key.thumbprint,
        )
        for each in people
        for key in each.keys
    ]
    if rows:
        click.echo()
        columns = (
            Column("TENANT", "cut"),
            Column("APPROVER", "name"),
            "PASSKEY ADDED",
            "CONFIRMED",
            "REMOVED",
            Column("PASSKEY", "wide"),
        )
        print_table(columns, rows)


def _change(each: ListedChange) -> str:
    return (
        f"{each.what}, of {each.tenant_id}, asked by {each.asked_by}: {len(each.endorsed_by)} of "
        f"{counted(each.needed, 'approver')} endorsed it, until {as_time(each.expires_at)} UTC"
    )
