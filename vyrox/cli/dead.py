"""`vyrox queue dead`: alerts that were delivered five times and never acknowledged."""

import asyncio
from collections.abc import Sequence

import click

from vyrox.alerts import dead_letters
from vyrox.alerts import queue as queues
from vyrox.alerts.reviving import Revived, revive_alert
from vyrox.cli.ids import whole
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import json_option, print_json
from vyrox.cli.queues import opened_queue
from vyrox.cli.stores import Opened, opened_database, require_known_if_empty
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.clock import wall_clock


@click.command("list")
@tenant_argument
@wide_option
@json_option
def list_dead(tenant_id: str, as_json: bool) -> None:
    """List TENANT's dead letters, oldest first."""

    async def run() -> list[dead_letters.DeadLetter]:
        async with opened_database() as opened:
            return await _list(opened, tenant_id)

    found = asyncio.run(run())
    if as_json:
        print_json(found)
        return
    print_table(
        ("SOURCE", "DEAD SINCE", Column("REASON", "cut"), "RECEIVED", Column("ALERT", "id")),
        (
            (row.source, at(row.dead_at), row.reason, at(row.received_at), row.alert_id)
            for row in found
        ),
    )
    if not found:
        click.echo(f"{tenant_id} has no dead letter", err=True)


@click.command()
@tenant_argument
@click.argument("ids", metavar="[ALERT]...", nargs=-1, callback=whole("alert"))
@wide_option
@json_option
def revive(tenant_id: str, ids: Sequence[str], as_json: bool) -> None:
    """Queue all of TENANT's dead letters again, or the given ones, as if never delivered."""

    async def run() -> list[Revived]:
        async with opened_database() as opened, opened_queue(opened) as alert_queue:
            chosen = ids or [row.alert_id for row in await _list(opened, tenant_id)]
            return await _revive(opened, alert_queue, tenant_id, chosen)

    results = asyncio.run(run())
    if as_json:
        print_json(results)
        return
    columns = ("STATUS", Column("ALERT", "id"))
    print_table(columns, ((row.status, row.alert_id) for row in results))
    if not results:
        click.echo(f"{tenant_id} has no dead letter", err=True)


async def _list(opened: Opened, tenant_id: str) -> list[dead_letters.DeadLetter]:
    found = await opened.database.read(dead_letters.list_dead, tenant_id)
    await require_known_if_empty(opened, tenant_id, found)
    return found


async def _revive(
    opened: Opened, alert_queue: queues.AlertQueue, tenant_id: str, alert_ids: Sequence[str]
) -> list[Revived]:
    # One at a time: a body may be large. Those named are checked before the first is revived.
    await opened.database.read(dead_letters.check_dead, tenant_id, alert_ids)
    return [
        await revive_alert(opened.database, alert_queue, tenant_id, alert_id, wall_clock())
        for alert_id in alert_ids
    ]
