"""`vyrox viewer`: who may see a tenant's pages (contract 76)."""

import click

from vyrox.cli.options import (
    by_option,
    check_tenant_id,
    same_person_option,
    tenant_argument,
    tenant_or_all,
)
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import read, write
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.console import people_commands as commands
from vyrox.console.viewers import list_viewers
from vyrox.tenants.known import require_known

_name_argument = click.argument("name", metavar="NAME")


@click.command()
@tenant_argument
@_name_argument
@click.option(
    "--home",
    metavar="TENANT",
    callback=check_tenant_id,
    help="NAME is the approver NAME of this tenant, and sees both after one sign-in.",
)
@same_person_option
@by_option
def add(tenant_id: str, name: str, home: str | None, is_same: bool, by: str) -> None:
    """Let NAME see TENANT in the console, and change nothing there.

    With `--home`, NAME also acts for TENANT if NAME is an approver there too.
    """
    write(commands.add, tenant_id, name, home, by, wall_clock(), is_same)
    if home is None:
        click.echo(f"{name} may see {tenant_id}; sign in with: vyrox console link {name}")
    else:
        click.echo(f"{name} of {home} sees {tenant_id} too, from the next request on")


@click.command()
@tenant_argument
@_name_argument
@by_option
def remove(tenant_id: str, name: str, by: str) -> None:
    """Let NAME see TENANT no longer, from the next request on."""
    write(commands.remove, tenant_id, name, by, wall_clock())
    click.echo(f"{name} is no viewer of {tenant_id} any more")


@click.command("list")
@tenant_or_all
@wide_option
@json_option
def list_(tenant_id: str | None, as_json: bool) -> None:
    """List who may see TENANT. Its approvers may too: `vyrox approver list`."""
    found = read(list_viewers, tenant_id)
    if as_json:
        print_json(found)
        return
    columns = (
        Column("TENANT", "cut"),
        Column("VIEWER", "name"),
        Column("APPROVER OF", "cut"),
        "ADDED",
        Column("BY", "cut"),
        "REMOVED",
    )
    print_table(
        columns,
        (
            (
                each.tenant_id,
                each.name,
                each.home,
                at(each.added_at),
                each.added_by,
                at(each.removed_at),
            )
            for each in found
        ),
    )
    if not found:
        if tenant_id is not None:
            read(require_known, tenant_id)
        click.echo("there are no viewers; see: vyrox viewer add", err=True)
