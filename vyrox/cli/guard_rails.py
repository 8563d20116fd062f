"""`vyrox tenant freeze`, `unfreeze` and `policy`: what must not be done, whoever approves it."""

import asyncio
from collections.abc import Sequence
from typing import Final, get_args

import click

from vyrox.cli.output import as_time, json_option, print_json, printable
from vyrox.cli.stores import opened_database, write_urgently
from vyrox.cli.tenant import new_option, tenant_argument, tenant_or_all
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.store.database import Database, Transaction
from vyrox.tenants import device_rules
from vyrox.tenants.containers import Reported, running
from vyrox.tenants.freezes import EVERY_TENANT
from vyrox.tenants.guard_rails import Frozen, OtherHosts, Rails
from vyrox.tenants.policy import Change, change_policy, set_frozen

MAX_PER_HOUR: Final = 1_000_000

TAKEN_OVER_S: Final = 5.0
"""How long `freeze` waits for the containers."""

POLL_S: Final = 0.05


_all_option: Final = click.option(
    "--all", "every_tenant", is_flag=True, help="Every tenant, those added later too."
)


@click.command()
@tenant_or_all
@_all_option
def freeze(tenant_id: str | None, every_tenant: bool) -> None:
    """Refuse everything that acts on a host of TENANT, until unfreeze.

    Waits until every running container has read it. Exits with 1 if one has not.
    """
    _freeze(_chosen(tenant_id, every_tenant))


@click.command()
@tenant_or_all
@_all_option
def unfreeze(tenant_id: str | None, every_tenant: bool) -> None:
    """Let approved actions on TENANT's hosts be carried out again.

    A tenant's own freeze outlives that of every tenant, and the other way round.
    """
    chosen = _chosen(tenant_id, every_tenant)
    unfrozen = asyncio.run(write_urgently(_set_frozen(chosen, frozen=False)))
    before = "" if unfrozen.changed else ", and was not before"
    if not every_tenant and unfrozen.rails.all_frozen_at is not None:
        click.echo(
            f"{chosen} has no freeze of its own{before}, but every tenant is frozen; "
            "see: vyrox tenant unfreeze --all"
        )
    elif every_tenant:
        click.echo(f"not every tenant is frozen{before}; see: vyrox tenant list")
    else:
        click.echo(f"{chosen} is not frozen{before}")


def _chosen(tenant_id: str | None, every_tenant: bool) -> str:
    if every_tenant == (tenant_id is not None):
        raise click.UsageError("Give either TENANT or --all.")
    return EVERY_TENANT if tenant_id is None else tenant_id


def _set_frozen(tenant_id: str, *, frozen: bool) -> Transaction[Frozen]:
    now = wall_clock()
    return lambda connection: set_frozen(connection, tenant_id, now, frozen=frozen)


def _freeze(tenant_id: str) -> None:
    async def run() -> tuple[Frozen, Sequence[Reported]]:
        frozen = await write_urgently(_set_frozen(tenant_id, frozen=True))
        async with opened_database() as opened:
            return frozen, await _until_read(opened.database, frozen.version)

    frozen, containers = asyncio.run(run())
    name = tenant_id or "every tenant"
    if late := [each for each in containers if each.version < frozen.version]:
        which = ", ".join(f"{each.id} (last report {each.age_s:.0f} s ago)" for each in late)
        raise OperatorError(
            f"the freeze of {name} is stored, but {len(late)} of {len(containers)} containers have "
            f"not confirmed it within {TAKEN_OVER_S:.0f} s: {printable(which)}. They may still act:"
            " stop them, or run this again"
        )
    click.echo(f"{name} is frozen" + ("" if frozen.changed else ", and was before"))
    if not containers:
        click.echo("stored; no service is running on this data")
        return
    since = max(each.seen_at for each in containers) if frozen.changed else frozen.rails.frozen_at
    count = f"{len(containers)} container" + ("s" if len(containers) > 1 else "")
    click.echo(f"in force in {count} since {as_time(since)} UTC")


async def _until_read(database: Database, version: int) -> Sequence[Reported]:
    """Return the containers that run, once all have read `version`, or after TAKEN_OVER_S."""
    deadline = asyncio.get_running_loop().time() + TAKEN_OVER_S
    while True:
        found = await database.read(running, wall_clock())
        late = any(each.version < version for each in found)
        if not late or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(POLL_S)


def _check_rules(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return tuple(device_rules.check_rule(value) for value in values)
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
    help="device:ID, tag:TAG or host:PATTERN (as dc-*) of hosts that must never be contained. "
    "Prefer the first two: whoever controls a host can rename it.",
)
@click.option(
    "--allow-again",
    "removed",
    multiple=True,
    callback=_check_rules,
    metavar="RULE",
    help="Take a rule back.",
)
@click.option(
    "--other-hosts",
    type=click.Choice(get_args(OtherHosts)),
    help="Whether a host that the alert does not name may be contained.",
)
@click.option(
    "--known-alerts-only/--any-alert",
    default=None,
    help="Refuse a containment whose alert id names no stored alert, or allow it again.",
)
@new_option
@json_option
def policy(
    tenant_id: str,
    per_hour: int | None,
    added: tuple[str, ...],
    removed: tuple[str, ...],
    other_hosts: OtherHosts | None,
    known_alerts_only: bool | None,
    is_new: bool,
    as_json: bool,
) -> None:
    """Show TENANT's guard rails, after changing them where options say so."""
    now = wall_clock()
    change = Change(
        per_hour=per_hour,
        added=added,
        removed=removed,
        other_hosts=other_hosts,
        known_alerts_only=known_alerts_only,
        is_new=is_new,
    )
    rails = asyncio.run(
        write_urgently(lambda connection: change_policy(connection, tenant_id, change, now))
    )
    if as_json:
        print_json(rails)
        return
    click.echo(f"frozen         {_frozen_text(rails)}")
    click.echo(f"per hour       {rails.per_hour or 'no limit'}")
    click.echo(f"never contain  {printable(', '.join(rails.never_contain)) or '-'}")
    click.echo(f"other hosts    {rails.other_hosts}")
    click.echo(f"alerts         {'known ones only' if rails.known_alerts_only else 'any'}")


def _frozen_text(rails: Rails) -> str:
    if rails.frozen_at is not None:
        return f"since {as_time(rails.frozen_at)} UTC"
    if rails.all_frozen_at is not None:
        return f"since {as_time(rails.all_frozen_at)} UTC, with every tenant"
    return "no"
