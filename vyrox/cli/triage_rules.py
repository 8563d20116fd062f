"""`vyrox triage signals`, `disable` and `enable`: which rules count for which tenant."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from vyrox.cli.options import (
    by_option,
    check_name,
    check_tenant_id,
    note_tenant,
    noted_tenant,
    tenant_first,
)
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import read, write
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.tenants.known import require_known
from vyrox.triage import switches
from vyrox.triage.rules import SIGNALS
from vyrox.triage.switches import Disabled

F = TypeVar("F", bound=Callable[..., Any])


def _tenant_and_signal(command: F) -> F:
    """Return the arguments TENANT SIGNAL; the earlier spelling was SIGNAL --tenant TENANT."""
    tenant = click.argument("tenant_id", metavar="TENANT", required=False)
    signal = click.argument("signal", metavar="SIGNAL", required=False, callback=_check_signal)
    old = click.option(
        "--tenant",
        "old_tenant",
        hidden=True,
        is_eager=True,
        expose_value=False,
        callback=note_tenant,
        help="TENANT.",
    )
    return tenant(signal(old(command)))


def _check_signal(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    first: str | None = context.params.get("tenant_id")
    earlier = noted_tenant(context)
    if earlier is not None and value is None:
        first, value = earlier, first
    if first is None or value is None:
        raise click.UsageError("Missing argument 'TENANT' or 'SIGNAL'.")
    context.params["tenant_id"] = check_tenant_id(context, parameter, first)
    return value


@click.command()
@tenant_first()
@wide_option
@json_option
def signals(tenant_id: str | None, as_json: bool) -> None:
    """List the signals with their weights, and which are off for TENANT."""
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
@_tenant_and_signal
@by_option
@click.option(
    "--second",
    callback=check_name,
    help="Another person who agrees. Signals of credentials, recovery and defences need one.",
)
@json_option
def disable(signal: str, tenant_id: str, by: str, second: str | None, as_json: bool) -> None:
    """Switch SIGNAL off for TENANT. Verdicts that exist do not change."""
    read(require_known, tenant_id)
    changed = write(switches.disable, Disabled(tenant_id, signal, by, wall_clock()), second)
    _print(tenant_id, signal, "off", changed=changed, as_json=as_json)


@click.command()
@_tenant_and_signal
@by_option
@json_option
def enable(signal: str, tenant_id: str, by: str, as_json: bool) -> None:
    """Switch SIGNAL on again for TENANT."""
    read(require_known, tenant_id)
    changed = write(switches.enable, tenant_id, signal, by, wall_clock())
    _print(tenant_id, signal, "on", changed=changed, as_json=as_json)


def _print(tenant_id: str, signal: str, state: str, *, changed: bool, as_json: bool) -> None:
    if as_json:
        print_json({"tenant_id": tenant_id, "signal": signal, "state": state, "changed": changed})
        return
    click.echo(f"{signal} is {state} for {tenant_id}{'' if changed else ' already'}")
