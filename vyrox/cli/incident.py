"""`vyrox incident`: what belongs together, and what people do with it (contract 54)."""

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar, get_args

import click

from vyrox.cli.choices import Choice
from vyrox.cli.ids import whole
from vyrox.cli.incident_text import LIST_COLUMNS, list_row, show_lines, status_text
from vyrox.cli.options import (
    by_option,
    limit_option,
    note_option,
    place_option,
    since_option,
    tenant_first,
)
from vyrox.cli.output import counted, json_option, print_json, terminal_width
from vyrox.cli.paging import through_pager
from vyrox.cli.stores import read, write
from vyrox.cli.tables import print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.errors import NotFoundError
from vyrox.notify.ocsf import to_ocsf
from vyrox.tenants.known import require_known
from vyrox.triage import life, regrouping
from vyrox.triage.incident_ids import IncidentKey, parse_id
from vyrox.triage.incident_list import (
    MAX_LISTED,
    IncidentFilter,
    IncidentPlace,
    list_incidents,
    listed,
    parse_place,
)
from vyrox.triage.incidents import BENIGN, Incident, Status
from vyrox.triage.life import Actor, PersonResolution
from vyrox.triage.score import Band
from vyrox.triage.shown_incident import incident_message, show_incident
from vyrox.triage.suppressing import offers

P = ParamSpec("P")
T = TypeVar("T")


def _check_incident(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> IncidentKey | None:
    try:
        return None if value is None else parse_id(value)
    except NotFoundError as exc:
        raise click.BadParameter(str(exc)) from exc


_incident: Final = click.argument("key", metavar="INCIDENT", callback=_check_incident)


@click.command("list")
@tenant_first()
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=Choice(get_args(Status)),
    help="Only this status. May be given several times.",
)
@click.option(
    "--band",
    "bands",
    multiple=True,
    type=Choice(get_args(Band)),
    help="Only this band. May be given several times.",
)
@since_option("Changed")
@place_option(parse_place)
@limit_option(MAX_LISTED, "incidents")
@wide_option
@json_option
def list_(
    tenant_id: str | None,
    statuses: tuple[Status, ...],
    bands: tuple[Band, ...],
    since: int,
    before: IncidentPlace | None,
    limit: int,
    as_json: bool,
) -> None:
    """List incidents of all tenants: first those that are not closed, the newest change first."""
    wanted = IncidentFilter(tenant_id, statuses, bands, since or None)
    page = read(list_incidents, wanted, before, limit)
    if not page.incidents and tenant_id is not None:
        read(require_known, tenant_id)
    if as_json:
        print_json(page)
        return
    print_table(LIST_COLUMNS, map(list_row, page.incidents))
    if not page.incidents:
        click.echo("no incidents match", err=True)
    if page.before is not None:
        click.echo(f"there are more: --before {page.before}", err=True)


@click.command()
@_incident
@click.option("--ocsf", "as_ocsf", is_flag=True, help="Print an OCSF Detection Finding.")
@json_option
@through_pager
def show(key: IncidentKey, as_ocsf: bool, as_json: bool) -> None:
    """Show INCIDENT: why it is one, what speaks for it, its timeline and the proposed action."""
    if as_ocsf:
        print_json(to_ocsf(read(incident_message, key, wall_clock())))
        return
    incident = read(show_incident, key)
    if as_json:
        print_json(incident)
        return
    for line in show_lines(incident, terminal_width()):
        click.echo(line)


def _changes(command: Callable[P, T]) -> Callable[P, T]:
    """Add the options of a command that changes incidents."""
    for option in (json_option, by_option, note_option):
        command = option(command)
    return command


@click.command()
@_incident
@_changes
def ack(key: IncidentKey, note: str | None, by: str, as_json: bool) -> None:
    """Take INCIDENT: you become its assignee, and nothing reminds of it."""
    _print_changed(write(life.acknowledge, key, _actor(by), note), as_json)


@click.command()
@_incident
@click.option(
    "--resolution",
    required=True,
    type=Choice(get_args(PersonResolution)),
    help="What it was. The two benign ones need a note.",
)
@_changes
def close(
    key: IncidentKey,
    resolution: PersonResolution,
    note: str | None,
    by: str,
    as_json: bool,
) -> None:
    """Close INCIDENT, and say what it was.

    After a benign close, the command is printed that closes such alerts from now on.
    """
    closed = write(life.close, key, _actor(by), resolution, note)
    _print_changed(closed, as_json)
    if resolution in BENIGN and not as_json:
        click.echo(
            "For 24 h, alerts of the same behaviour on its hosts join it, and it stays closed.",
            err=True,
        )
        reasons = sorted({sign.alert_id for sign in closed.story.signs.values()})
        for command in read(offers, reasons):
            click.echo(f"If it is normal there: {command}", err=True)


@click.command()
@_incident
@_changes
def reopen(key: IncidentKey, note: str | None, by: str, as_json: bool) -> None:
    """Open a closed INCIDENT again."""
    _print_changed(write(life.reopen, key, _actor(by), note), as_json)


@click.command()
@_incident
@click.argument("text")
@by_option
@json_option
def comment(key: IncidentKey, text: str, by: str, as_json: bool) -> None:
    """Add TEXT to the timeline of INCIDENT, for the next person who reads it."""
    if not text.strip() or len(text) > life.MAX_NOTE:
        raise click.BadParameter(f"TEXT must have 1 to {life.MAX_NOTE} characters")
    _print_changed(write(life.comment, key, _actor(by), text), as_json)


@click.command()
@_incident
@click.argument("other", metavar="OTHER", callback=_check_incident)
@_changes
def merge(key: IncidentKey, other: IncidentKey, note: str | None, by: str, as_json: bool) -> None:
    """Make INCIDENT and OTHER one. The older one stays; the id of the other leads to it."""
    _print_changed(write(regrouping.merge, key, other, _actor(by), note), as_json)


@click.command()
@click.argument("alert_ids", metavar="ALERT...", nargs=-1, required=True, callback=whole("alert"))
@click.option("--to", "into", callback=_check_incident, help="To this incident.")
@click.option("--new", "is_new", is_flag=True, help="To a new incident.")
@_changes
def move(
    alert_ids: tuple[str, ...],
    into: IncidentKey | None,
    is_new: bool,
    note: str | None,
    by: str,
    as_json: bool,
) -> None:
    """Move each ALERT to another incident, or all of them to a new one.

    The scores of both are made again from their alerts.
    """
    if (into is None) is not is_new:
        raise click.UsageError("Give either '--to' or '--new'.")
    _print_changed(write(regrouping.move, alert_ids, into, _actor(by), note), as_json)


def _actor(by: str) -> Actor:
    return Actor(by, wall_clock())


def _print_changed(incident: Incident, as_json: bool) -> None:
    found: Any = listed(incident)
    if as_json:
        print_json(found)
        return
    assignee = f", {found.assignee}" if found.assignee else ""
    click.echo(
        f"{found.id}  {status_text(found)}{assignee}, {found.band}, score {found.score:.0f}, "
        f"{counted(found.alerts, 'alert')}"
    )
