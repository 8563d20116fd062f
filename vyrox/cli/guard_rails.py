"""`vyrox tenant freeze` and `unfreeze`: actions that an approval does not allow."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import click

from vyrox.approvals.freezing import end_freeze, set_frozen
from vyrox.cli.options import tenant_or_all
from vyrox.cli.output import as_time, printable
from vyrox.cli.stores import opened_database, write_urgently
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.store.data_dir import is_owned
from vyrox.tenants.containers import (
    CONFIRM_TIMEOUT_S,
    SILENT_S,
    Reported,
    last_report_age,
    until_read,
)
from vyrox.tenants.freezes import EVERY_TENANT
from vyrox.tenants.guard_rails import Frozen

_all_option: Final = click.option(
    "--all", "every_tenant", is_flag=True, help="Every tenant, also tenants that are added later."
)


@click.command()
@tenant_or_all
@_all_option
def freeze(tenant_id: str | None, every_tenant: bool) -> None:
    """Refuse every action on TENANT's hosts, lifts included, until unfreeze.

    Waits until every running container has read it. Exits with 1 if one has not.
    """
    _freeze(_chosen(tenant_id, every_tenant))


@click.command()
@tenant_or_all
@_all_option
def unfreeze(tenant_id: str | None, every_tenant: bool) -> None:
    """Allow approved actions on TENANT's hosts again.

    A tenant's own freeze and the freeze of every tenant are independent: each must be ended.
    """
    chosen = _chosen(tenant_id, every_tenant)
    now = wall_clock()
    unfrozen, still_frozen = asyncio.run(
        write_urgently(lambda connection: end_freeze(connection, chosen, now))
    )
    if every_tenant:
        _print_all_unfrozen(unfrozen, still_frozen)
    elif unfrozen.rails.all_frozen_at is not None:
        click.echo(
            f"{chosen} is STILL FROZEN, with every tenant; to end that: vyrox tenant unfreeze --all"
        )
    else:
        click.echo(f"{chosen} is not frozen{'' if unfrozen.changed else ', and was not before'}")


def _print_all_unfrozen(unfrozen: Frozen, still_frozen: Sequence[str]) -> None:
    own = f". Still frozen by their own freeze: {', '.join(still_frozen)}" if still_frozen else ""
    if unfrozen.changed:
        click.echo(f"the freeze of every tenant is ended{own}")
    else:
        click.echo(f"there was no freeze of every tenant{own}")


def _chosen(tenant_id: str | None, every_tenant: bool) -> str:
    if every_tenant == (tenant_id is not None):
        raise click.UsageError("Give either TENANT or --all.")
    return EVERY_TENANT if tenant_id is None else tenant_id


class _Confirmed(NamedTuple):
    """A freeze, and which containers have read it.

    Attributes:
        place: Which data it is stored in, for an error text.
        is_locked: Whether a process has locked the data directory (SQLite only).
        last_report_s: How many seconds ago a container last reported, if it is silent.
    """

    frozen: Frozen
    containers: Sequence[Reported]
    place: str | None
    is_locked: bool
    last_report_s: float | None


def _freeze(tenant_id: str) -> None:
    now = wall_clock()

    async def run() -> _Confirmed:
        frozen = await write_urgently(
            lambda connection: set_frozen(connection, tenant_id, now, frozen=True)
        )
        async with opened_database() as opened:
            found = await until_read(opened.database, frozen.version, wall_clock)
            directory = None if opened.settings.database_url else opened.settings.data_dir
            return _Confirmed(
                frozen,
                found,
                None if directory is None else str(directory.absolute()),
                directory is not None and not found and is_owned(directory),
                await opened.database.read(last_report_age, wall_clock()),
            )

    confirmed = asyncio.run(run())
    name = tenant_id or "every tenant"
    _check_all_read(name, confirmed)
    changed = confirmed.frozen.changed
    click.echo(f"{name} is frozen" + ("" if changed else ", and was before"))
    click.echo(_in_force(confirmed))


def _check_all_read(name: str, confirmed: _Confirmed) -> None:
    """Raise OperatorError if a service that may run has not read the freeze."""
    frozen, containers = confirmed.frozen, confirmed.containers
    if confirmed.is_locked:
        age = confirmed.last_report_s
        silent = "has never reported" if age is None else f"has not reported for {age:.0f} s"
        raise OperatorError(
            f"the freeze of {name} is stored, but a service that uses {confirmed.place} {silent}. "
            "It may still act: stop it, or run this again"
        )
    if late := [each for each in containers if each.version < frozen.version]:
        which = ", ".join(f"{each.id} (last report {each.age_s:.0f} s ago)" for each in late)
        raise OperatorError(
            f"the freeze of {name} is stored, but {len(late)} of {len(containers)} containers have "
            f"not confirmed it within {CONFIRM_TIMEOUT_S:.0f} s: {printable(which)}. They may still"
            " act: stop them, or run this again"
        )


def _in_force(confirmed: _Confirmed) -> str:
    frozen, containers = confirmed.frozen, confirmed.containers
    if not containers:
        if confirmed.place is None:
            return f"stored; no service has reported on this data within {SILENT_S:.0f} s"
        return (
            f"stored in {confirmed.place}, where no service is running: nothing that runs "
            "elsewhere is frozen"
        )
    count = f"{len(containers)} container" + ("s" if len(containers) > 1 else "")
    if frozen.changed:
        return f"in force in {count} since {as_time(max(each.seen_at for each in containers))} UTC"
    return f"frozen since {as_time(frozen.rails.frozen_at)} UTC; in force in {count} now"
