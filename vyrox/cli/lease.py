"""`vyrox lease`: containments that end by themselves (contract 68)."""

import click

from vyrox.approvals import lease_commands
from vyrox.approvals.proposal import MAX_REASON
from vyrox.cli.asked import print_asked
from vyrox.cli.lease_option import lease_of, lease_options
from vyrox.cli.options import by_option, tenant_argument, tenant_or_all
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import read, write
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.settings import Settings
from vyrox.tenants.known import require_known

_COLUMNS = (
    Column("TENANT", "same"),
    Column("HOST", "name"),
    "ENDS",
    Column("STATE", "cut"),
    "SINCE",
    Column("ACTION", "cut"),
    Column("DEVICE", "more"),
)


@click.command("list")
@tenant_or_all
@wide_option
@json_option
def list_(tenant_id: str | None, as_json: bool) -> None:
    """List what is contained until when, the first to end first."""
    found = read(lease_commands.list_leases, tenant_id, wall_clock())
    if as_json:
        print_json(found)
        return
    rows = (
        (
            each.tenant_id,
            each.hostname or each.device_id,
            at(each.ends_at),
            each.state,
            at(each.since),
            each.action_type,
            each.device_id,
        )
        for each in found
    )
    print_table(_COLUMNS, rows)
    if not found:
        if tenant_id is not None:
            read(require_known, tenant_id)
        click.echo("no containment has an end", err=True)


def _check_reason(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip() or len(value) > MAX_REASON:
        raise click.BadParameter(f"must be a text of at most {MAX_REASON} characters")
    return value


_host = click.argument("host", metavar="HOST")
_reason = click.option(
    "--reason", required=True, callback=_check_reason, help="Why, for the person who decides."
)


@click.command("extend")
@tenant_argument
@_host
@lease_options
@_reason
@by_option
@json_option
def extend(
    tenant_id: str,
    host: str,
    lease_s: int | None,
    has_no_end: bool,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Propose a later end for the containment of HOST, a device id or a name.

    The new time begins when the proposal is approved. More than 24 h in all need two persons.
    """
    length_s = lease_of(lease_s, has_no_end=has_no_end)
    ttl_s = Settings.from_process().approval_ttl_s
    asked = write(lease_commands.extend, tenant_id, host, length_s, by, reason, wall_clock(), ttl_s)
    print_asked(asked, as_json=as_json)


@click.command("end")
@tenant_argument
@_host
@_reason
@by_option
@json_option
def end(tenant_id: str, host: str, reason: str, by: str, as_json: bool) -> None:
    """Propose to lift HOST, a device id or a name, before its containment ends."""
    ttl_s = Settings.from_process().approval_ttl_s
    asked = write(lease_commands.end, tenant_id, host, by, reason, wall_clock(), ttl_s)
    print_asked(asked, as_json=as_json)
