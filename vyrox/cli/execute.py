"""`vyrox execute` and `vyrox lift`: sign and send one request, for operators and scripts."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, get_args
from uuid import uuid4

import click

from vyrox.cli.output import json_option
from vyrox.cli.preview import print_preview
from vyrox.cli.signed_request import send
from vyrox.clock import wall_clock
from vyrox.models import ActionType, ContainmentRequest, LiftType

MAX_APPROVED_AT: Final = 253_402_300_799
"""The last second of the year 9999."""

Command = TypeVar("Command", bound=Callable[..., Any])


def _request_options(actions: tuple[str, ...]) -> Callable[[Command], Command]:
    """Return the options of both commands, of which one takes these actions."""
    options = (
        click.option("--tenant", "tenant_id", required=True, help="Tenant identifier."),
        click.option("--alert", "alert_id", required=True, help="The alert that is the reason."),
        click.option(
            "--action",
            required=True,
            type=click.Choice(actions),
            help="What is done to the host.",
        ),
        click.option(
            "--host",
            required=True,
            help="The vendor's device id, or a host name if only one device has it.",
        ),
        click.option("--approved-by", help="Who approved it."),
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
        json_option,
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command()
@_request_options(get_args(ActionType))
@click.option(
    "--preview",
    "only_preview",
    is_flag=True,
    help="Change nothing: read the device and its state from the vendor, and show whether a guard "
    "rail refuses the action. Needs the service's database and key, and no approval.",
)
def execute(
    tenant_id: str,
    alert_id: str,
    action: ActionType,
    host: str,
    approved_by: str | None,
    request_id: str | None,
    approved_at: int | None,
    url: str | None,
    as_json: bool,
    only_preview: bool,
) -> None:
    """Carry out an approved containment: sign the request and send it to the private listener.

    Exits with 0 if the action was executed, replayed or a dry run, else with 1. With --preview,
    exits with 0 if no guard rail refuses the action.
    """
    request = ContainmentRequest(
        request_id=str(uuid4()) if request_id is None else request_id,
        tenant_id=tenant_id,
        alert_id=alert_id,
        action_type=action,
        host=host,
        approved_by="preview" if only_preview else _required(approved_by),
        approved_at=int(wall_clock()) if approved_at is None else approved_at,
    )
    if only_preview:
        print_preview(request, as_json)
    else:
        send(request, url, "execute", as_json)


@click.command()
@_request_options(get_args(LiftType))
@click.option("--force", is_flag=True, help="Lift the host even if Vyrox has not contained it.")
def lift(
    tenant_id: str,
    alert_id: str,
    action: LiftType,
    host: str,
    approved_by: str | None,
    request_id: str | None,
    approved_at: int | None,
    url: str | None,
    as_json: bool,
    force: bool,
) -> None:
    """Undo a containment: sign the request and send it to the private listener.

    Exits with 0 if the lift was executed, replayed or a dry run, else with 1.
    """
    request = ContainmentRequest(
        request_id=str(uuid4()) if request_id is None else request_id,
        tenant_id=tenant_id,
        alert_id=alert_id,
        action_type=action,
        host=host,
        approved_by=_required(approved_by),
        approved_at=int(wall_clock()) if approved_at is None else approved_at,
        force=force,
    )
    send(request, url, "lift", as_json)


def _required(approved_by: str | None) -> str:
    if approved_by is None:
        raise click.UsageError("Missing option '--approved-by'.")
    return approved_by
