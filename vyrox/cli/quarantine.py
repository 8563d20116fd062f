"""`vyrox queue quarantine`: payloads that fit no alert."""

import asyncio
from collections.abc import Sequence

import click
import msgspec

from vyrox.alerts import quarantine_review as kept
from vyrox.cli.ids import whole
from vyrox.cli.options import tenant_argument
from vyrox.cli.output import json_option, print_json, printable
from vyrox.cli.paging import through_pager
from vyrox.cli.stores import opened_database, require_known_if_empty, write
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.clock import wall_clock


class _Shown(msgspec.Struct, frozen=True):
    quarantined: kept.Quarantined
    raw: str


@click.command("list")
@tenant_argument
@click.option(
    "--all", "everything", is_flag=True, help="Also list payloads that were replayed or dismissed."
)
@wide_option
@json_option
def list_(tenant_id: str, everything: bool, as_json: bool) -> None:
    """List TENANT's quarantined payloads, oldest first."""
    rows = asyncio.run(_list(tenant_id, everything))
    if as_json:
        print_json(rows)
        return
    print_table(
        (
            "STATE",
            "SOURCE",
            Column("REASON", "cut"),
            "TIMES",
            "LAST",
            Column("FIRST", "more"),
            Column("BYTES", "more"),
            Column("BECAME ALERT", "more"),
            Column("ID", "id"),
        ),
        (
            (
                _state(row),
                row.source,
                row.reason,
                row.deliveries,
                at(row.last_received_at),
                at(row.first_received_at),
                row.size_bytes,
                row.alert_id,
                row.id,
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
@click.argument("ids", metavar="ID...", nargs=-1, required=True, callback=whole("payload"))
def dismiss(tenant_id: str, ids: Sequence[str]) -> None:
    """Mark TENANT's payloads as not worth a replay. If room is needed, they are deleted first."""
    count = write(kept.dismiss, tenant_id, ids, wall_clock())
    already = len(set(ids)) - count
    verb = "was" if already == 1 else "were"
    click.echo(f"{count} dismissed" + (f"; {already} {verb} already" if already else ""))


@click.command()
@tenant_argument
@click.argument("ids", metavar="[ID]...", nargs=-1, callback=whole("payload"))
@json_option
@through_pager
def show(tenant_id: str, ids: Sequence[str], as_json: bool) -> None:
    """Show the reason and the body of all of TENANT's payloads, or of the given ones."""

    async def run() -> list[_Shown]:
        chosen = await choose(tenant_id, ids)
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


async def _list(tenant_id: str, everything: bool) -> list[kept.Quarantined]:
    async with opened_database() as opened:
        rows = await opened.database.read(kept.list_quarantined, tenant_id)
        await require_known_if_empty(opened, tenant_id, rows)
    return [
        row for row in rows if everything or (row.replayed_at is None and row.dismissed_at is None)
    ]


async def choose(tenant_id: str, ids: Sequence[str]) -> Sequence[str]:
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
