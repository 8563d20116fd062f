"""`vyrox queue`: what is queued, and what was kept because it fits no adapter."""

import asyncio
from typing import Final

import click
import msgspec

from vyrox.alerts import quarantine_review as kept
from vyrox.alerts import queue as queues
from vyrox.cli.output import as_time, json_option, print_json, print_table
from vyrox.cli.queues import opened_queue
from vyrox.cli.stores import opened_database, require_known_if_empty
from vyrox.cli.tenant import tenant_argument
from vyrox.models import NormalizedAlert

_IN_STREAM: Final = frozenset({b"added", b"present"})


class _TenantStats(msgspec.Struct, frozen=True):
    tenant_id: str
    queued: int
    unfinished: int
    finished: int
    dead: int
    quarantined: int


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


@click.command()
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
        ("TENANT", "QUEUED", "UNFINISHED", "FINISHED", "DEAD", "QUARANTINED"),
        (msgspec.structs.astuple(row) for row in found),
    )
