"""`vyrox tenant list`."""

from typing import Any, Final

import click
import msgspec

from vyrox.cli.output import as_time, json_option, print_json
from vyrox.cli.stores import read
from vyrox.cli.tables import Column, at, print_table, wide_option
from vyrox.polling.last_alerts import LastAlerts, list_with_last_alerts
from vyrox.tenants.listing import Listed
from vyrox.tenants.webhook_options import scheme_of

_STATES: Final = {True: "enabled", False: "removed", None: "not onboarded"}

_COLUMNS: Final = (
    Column("TENANT", "name"),
    "VENDOR",
    "STATE",
    "LIMIT",
    "LAST ALERT",
    Column("SCHEME", "wide"),
    Column("SINCE", "wide"),
    Column("OTHER HOSTS", "wide"),
)


@click.command("list")
@wide_option
@json_option
def list_(as_json: bool) -> None:
    """List the tenants: their state, containments an hour at most, and last alerts.

    A tenant that has guard rails and is not onboarded is listed without a vendor. For all that is
    set for one tenant: vyrox tenant show TENANT
    """
    rows, alerts = read(list_with_last_alerts)
    if as_json:
        print_json([_as_json(row, alerts) for row in rows])
        return
    print_table(_COLUMNS, (_cells(row, alerts) for row in rows))
    if since := next((row.all_frozen_at for row in rows if row.all_frozen_at), None):
        click.echo(f"every tenant is frozen since {as_time(since)} UTC", err=True)


def _as_json(row: Listed, alerts: LastAlerts) -> dict[str, Any]:
    last = alerts.get((row.tenant_id, row.vendor or ""))
    return {**msgspec.structs.asdict(row), "last_alert_at": last}


def _cells(row: Listed, alerts: LastAlerts) -> tuple[object, ...]:
    state = _STATES[row.enabled]
    if row.frozen_at is not None:
        state = "FROZEN" if row.enabled else f"{state}, FROZEN"
    return (
        row.tenant_id,
        row.vendor,
        state,
        f"{row.per_hour}/h" if row.per_hour else "none",
        at(alerts.get((row.tenant_id, row.vendor or ""))),
        row.vendor and scheme_of(row.vendor, row.webhook),
        at(row.created_at),
        row.other_hosts,
    )
