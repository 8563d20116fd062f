"""`vyrox queue quarantine replay`: payloads are tried again with the present adapter and map."""

import asyncio
from collections.abc import Sequence

import click
import msgspec

from vyrox.adapters.own_forms import Ignored
from vyrox.adapters.tolerant_json import tolerant
from vyrox.alerts import quarantine_review as kept
from vyrox.alerts import queue as queues
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import json_option, print_json, print_table
from vyrox.cli.quarantine import choose
from vyrox.cli.queues import opened_queue
from vyrox.cli.stores import Opened, opened_database
from vyrox.clock import wall_clock
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Tenant
from vyrox.tenants import records
from vyrox.tenants.bindings import Bindings, read_bindings
from vyrox.tenants.customers import read_element, tenant_of


class _Replayed(msgspec.Struct, frozen=True):
    """How one replay went: `queued` with an alert id, or `refused` with the reason.

    `stored` is what is yet to be queued, by the service, once the full queue has room.
    """

    id: str
    status: str
    alert_id: str | None = None
    reason: str | None = None


@click.command()
@tenant_argument
@click.argument("ids", metavar="[ID]...", nargs=-1)
@json_option
def replay(tenant_id: str, ids: Sequence[str], as_json: bool) -> None:
    """Try all of TENANT's payloads, or the given ones, with the present adapter and field map.

    A payload that is still refused stays in quarantine, and the command exits with 1.
    """

    async def run() -> list[_Replayed]:
        chosen = await choose(tenant_id, ids)
        async with opened_database() as opened, opened_queue(opened) as alert_queue:
            return [await _replay(opened, alert_queue, tenant_id, id_) for id_ in chosen]

    results = asyncio.run(run())
    if as_json:
        print_json(results)
    else:
        print_table(
            ("ID", "STATUS", "ALERT", "REASON"),
            ((row.id, row.status, row.alert_id, row.reason) for row in results),
        )
    if any(row.status == "refused" for row in results):
        raise click.exceptions.Exit(1)


async def _replay(
    opened: Opened, alert_queue: queues.AlertQueue, tenant_id: str, quarantine_id: str
) -> _Replayed:
    row, raw = await opened.database.read(kept.read_quarantined, tenant_id, quarantine_id)
    field_map = await opened.database.read(records.field_map_of, tenant_id, row.source)
    now = wall_clock()
    bindings = await opened.database.read(read_bindings, row.source)
    try:
        alert = _read(row, raw, Tenant(tenant_id, field_map), bindings)
    except NormalizationError as exc:
        await opened.database.write(kept.store_reason, quarantine_id, str(exc))
        return _Replayed(quarantine_id, "refused", reason=str(exc))
    stored = await opened.database.write(kept.replay, row, raw, alert, now)
    entry = queues.QueueEntry(alert.tenant_id, stored.alert_id, stored.alert, raw)
    if not stored.finished and await alert_queue.put_patiently([entry]) == [b"full"]:
        return _Replayed(quarantine_id, "stored", stored.alert_id)
    return _Replayed(quarantine_id, "queued", stored.alert_id)


def _read(row: kept.Quarantined, raw: bytes, tenant: Tenant, bindings: Bindings) -> NormalizedAlert:
    """Return the alert in a payload, as a path with the tenant in it reads one.

    Raises:
        NormalizationError: It is not an alert, or not the tenant's.
    """
    text = tolerant(raw)
    owner = tenant_of(row.source, text, tenant, bindings)
    found = read_element(row.source, text, owner, row.first_received_at)
    if isinstance(found, Ignored):
        raise NormalizationError(f"{found.what} is not a detection")
    return found
