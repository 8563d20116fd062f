"""`vyrox tenant list`."""

from collections.abc import Callable, Sequence
from typing import Final

import click

from vyrox.cli.output import as_minute, as_time, json_option, print_json, print_table
from vyrox.cli.stores import read
from vyrox.clock import wall_clock
from vyrox.tenants.listing import Listed, list_all
from vyrox.tenants.webhook_options import scheme_of

_STATES: Final = {True: "enabled", False: "removed", None: "not onboarded"}


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the tenants, previous secrets that are still valid, freezes and limits.

    A tenant that has guard rails and is not onboarded is listed without a vendor.
    """
    rows = read(list_all)
    if as_json:
        print_json(rows)
        return
    _print_list(rows)


def _print_list(rows: Sequence[Listed]) -> None:
    columns: dict[str, Callable[[Listed], object]] = {
        "TENANT": lambda row: row.tenant_id,
        "VENDOR": lambda row: row.vendor,
        "STATE": lambda row: _STATES[row.enabled],
        "SCHEME": lambda row: row.vendor and scheme_of(row.vendor, row.webhook),
        "SINCE": lambda row: as_minute(row.created_at),
    }
    now = wall_clock()
    if any(row.previous_expires_at and row.previous_expires_at > now for row in rows):
        columns["PREVIOUS SECRET UNTIL"] = lambda row: as_time(row.previous_expires_at)
        columns["LAST USED"] = lambda row: as_time(row.previous_used_at)
    if any(row.frozen_at for row in rows):
        columns["FROZEN SINCE"] = _frozen_cell
    columns["PER HOUR"] = lambda row: row.per_hour or "no limit"
    columns["OTHER HOSTS"] = lambda row: row.other_hosts
    print_table(list(columns), ([cell(row) for cell in columns.values()] for row in rows))
    if since := next((row.all_frozen_at for row in rows if row.all_frozen_at), None):
        click.echo(f"\nevery tenant is frozen since {as_time(since)} UTC")


def _frozen_cell(row: Listed) -> str | None:
    is_own = row.frozen_at != row.all_frozen_at
    return as_minute(row.frozen_at) if is_own or row.frozen_at is None else "(all)"
