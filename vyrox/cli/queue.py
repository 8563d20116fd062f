"""`vyrox queue peek`: the oldest queued alerts of a tenant."""

import asyncio

import click

from vyrox.cli.options import tenant_argument
from vyrox.cli.output import as_time, json_option, print_json, print_table
from vyrox.cli.queues import opened_queue
from vyrox.cli.stores import opened_database, require_known_if_empty
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
        ("TIME", "SOURCE", "SEVERITY", "HOST", "PROCESS", "USER", "TECHNIQUE", "ALERT"),
        (
            (
                as_time(alert.timestamp),
                alert.source,
                alert.vendor_severity,
                alert.hostname,
                alert.process_name,
                alert.username,
                alert.technique,
                alert.id,
            )
            for alert in alerts
        ),
    )
