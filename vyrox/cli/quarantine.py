"""`vyrox queue quarantine`: payloads that fit no alert."""

import asyncio
from collections.abc import Sequence

import click
import msgspec

from vyrox.adapters import ADAPTERS
from vyrox.adapters.tolerant_json import tolerant
from vyrox.alerts import quarantine_review as kept
from vyrox.alerts import queue as queues
from vyrox.cli.output import as_time, json_option, print_json, print_table, printable
from vyrox.cli.queues import opened_queue
from vyrox.cli.stores import Opened, opened_database, require_known_if_empty, write
from vyrox.cli.tenant import tenant_argument
from vyrox.clock import wall_clock
from vyrox.errors import NormalizationError
from vyrox.models import Tenant
from vyrox.tenants import records


class _Shown(msgspec.Struct, frozen=True):
    quarantined: kept.Quarantined
    raw: str


class _Replayed(msgspec.Struct, frozen=True):
    """How one replay went: `queued` with an alert id, or `refused` with the reason.

    `stored` is what is yet to be queued, by the service, once the full queue has room.
    """

    id: str
    status: str
    alert_id: str | None = None
    reason: str | None = None


@click.command("list")
@tenant_argument
@click.option(
    "--all", "everything", is_flag=True, help="Also list payloads that were replayed or dismissed."
)
@json_option
def list_(tenant_id: str, everything: bool, as_json: bool) -> None:
    """List TENANT's quarantined payloads, oldest first."""
    rows = asyncio.run(_list(tenant_id, everything))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("ID", "SOURCE", "FIRST", "LAST", "TIMES", "BYTES", "REASON", "BECAME ALERT", "STATE"),
        (
            (
                row.id,
                row.source,
                as_time(row.first_received_at),
                as_time(row.last_received_at),
                row.deliveries,
                row.size_bytes,
                row.reason,
                row.alert_id,
                _state(row),
            )
            for row in rows
        ),
    )


def _state(row: kept.Quarantined) -> str:
    if row.only_counted:
        return "only counted"
    if row.dismissed_at is not None:
        return "dismissed"
    return "waiting" if row.replayed_at is None else "replayed"


@click.command()
@tenant_argument
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
def dismiss(tenant_id: str, ids: Sequence[str]) -> None:
    """Mark TENANT's payloads as not worth a replay. If room is needed, they are deleted first."""
    count = write(kept.dismiss, tenant_id, ids, wall_clock())
    already = len(set(ids)) - count
    verb = "was" if already == 1 else "were"
    click.echo(f"{count} dismissed" + (f"; {already} {verb} already" if already else ""))


@click.command()
@tenant_argument
@click.argument("ids", metavar="[ID]...", nargs=-1)
@json_option
def show(tenant_id: str, ids: Sequence[str], as_json: bool) -> None:
    """Show the reason and the body of all of TENANT's payloads, or of the given ones."""

    async def run() -> list[_Shown]:
        chosen = await _choose(tenant_id, ids)
        async with opened_database() as opened:
            read = [
                await opened.database.read(kept.read_quarantined, tenant_id, id_) for id_ in chosen
            ]
        return [_Shown(row, raw.decode("utf-8", "backslashreplace")) for row, raw in read]

    found = asyncio.run(run())
    if as_json:
        print_json(found)
        return
    for shown in found:
        click.echo(f"{shown.quarantined.id}  {printable(shown.quarantined.reason)}")
        click.echo(printable(shown.raw))


@click.command()
@tenant_argument
@click.argument("ids", metavar="[ID]...", nargs=-1)
@json_option
def replay(tenant_id: str, ids: Sequence[str], as_json: bool) -> None:
    """Try all of TENANT's payloads, or the given ones, with the present adapter and field map.

    A payload that is still refused stays in quarantine, and the command exits with 1.
    """

    async def run() -> list[_Replayed]:
        chosen = await _choose(tenant_id, ids)
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


async def _list(tenant_id: str, everything: bool) -> list[kept.Quarantined]:
    async with opened_database() as opened:
        rows = await opened.database.read(kept.list_quarantined, tenant_id)
        await require_known_if_empty(opened, tenant_id, rows)
    return [
        row for row in rows if everything or (row.replayed_at is None and row.dismissed_at is None)
    ]


async def _choose(tenant_id: str, ids: Sequence[str]) -> Sequence[str]:
    """Return `ids`, or where there are none, those of all payloads that were not replayed.

    Raises:
        OperatorError: The tenant has no payload with one of the ids.
    """
    if not ids:
        waiting = await _list(tenant_id, everything=False)
        return [row.id for row in waiting if not row.only_counted]
    # All are checked before the first is replayed, so that an error means that nothing was done.
    known = {row.id for row in await _list(tenant_id, everything=True)}
    if unknown := [id_ for id_ in ids if id_ not in known]:
        raise kept.unknown_payload(tenant_id, *unknown)
    return ids


async def _replay(
    opened: Opened, alert_queue: queues.AlertQueue, tenant_id: str, quarantine_id: str
) -> _Replayed:
    row, raw = await opened.database.read(kept.read_quarantined, tenant_id, quarantine_id)
    field_map = await opened.database.read(records.field_map_of, tenant_id, row.source)
    now = wall_clock()
    try:
        alert = ADAPTERS[row.source].normalize(
            tolerant(raw), Tenant(tenant_id, field_map), row.first_received_at
        )
    except NormalizationError as exc:
        await opened.database.write(kept.store_reason, quarantine_id, str(exc))
        return _Replayed(quarantine_id, "refused", reason=str(exc))
    stored = await opened.database.write(kept.replay, row, raw, alert, now)
    entry = queues.QueueEntry(tenant_id, stored.alert_id, stored.alert, raw)
    if not stored.finished and await alert_queue.put_patiently([entry]) == [b"full"]:
        return _Replayed(quarantine_id, "stored", stored.alert_id)
    return _Replayed(quarantine_id, "queued", stored.alert_id)
