"""`vyrox queue peek`: the oldest queued alerts of a tenant."""

import asyncio

import click

from vyrox.cli.options import tenant_argument
from vyrox.cli.output import json_option, print_json
from vyrox.cli.queues import opened_queue
from vyrox.cli.stores import opened_database, require_known_if_empty
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.models import NormalizedAlert


@click.command()
@tenant_argument
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="How many at most.",
)
@wide_option
@json_option
def peek(tenant_id: str, count: int, as_json: bool) -> None:
    """Show TENANT's oldest queued alerts, and leave them queued."""

    async def run() -> list[NormalizedAlert]:
        async with opened_database() as opened, opened_queue(opened) as alert_queue:
            found = await alert_queue.peek(tenant_id, count)
            await require_known_if_empty(opened, tenant_id, found)
            return found

    alerts = asyncio.run(run())
    if as_json:
        print_json(alerts)
        return
    print_table(
        (
            Column("SEVERITY", "cut"),
            Column("HOST", "name"),
            Column("USER", "cut"),
            Column("PROCESS", "cut"),
            "TIME",
            Column("SOURCE", "more"),
            Column("TECHNIQUE", "more"),
            Column("ALERT", "id"),
        ),
        (
            (
                alert.vendor_severity,
                alert.hostname,
                alert.username,
                alert.process_name,
                at(alert.timestamp),
                alert.source,
                alert.technique,
                alert.id,
            )
            for alert in alerts
        ),
    )
