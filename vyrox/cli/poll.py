"""`vyrox tenant poll`: alerts that Vyrox pulls from a vendor's API (contract 72)."""

from collections.abc import Sequence

import click

from vyrox.cli.choices import Choice
from vyrox.cli.options import tenant_or_all
from vyrox.cli.output import json_option, print_json
from vyrox.cli.stores import read, write
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.models import EdrVendor
from vyrox.polling import rows
from vyrox.polling.rows import Poller
from vyrox.tenants.edr_credentials import EDR_VENDORS
from vyrox.tenants.known import require_known


@click.command()
@tenant_or_all
@click.option("--vendor", type=Choice(EDR_VENDORS), help="Pull from this vendor.")
@click.option("--off", is_flag=True, help="Pull no longer.")
@wide_option
@json_option
def poll(tenant_id: str | None, vendor: EdrVendor | None, off: bool, as_json: bool) -> None:
    """Pull TENANT's alerts from a vendor, with the credentials of `vyrox tenant edr set`.

    Without --vendor: list what is pulled, and how far behind it is.
    """
    if vendor is None:
        if off:
            raise click.UsageError("--off needs --vendor.")
        _list(tenant_id, as_json=as_json)
        return
    if tenant_id is None:
        raise click.UsageError("--vendor needs TENANT.")
    if off:
        write(rows.switch_off, tenant_id, vendor, wall_clock())
        click.echo(f"{tenant_id} is not polled at {vendor} any more")
        return
    is_new = write(rows.switch_on, tenant_id, vendor, wall_clock())
    if is_new:
        first = f", from {rows.FIRST_S / 3600:.0f} hour back on"
    else:
        first = " already; the next poll is due now"
    click.echo(f"{tenant_id} is polled at {vendor}{first}")
    click.echo(f"How it goes: vyrox tenant poll {tenant_id}", err=True)


def _list(tenant_id: str | None, *, as_json: bool) -> None:
    found = read(rows.list_pollers, tenant_id)
    if not found and tenant_id is not None:
        read(require_known, tenant_id)
    now = wall_clock()
    if as_json:
        print_json([_as_json(each, now) for each in found])
        return
    print_table(
        (
            Column("TENANT", "cut"),
            "VENDOR",
            "LAST SUCCESS",
            "LAG",
            "FAILED",
            Column("LAST ERROR", "cut"),
        ),
        _cells(found, now),
    )


def _cells(found: Sequence[Poller], now: float) -> list[tuple[object, ...]]:
    return [
        (
            each.tenant_id,
            each.vendor,
            at(each.succeeded_at),
            f"{each.lag_s(now):.0f} s",
            each.failures or None,
            each.last_error,
        )
        for each in found
    ]


def _as_json(poller: Poller, now: float) -> dict[str, object]:
    return {
        "tenant_id": poller.tenant_id,
        "vendor": poller.vendor,
        "started_at": poller.started_at,
        "since": poller.since,
        "succeeded_at": poller.succeeded_at,
        "caught_up_at": poller.caught_up_at,
        "lag_s": poller.lag_s(now),
        "failures": poller.failures,
        "last_error": poller.last_error,
        "next_at": poller.next_at,
        "has_stalled": poller.warned_at is not None,
    }
