"""`vyrox queue quarantine replay`: payloads are tried again with the present adapter and map."""

import asyncio
from collections.abc import Sequence

import click

from vyrox.alerts.replaying import Replayed, replay_payload
from vyrox.cli.ids import whole
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import json_option, print_json
from vyrox.cli.quarantine import choose
from vyrox.cli.queues import opened_queue
from vyrox.cli.stores import opened_database
from vyrox.cli.tables import Column, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.tenants.payloads import read_kept


@click.command()
@tenant_argument
@click.argument("ids", metavar="[ID]...", nargs=-1, callback=whole("payload"))
@wide_option
@json_option
def replay(tenant_id: str, ids: Sequence[str], as_json: bool) -> None:
    """Try all of TENANT's payloads, or the given ones, with the present adapter and field map.

    A payload that is still refused stays in quarantine, and the command exits with 1.
    """

    async def run() -> list[Replayed]:
        chosen = await choose(tenant_id, ids)
        async with opened_database() as opened, opened_queue(opened) as alert_queue:
            return [
                await replay_payload(
                    opened.database, alert_queue, read_kept, tenant_id, id_, wall_clock()
                )
                for id_ in chosen
            ]

    results = asyncio.run(run())
    if as_json:
        print_json(results)
    else:
        print_table(
            ("STATUS", Column("REASON", "cut"), Column("ID", "id"), Column("ALERT", "id")),
            ((row.status, row.reason, row.id, row.alert_id) for row in results),
        )
    if any(row.status == "refused" for row in results):
        raise click.exceptions.Exit(1)
