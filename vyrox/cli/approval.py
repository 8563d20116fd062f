"""`vyrox approval`: what is proposed, and what was decided (contract 62)."""

from collections.abc import Sequence
from typing import Final, get_args

import click
import msgspec

from vyrox.approvals import by_command
from vyrox.approvals.break_glass import Used
from vyrox.approvals.proposal import MAX_REASON
from vyrox.approvals.proposing import Wanted
from vyrox.approvals.shown import MAX_LISTED, ListedProposal, ShownDecision, ShownProposal
from vyrox.cli.asked import print_asked
from vyrox.cli.choices import Choice
from vyrox.cli.ids import whole
from vyrox.cli.lease_option import lease_of, lease_options
from vyrox.cli.options import by_option, tenant_first, tenant_or_all
from vyrox.cli.output import as_time, json_option, print_json, print_record, printable
from vyrox.cli.paging import through_pager
from vyrox.cli.stores import read, write
from vyrox.cli.tables import SHORT_ID, Column, at, print_table, wide_option
from vyrox.clock import wall_clock
from vyrox.errors import NotFoundError
from vyrox.models import ActionType, LiftType
from vyrox.settings import Settings
from vyrox.tenants.known import require_known
from vyrox.triage.incident_ids import IncidentKey, parse_id

_LIST_COLUMNS: Final = (
    Column("STATE", "cut"),
    Column("HOST", "name"),
    Column("ACTION", "cut"),
    "APPROVED",
    "EXPIRES",
    Column("ASKED BY", "cut"),
    Column("TENANT", "same"),
    Column("PROPOSAL", "id"),
)

_CHANNELS: Final = {"webauthn": "passkey", "discord": "Discord"}


@click.command("list")
@tenant_or_all
@click.option("--all", "with_ended", is_flag=True, help="Also what has ended.")
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_LISTED),
    default=50,
    show_default=True,
    help="The largest number of proposals to read.",
)
@wide_option
@json_option
def list_(tenant_id: str | None, with_ended: bool, limit: int, as_json: bool) -> None:
    """List proposals that are open, newest first."""
    listed, glasses = read(
        by_command.find_with_glasses, tenant_id, wall_clock(), limit, not with_ended
    )
    if as_json:
        print_json(listed)
    else:
        print_table(_LIST_COLUMNS, map(_list_row, listed))
        if not listed:
            if tenant_id is not None:
                read(require_known, tenant_id)
            click.echo("no proposals match", err=True)
    for used in glasses:
        click.echo(printable(_glass_line(used)), err=True)


def _glass_line(used: Used) -> str:
    """Return what is printed of a break glass that no approver has acknowledged."""
    try:
        asked = used.asked
    except ValueError as exc:
        return f"break glass {used.id} of {used.tenant_id}: {exc}"
    return (
        f"break glass, not acknowledged: {used.tenant_id}, {as_time(used.at)} UTC, by {asked.by}: "
        f"{asked.action_type} of {asked.host}: {asked.reason} (console: /break-glass/{used.id})"
    )


def _list_row(each: ListedProposal) -> Sequence[object]:
    return (
        each.state,
        each.hostname or each.host,
        each.action_type,
        f"{each.approvals} of {each.required}",
        at(each.expires_at),
        each.requested_by,
        each.tenant_id,
        each.proposal_id,
    )


@click.command("show")
@click.argument("proposal_id", metavar="PROPOSAL", callback=whole("proposal"))
@json_option
@through_pager
def show_(proposal_id: str, as_json: bool) -> None:
    """Show PROPOSAL: the text that people decide on, its state, and what became of it."""
    shown = read(by_command.show_any, proposal_id, wall_clock())
    if as_json:
        print_json(shown)
        return
    click.echo(f"{shown.display}\n")
    print_record(_facts(shown))
    if shown.state == "pending":
        click.echo(_how(shown.expires_at), err=True)


def _how(expires_at: int) -> str:
    """Return where people decide, and how long."""
    return f"approvers decide in the console or in Discord until {as_time(expires_at)} UTC"


def _facts(shown: ShownProposal) -> dict[str, str]:
    facts = {
        "state": shown.state,
        "because": shown.end_reason,
        **{f"by {each.approver}": _decided(each) for each in shown.decisions},
        "entry": shown.action_hash,
        "outcome": shown.outcome,
    }
    return {name: value for name, value in facts.items() if value}


def _decided(each: ShownDecision) -> str:
    said = f": {each.comment}" if each.comment else ""
    return f"{each.decision} by {_CHANNELS[each.proof]}, {as_time(each.at)} UTC{said}"


def _check_incident(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> IncidentKey | None:
    try:
        return None if value is None else parse_id(value)
    except NotFoundError as exc:
        raise click.BadParameter(str(exc)) from exc


def _check_text(
    _context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    most = MAX_REASON if parameter.name == "reason" else 256
    if value is not None and (not value.strip() or len(value) > most):
        raise click.BadParameter(f"must be a text of at most {most} characters")
    return value


def _check_alert(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    return whole("alert", SHORT_ID)(context, parameter, _check_text(context, parameter, value))


@click.command("propose")
@click.option(
    "--incident", "key", callback=_check_incident, help="What this incident suggests, and no more."
)
@tenant_first()
@click.option("--alert", "alert_id", callback=_check_alert, help="The alert that is the reason.")
@click.option(
    "--action",
    type=Choice([*get_args(ActionType), *get_args(LiftType)]),
    help="What is to be done to the host.",
)
@click.option(
    "--host",
    callback=_check_text,
    help="The vendor's device id, or a host name if only one device has it.",
)
@click.option("--hostname", callback=_check_text, help="What the host must be called.")
@lease_options
@click.option("--reason", callback=_check_text, help="Why, for the person who decides.")
@by_option
@json_option
def propose_(
    key: IncidentKey | None,
    tenant_id: str | None,
    alert_id: str | None,
    action: ActionType | LiftType | None,
    host: str | None,
    hostname: str | None,
    lease_s: int | None,
    has_no_end: bool,
    reason: str | None,
    by: str,
    as_json: bool,
) -> None:
    """Propose one action on a device of TENANT, or what an incident suggests.

    Nothing is done unless people approve it.
    """
    if (key is None) == (tenant_id is None):
        raise click.UsageError("Give either '--incident' or TENANT.")
    ttl_s = Settings.from_process().approval_ttl_s
    if key is not None:
        if any((alert_id, action, host, hostname, lease_s, has_no_end)):
            raise click.UsageError("Only '--reason' and '--by' go with '--incident'.")
        proposed = write(by_command.propose_suggested, key, by, reason, wall_clock(), ttl_s)
    else:
        fields: dict[str, str | int | None] = {
            "tenant_id": tenant_id,
            "alert_id": alert_id,
            "action_type": action,
            "host": host,
            "hostname": hostname,
            "lease_s": lease_of(lease_s, has_no_end=has_no_end),
            "requested_by": by,
            "reason": reason,
        }
        proposed = write(by_command.propose_wanted, _wanted(fields), wall_clock(), ttl_s)
    print_asked(proposed, as_json=as_json)


def _wanted(fields: dict[str, str | int | None]) -> Wanted:
    optional = ("hostname", "lease_s")
    missing = [name for name, value in fields.items() if value is None and name not in optional]
    if missing:
        raise click.UsageError("With TENANT, give '--alert', '--action', '--host', '--reason'.")
    return msgspec.convert(fields, Wanted)


@click.command("withdraw")
@click.argument("proposal_id", metavar="PROPOSAL", callback=whole("proposal"))
@by_option
def withdraw_(proposal_id: str, by: str) -> None:
    """Take back PROPOSAL, which nothing has decided yet."""
    write(by_command.withdraw_any, proposal_id, by, wall_clock())
    click.echo(f"proposal {proposal_id}, withdrawn")
