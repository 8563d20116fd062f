"""`vyrox triage signals`, `disable` and `enable`: which rules count for which tenant."""

import click

from vyrox.cli.options import by_option, check_name, check_tenant_id
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import read, write
from vyrox.cli.tables import Column, print_table
from vyrox.clock import wall_clock
from vyrox.tenants.known import require_known
from vyrox.triage import switches
from vyrox.triage.rules import SIGNALS
from vyrox.triage.switches import Disabled

_of_tenant = click.option(
    "--tenant", "tenant_id", required=True, callback=check_tenant_id, help="For this tenant."
)
_maybe_tenant = click.option(
    "--tenant", "tenant_id", callback=check_tenant_id, help="Show which are off for this tenant."
)


@click.command()
@_maybe_tenant
@json_option
def signals(tenant_id: str | None, as_json: bool) -> None:
    """List the signals with their weights. Only --tenant needs the database."""
    off = {each.signal: each for each in ([] if tenant_id is None else _off(tenant_id))}
    if as_json:
        print_json(
            [
                {
                    "signal": each.name,
                    "weight": each.weight,
                    "technique": each.technique,
                    **({} if tenant_id is None else {"off": off.get(each.name)}),
                }
                for each in SIGNALS
            ]
        )
        return
    off_by = () if tenant_id is None else (Column("OFF BY", "cut"),)
    columns = (Column("SIGNAL", "cut"), "WEIGHT", Column("TECHNIQUE", "cut"), *off_by)
    print_table(
        columns,
        (
            (
                each.name,
                each.weight,
                each.technique,
                *(() if tenant_id is None else (off[each.name].by if each.name in off else None,)),
            )
            for each in SIGNALS
        ),
    )


def _off(tenant_id: str) -> list[Disabled]:
    read(require_known, tenant_id)
    return read(switches.list_disabled, tenant_id)


@click.command()
@click.argument("signal")
@_of_tenant
@by_option
@click.option(
    "--second",
    callback=check_name,
    help="Another person who agrees. Signals of credentials, recovery and defences need one.",
)
@json_option
def disable(signal: str, tenant_id: str, by: str, second: str | None, as_json: bool) -> None:
    """Switch SIGNAL off for a tenant. Verdicts that exist do not change."""
    read(require_known, tenant_id)
    changed = write(switches.disable, Disabled(tenant_id, signal, by, wall_clock()), second)
    _print(tenant_id, signal, "off", changed=changed, as_json=as_json)


@click.command()
@click.argument("signal")
@_of_tenant
@by_option
@json_option
def enable(signal: str, tenant_id: str, by: str, as_json: bool) -> None:
    """Switch SIGNAL on again for a tenant."""
    read(require_known, tenant_id)
    changed = write(switches.enable, tenant_id, signal, by, wall_clock())
    _print(tenant_id, signal, "on", changed=changed, as_json=as_json)


def _print(tenant_id: str, signal: str, state: str, *, changed: bool, as_json: bool) -> None:
    if as_json:
        print_json({"tenant_id": tenant_id, "signal": signal, "state": state, "changed": changed})
        return
    click.echo(f"{signal} is {state} for {tenant_id}{'' if changed else ' already'}")
