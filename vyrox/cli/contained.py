"""`vyrox contained`: what is contained now (contract 86)."""

from typing import Final

import click

from vyrox.approvals.why_contained import State, WhyContained, list_why
from vyrox.cli.options import tenant_or_all
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import read
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.tenants.known import list_known, require_known

MAX_LISTED: Final = 1000

_COLUMNS: Final = (
    Column("HOST", "name"),
    Column("STATE", "cut"),
    "SINCE",
    Column("APPROVED BY", "cut"),
    Column("ENDS", "same"),
    Column("TENANT", "same"),
    Column("ACTION", "more"),
    Column("VENDOR", "more"),
    Column("DEVICE", "more"),
    Column("REQUEST", "wide"),
    Column("ALERT", "id"),
)

STATES: Final[dict[State, str]] = {
    "contained": "contained",
    "unconfirmed": "NOT CONFIRMED",
    "waiting": "not confirmed yet",
    "begun": "sent, no response yet",
    "lifting": "being lifted",
}


@click.command()
@tenant_or_all
@wide_option
@json_option
def contained(tenant_id: str | None, as_json: bool) -> None:
    """Show what is contained now: since when, by whose approval, for which alert.

    NOT CONFIRMED: the vendor has not shown that the device is contained; look there.
    """
    if tenant_id is not None:
        read(require_known, tenant_id)
    tenant_ids = read(list_known) if tenant_id is None else [tenant_id]
    found = read(list_why, tenant_ids, MAX_LISTED + 1)
    listed = found[:MAX_LISTED]
    if as_json:
        print_json(listed)
    elif listed:
        print_table(_COLUMNS, map(_row, listed))
    else:
        click.echo("nothing is contained", err=True)
    for each in listed:
        if each.trouble is not None:
            click.echo(f"{each.hostname or each.device_id}: {each.trouble}", err=True)
    if len(found) > MAX_LISTED:
        click.echo(f"there are more than {MAX_LISTED}: name a TENANT", err=True)


def _row(each: WhyContained) -> tuple[object, ...]:
    return (
        each.hostname or each.device_id,
        STATES[each.state],
        at(each.since),
        short_approval(each.approved_by),
        at(each.ends_at) if each.ends_at is not None else "never",
        each.tenant_id,
        each.action_type,
        each.vendor,
        each.device_id,
        each.request_id,
        each.alert_id,
    )


def short_approval(text: str | None) -> str | None:
    """Return who approved, without the digest of the proposal."""
    return None if text is None else text.partition(" sha256:")[0]
