"""`vyrox queue stats`: the number of alerts in each state, tenant by tenant."""

import asyncio

import click
import msgspec

from vyrox.alerts import quarantine_review as kept
from vyrox.alerts import queue as queues
from vyrox.cli.output import json_option, print_json
from vyrox.cli.queues import opened_queue
from vyrox.cli.stores import opened_database
from vyrox.cli.tables import Column, print_table, wide_option


class _TenantStats(msgspec.Struct, frozen=True):
    tenant_id: str
    queued: int
    unfinished: int
    finished: int
    dead: int
    quarantined: int


@click.command()
@wide_option
@json_option
def stats(as_json: bool) -> None:
    """Count each tenant's alerts by state."""

    async def run() -> list[_TenantStats]:
        async with opened_database() as opened, opened_queue(opened) as alert_queue:
            rows = {row.tenant_id: row for row in await opened.database.read(queues.count_rows)}
            held = await opened.database.read(kept.count_quarantined)
            names = sorted(rows.keys() | held.keys())
            queued = await alert_queue.count(names)
        none = queues.TenantRows("", 0, 0, 0)
        return [
            _TenantStats(
                name,
                count,
                (row := rows.get(name, none)).unfinished,
                row.finished,
                row.dead,
                held.get(name, 0),
            )
            for name, count in zip(names, queued, strict=True)
        ]

    found = asyncio.run(run())
    if as_json:
        print_json(found)
        return
    print_table(
        (Column("TENANT", "cut"), "QUEUED", "UNFINISHED", "FINISHED", "DEAD", "QUARANTINED"),
        (msgspec.structs.astuple(row) for row in found),
    )
