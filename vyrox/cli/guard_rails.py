"""`vyrox tenant freeze`, `unfreeze` and `policy`: what must not be done, whoever approves it."""

import asyncio
from typing import Final

import click
import msgspec
from sqlalchemy import Connection

from vyrox import devices, guard_rails
from vyrox.cli.opened import opened_database
from vyrox.cli.output import as_time, json_option, print_json, printable
from vyrox.cli.tenant import tenant_argument
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.guard_rails import Rails

MAX_PER_HOUR: Final = 1_000_000


@click.command()
@tenant_argument
def freeze(tenant_id: str) -> None:
    """Refuse everything that acts on a host of TENANT, until unfreeze."""
    _freeze(tenant_id, frozen=True)


@click.command()
@tenant_argument
def unfreeze(tenant_id: str) -> None:
    """Let approved actions on TENANT's hosts be carried out again."""
    _freeze(tenant_id, frozen=False)


def _freeze(tenant_id: str, *, frozen: bool) -> None:
    def write(connection: Connection) -> bool:
        return guard_rails.freeze(connection, tenant_id, wall_clock(), frozen=frozen)

    async def run() -> bool:
        async with opened_database() as opened:
            return await opened.database.write(write)

    state = "frozen" if frozen else "not frozen"
    click.echo(f"{tenant_id} is {state}" + ("" if asyncio.run(run()) else ", and was before"))


def _check_rules(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return tuple(guard_rails.check_rule(value) for value in values)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


@click.command()
@tenant_argument
@click.option(
    "--per-hour",
    type=click.IntRange(0, MAX_PER_HOUR),
    help="Containments that may be begun in an hour; 0 is no limit.",
)
@click.option(
    "--never-contain",
    "added",
    multiple=True,
    callback=_check_rules,
    metavar="RULE",
    help="device:ID, host:PATTERN (as dc-*) or tag:TAG of hosts that must never be contained.",
)
@click.option(
    "--allow-again",
    "removed",
    multiple=True,
    callback=_check_rules,
    metavar="RULE",
    help="Take a rule back.",
)
@json_option
def policy(
    tenant_id: str,
    per_hour: int | None,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show TENANT's guard rails, after changing them where options say so."""

    def change(connection: Connection) -> Rails:
        devices.lock(connection)
        before = guard_rails.find(connection, [tenant_id]).get(tenant_id, guard_rails.NONE)
        if unknown := set(removed) - set(before.never_contain):
            raise OperatorError(f"no such rule: {printable(min(unknown))}")
        kept = set(before.never_contain) - set(removed)
        after = msgspec.structs.replace(
            before,
            per_hour=before.per_hour if per_hour is None else per_hour,
            never_contain=tuple(sorted(kept | set(added))),
        )
        if len(after.never_contain) > guard_rails.MAX_RULES:
            raise OperatorError(f"at most {guard_rails.MAX_RULES} rules")
        if after != before:
            changes = [f"per_hour {after.per_hour}"] if after.per_hour != before.per_hour else []
            changes += [f"never_contain {rule}" for rule in added]
            changes += [f"allow again {rule}" for rule in removed]
            guard_rails.store(
                connection, tenant_id, after, "policy: " + ", ".join(changes), wall_clock()
            )
        return after

    async def run() -> Rails:
        async with opened_database() as opened:
            return await opened.database.write(change)

    rails = asyncio.run(run())
    if as_json:
        print_json(rails)
        return
    frozen = "no" if rails.frozen_at is None else f"since {as_time(rails.frozen_at)} UTC"
    click.echo(f"frozen         {frozen}")
    click.echo(f"per hour       {rails.per_hour or 'no limit'}")
    click.echo(f"never contain  {printable(', '.join(rails.never_contain)) or '-'}")
