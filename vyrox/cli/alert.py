"""`vyrox alert`: the alerts of all tenants, and a person's verdict on them (contract 50)."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import click
import msgspec

from vyrox.alerts.entries import AlertKey
from vyrox.alerts.finding import AlertFilter, Place, parse_place
from vyrox.alerts.intake import folded
from vyrox.alerts.listing import MAX_LISTED, AlertPage, ShownAlert, list_alerts, show_alert
from vyrox.alerts.verdict import Decision
from vyrox.cli.alert_text import LIST_COLUMNS, action_fields, list_row, show_fields
from vyrox.cli.choices import Choice
from vyrox.cli.explain import verdict_lines
from vyrox.cli.ids import whole
from vyrox.cli.options import (
    by_option,
    limit_option,
    note_option,
    place_option,
    since_option,
    tenant_first,
)
from vyrox.cli.output import json_option, print_json, print_record, printable, terminal_width
from vyrox.cli.paging import through_pager
from vyrox.cli.queues import opened_entries
from vyrox.cli.stores import Opened, opened_database, read
from vyrox.cli.tables import print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.errors import (
    OperatorError,
    QueueUnavailableError,
    UnavailableError,
)
from vyrox.models import DeliveryState, PersonVerdict, Severity
from vyrox.notify.ocsf import to_ocsf
from vyrox.tenants.known import require_known
from vyrox.triage.decisions import Decided, decide_alerts
from vyrox.triage.explaining import alert_finding, read_verdict
from vyrox.triage.suppressing import offers


def _check_name(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    name = folded(value)
    if value is not None and name is None:
        raise click.BadParameter("must be a name")
    return name


@click.command("list")
@tenant_first()
@click.option(
    "--severity",
    "severities",
    multiple=True,
    type=Choice(get_args(Severity)),
    help="Only this severity. May be given several times.",
)
@click.option("--host", callback=_check_name, help="Only this host name, in any case.")
@click.option("--user", callback=_check_name, help="Only this user name, in any case.")
@click.option("--delivery", type=Choice(get_args(DeliveryState)), help="Only this delivery.")
@click.option(
    "--verdict",
    type=Choice(["none", *get_args(PersonVerdict)]),
    help="Only this verdict by a person; none: without one.",
)
@since_option("Received")
@place_option(parse_place)
@limit_option(MAX_LISTED, "alerts")
@wide_option
@json_option
def list_(
    tenant_id: str | None,
    severities: tuple[Severity, ...],
    host: str | None,
    user: str | None,
    delivery: DeliveryState | None,
    verdict: PersonVerdict | Literal["none"] | None,
    since: int,
    before: Place | None,
    limit: int,
    as_json: bool,
) -> None:
    """List alerts of all tenants, newest first.

    The delivery is `queued`; `taken`: a consumer has the alert; `done`; or `dead`: a dead letter.
    It is `unfinished` if Redis cannot be asked which of the first two it is.
    """
    wanted = AlertFilter(tenant_id, severities, host, user, delivery, verdict, since or None)

    async def run() -> AlertPage:
        async with opened_database() as opened:
            page = await list_alerts(
                opened.database, partial(_taken, opened), wanted, before, limit
            )
            if not page.alerts and tenant_id is not None:
                await opened.database.read(require_known, tenant_id)
            return page

    page = asyncio.run(run())
    if as_json:
        print_json(page)
        return
    print_table(LIST_COLUMNS, map(list_row, page.alerts))
    if not page.alerts:
        click.echo("no alerts match", err=True)
    if page.before is not None:
        click.echo(f"there are more: --before {page.before}", err=True)


@click.command()
@click.argument("alert_id", metavar="ALERT", callback=whole("alert"))
@click.option("--raw", "with_raw", is_flag=True, help="Also the body as the vendor sent it.")
@click.option("--ocsf", "as_ocsf", is_flag=True, help="Print an OCSF Detection Finding.")
@json_option
@through_pager
def show(alert_id: str, with_raw: bool, as_ocsf: bool, as_json: bool) -> None:
    """Show every field of ALERT, and what Vyrox did on its device."""

    async def run() -> ShownAlert:
        async with opened_database() as opened:
            is_taken = partial(_taken, opened)
            return await show_alert(opened.database, is_taken, None, alert_id, with_raw=with_raw)

    if as_ocsf:
        print_json(to_ocsf(read(alert_finding, alert_id)))
        return
    alert = asyncio.run(run())
    if as_json:
        print_json(alert)
        return
    width = terminal_width()
    print_record(show_fields(alert), width)
    if alert.triage is not None:
        verdict = read_verdict(alert.triage)
        click.echo("\nverdict of triage")
        for line in verdict_lines(verdict, width):
            click.echo(line)
    click.echo(
        "\nVyrox has contained this device, or may have"
        if alert.is_contained
        else "\nVyrox has not contained this device"
    )
    for action in alert.actions:
        click.echo()
        print_record(action_fields(action), terminal_width())
    if alert.raw is not msgspec.UNSET:
        click.echo(f"\nbody as received\n{printable(alert.raw)}")


@click.command()
@click.argument("alert_ids", metavar="ALERT...", nargs=-1, required=True, callback=whole("alert"))
@click.option(
    "--verdict", required=True, type=Choice(get_args(PersonVerdict)), help="Your verdict."
)
@note_option
@by_option
@json_option
def finish(
    alert_ids: Sequence[str],
    verdict: PersonVerdict,
    note: str | None,
    by: str,
    as_json: bool,
) -> None:
    """Record your verdict on each ALERT, and take it off the queue if it is still there.

    If one of them does not exist, nothing is changed. A later verdict replaces this one; the audit
    log has both.
    """
    decision = Decision(None, alert_ids, verdict, by, note)

    async def run() -> tuple[Decided, list[str]]:
        async with opened_database() as opened:
            decided = await opened.database.write(decide_alerts, decision, wall_clock())
            await _remove(opened, [(each.tenant_id, each.alert_id) for each in decided.alerts])
            if verdict != "benign":
                return decided, []
            return decided, await opened.database.read(offers, alert_ids)

    decided, offered = asyncio.run(run())
    if as_json:
        print_json(decided.alerts)
        return
    for each in decided.alerts:
        change = f", was {each.previous}" if each.previous else ""
        click.echo(f"{each.alert_id}  {each.delivery}, {each.verdict}{change}")
    for suppression in decided.ended:
        click.echo(f"suppression {suppression} ended: it would hide such alerts", err=True)
    for command in offered:
        click.echo(f"If it is normal there: {command}", err=True)


async def _taken(opened: Opened, keys: Sequence[AlertKey]) -> frozenset[str]:
    try:
        async with opened_entries(opened) as entries:
            return await entries.taken(keys)
    except OperatorError as exc:
        raise QueueUnavailableError(str(exc)) from exc


async def _remove(opened: Opened, keys: Sequence[AlertKey]) -> None:
    try:
        async with opened_entries(opened) as entries:
            await entries.remove(keys)
    except (UnavailableError, OperatorError) as exc:
        click.echo(
            f"vyrox: recorded; the queue is unavailable, so the next consumer skips them: {exc}",
            err=True,
        )
