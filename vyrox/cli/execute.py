"""`vyrox execute` and `vyrox lift`: sign and send one request, for operators and scripts.

They exit with 0 if it was done, was done before or is a dry run, with 2 for wrong usage, 3 if it
was refused, 4 if it was not done, and 5 if that is not known (contract 83).
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, get_args
from uuid import uuid4

import click

from vyrox.cli.acting import Way, send_after_question
from vyrox.cli.choices import Choice
from vyrox.cli.ids import whole
from vyrox.cli.mistyped import hint_of
from vyrox.cli.mistyped_alert import check_alert, unknown_alert_option
from vyrox.cli.options import MAX_NOTE, by_option, tenant_first
from vyrox.cli.output import json_option, printable
from vyrox.cli.plain_lift import Plain, plain_lift
from vyrox.cli.preview import print_preview
from vyrox.cli.tables import SHORT_ID
from vyrox.clock import wall_clock
from vyrox.models import ActionType, ContainmentRequest, LiftType

MAX_APPROVED_AT: Final = 253_402_300_799
"""The last second of the year 9999."""

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


def _check_reason(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    if value is not None and (not value.strip() or len(value) > MAX_NOTE):
        raise click.BadParameter(f"must be a text of at most {MAX_NOTE} characters")
    return value


_HOST: Final = "vyrox.cli.execute.host"
_ACTION: Final = "vyrox.cli.execute.action"


def _note_host(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    context.meta[_HOST] = value


def _chosen_host(context: click.Context, _parameter: click.Parameter, value: str | None) -> str:
    """Return HOST, or the value of its earlier spelling `--host`."""
    earlier: str | None = context.meta.get(_HOST)
    if value is not None and earlier not in {None, value}:
        raise click.UsageError("HOST and '--host' are different.")
    if value is None and earlier is None:
        raise click.UsageError("Missing argument 'HOST'.")
    return value or earlier or ""


def _short_action(action: ActionType) -> Callable[[click.Context, click.Parameter, bool], None]:
    def note(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            context.meta.setdefault(_ACTION, []).append(action)

    return note


def _chosen_action(
    context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    chosen = {*context.meta.get(_ACTION, []), *([] if value is None else [value])}
    if len(chosen) > 1:
        raise click.UsageError("Give one action.")
    return next(iter(chosen), None)


def _unchecked(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> str | None:
    return value  # the service refuses what is no tenant


def _short_option(name: str, action: ActionType, help_: str) -> Callable[[Command], Command]:
    return click.option(
        name,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_short_action(action),
        help=f"{help_}  [{action}]",
    )


_SHORT: Final = (
    _short_option("--isolate", "HOST_ISOLATION", "Cut the host off."),
    _short_option("--kill", "PROCESS_KILL", "End the alert's process."),
    _short_option("--quarantine", "NETWORK_QUARANTINE", "Quarantine the host."),
)


def _request_options(
    actions: tuple[str, ...], *shown: Callable[[Any], Any]
) -> Callable[[Command], Command]:
    """Return the arguments and options of both commands, of which one takes these actions."""
    options = (
        tenant_first(required=True, check=_unchecked),
        click.argument("host", metavar="HOST", required=False, callback=_chosen_host),
        click.option(
            "--host",
            "old_host",
            hidden=True,
            is_eager=True,
            expose_value=False,
            callback=_note_host,
            help="HOST.",
        ),
        *shown,
        click.option(
            "--alert",
            "alert_id",
            callback=whole("alert", SHORT_ID),
            help="The alert that is the reason.",
        ),
        click.option(
            "--action",
            type=Choice(actions),
            callback=_chosen_action,
            help="What is done to the host, by its name in the API.",
        ),
        click.option("--approved-by", help="Who approved it."),
        click.option(
            "--break-glass",
            "is_break_glass",
            is_flag=True,
            help="Act without an approval, also if one is required. Needs --reason. Guard rails "
            "and a freeze hold. The approvers get a notice, and one of them must acknowledge it.",
        ),
        click.option("--reason", callback=_check_reason, help="Why. With --break-glass."),
        by_option,
        click.option(
            "--request-id",
            help="A request with the same id is carried out only once.  [default: a new UUID]",
        ),
        click.option(
            "--approved-at",
            type=click.IntRange(0, MAX_APPROVED_AT),
            metavar="SECONDS",
            help="Unix seconds.  [default: now]",
        ),
        click.option("--url", help="Private listener.  [default: from PROXY_HOST and PROXY_PORT]"),
        click.option("--yes", "-y", is_flag=True, help="Do not ask on a terminal."),
        unknown_alert_option,
        click.option(
            "--wait",
            "is_waiting",
            is_flag=True,
            help="Wait until the vendor confirms it, or it has failed. Needs the service's "
            "database.",
        ),
        json_option,
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command()
@_request_options(get_args(ActionType), *_SHORT)
@click.option(
    "--preview",
    "only_preview",
    is_flag=True,
    help="Change nothing: read the device and its state from the vendor, and show whether a guard "
    "rail refuses the action. Needs the service's database and key, and no approval.",
)
def execute(
    tenant_id: str,
    alert_id: str | None,
    action: ActionType | None,
    host: str,
    approved_by: str | None,
    is_break_glass: bool,
    reason: str | None,
    by: str,
    request_id: str | None,
    approved_at: int | None,
    url: str | None,
    yes: bool,
    may_be_unknown: bool,
    is_waiting: bool,
    as_json: bool,
    only_preview: bool,
) -> None:
    """Carry out an approved containment of HOST: sign it and send it to the private listener.

    HOST is the vendor's device id, or a host name if only one device has it. On a terminal it asks
    first. Exits with 0 if the action was executed, replayed or a dry run, 3
    if it was refused, 4 if it was not done, 5 if that is not known. With --preview, exits with 0 if
    no guard rail refuses the action, else with 1.
    """
    request = ContainmentRequest(
        request_id=str(uuid4()) if request_id is None else request_id,
        tenant_id=tenant_id,
        alert_id=_given(alert_id, "--alert"),
        action_type=_given(action, "--isolate", "--kill", "--quarantine", "--action"),
        host=host,
        approved_by=by if is_break_glass else "preview" if only_preview else _required(approved_by),
        approved_at=int(wall_clock()) if approved_at is None else approved_at,
    )
    _check_break_glass(is_break_glass, reason, only_preview or approved_by is not None)
    if only_preview:
        print_preview(request, as_json)
        return
    check_alert(request, url, is_asked=not yes, may_be_unknown=may_be_unknown)
    send_after_question(
        request,
        reason if is_break_glass else None,
        Way("execute", url, yes, is_waiting, as_json, has_time=approved_at is not None),
    )


@click.command()
@_request_options(get_args(LiftType))
@click.option("--force", is_flag=True, help="Lift the host even if Vyrox has not contained it.")
def lift(
    tenant_id: str,
    alert_id: str | None,
    action: LiftType | None,
    host: str,
    approved_by: str | None,
    is_break_glass: bool,
    reason: str | None,
    by: str,
    request_id: str | None,
    approved_at: int | None,
    url: str | None,
    yes: bool,
    may_be_unknown: bool,
    is_waiting: bool,
    as_json: bool,
    force: bool,
) -> None:
    """Undo the containment of HOST: sign it and send it to the private listener.

    What is not given of --alert and --action is taken from the containment, which the service's
    database has. On a terminal it asks first. Exits as execute does.
    """
    plain = Plain(alert_id, action) if alert_id and action else plain_lift(tenant_id, host)
    request = ContainmentRequest(
        request_id=str(uuid4()) if request_id is None else request_id,
        tenant_id=tenant_id,
        alert_id=_of_containment(alert_id or plain.alert_id, tenant_id, host),
        action_type=action or plain.action,
        host=host,
        approved_by=by if is_break_glass else _required(approved_by),
        approved_at=int(wall_clock()) if approved_at is None else approved_at,
        force=force,
    )
    _check_break_glass(is_break_glass, reason, force or approved_by is not None)
    if alert_id is not None:
        check_alert(request, url, is_asked=not yes, may_be_unknown=may_be_unknown)
    send_after_question(
        request,
        reason if is_break_glass else None,
        Way("lift", url, yes, is_waiting, as_json, has_time=approved_at is not None),
    )


def _check_break_glass(is_break_glass: bool, reason: str | None, has_others: bool) -> None:
    if is_break_glass and (reason is None or has_others):
        raise click.UsageError(
            "'--break-glass' needs '--reason', and goes with none of '--approved-by', '--force' "
            "and '--preview'."
        )
    if reason is not None and not is_break_glass:
        raise click.UsageError("'--reason' goes with '--break-glass' only.")


def _given(value: T | None, *names: str) -> T:
    if value is None:
        raise click.UsageError(f"Missing option {' / '.join(repr(name) for name in names)}.")
    return value


def _of_containment(alert_id: str | None, tenant_id: str, host: str) -> str:
    if alert_id is None:
        text = f"no containment of {host} was found: give '--alert'{hint_of(tenant_id)}"
        raise click.UsageError(printable(text))
    return alert_id


def _required(approved_by: str | None) -> str:
    if approved_by is None:
        raise click.UsageError("Missing option '--approved-by'.")
    return approved_by
