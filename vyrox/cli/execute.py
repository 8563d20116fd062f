"""`vyrox execute` and `vyrox lift`: sign and send one request, for operators and scripts."""

import asyncio
import shlex
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, get_args
from uuid import uuid4

import click
import httpx
import msgspec

from vyrox.cli.output import json_option, print_json, print_record, printable
from vyrox.cli.stores import opened_database
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.containment.preview import Preview, preview
from vyrox.containment.responder import EdrClients
from vyrox.crypto import sign
from vyrox.edr.actions import target_of
from vyrox.edr.client import Deadline
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import make_client
from vyrox.errors import OperatorError, VendorError
from vyrox.models import ActionType, ContainmentRequest, LiftType
from vyrox.settings import Settings

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_TIMEOUT_S: Final = 330.0
"""Longer than the proxy takes with the largest EDR_DEADLINE_SECONDS, its commits included."""

PREVIEW_DEADLINE_S: Final = 60.0

MAX_APPROVED_AT: Final = 253_402_300_799
"""The last second of the year 9999."""

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared, not bound)
"""What listens on all addresses is reached on this one."""

_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)

_HINTS: Final[dict[int, str]] = {
    httpx.codes.UNAUTHORIZED: "VYROX_HMAC_SECRET here is not the service's",
    httpx.codes.GONE: "--approved-at is more than 30 s from the service's time",
}

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
        _preview(request, as_json)
    else:
        _send(request, url, "execute", as_json)


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
    _send(request, url, "lift", as_json)


def _required(approved_by: str | None) -> str:
    if approved_by is None:
        raise click.UsageError("Missing option '--approved-by'.")
    return approved_by


def _preview(request: ContainmentRequest, as_json: bool) -> None:
    _encoded(request)

    async def run() -> Preview:
        async with opened_database() as opened, open_http() as http:
            clients = EdrClients(
                await open_vault(opened),
                lambda credentials: make_client(credentials, http, opened.settings.edr_test_url),
            )
            deadline = Deadline(PREVIEW_DEADLINE_S)
            return await preview(opened.database, clients, request, wall_clock(), deadline)

    try:
        found = asyncio.run(run())
    except VendorError as exc:
        raise OperatorError(f"the device cannot be identified: {printable(str(exc))}") from exc
    if as_json:
        print_json(found)
    else:
        _print_preview(found, request.action_type)
    if found.refused_by is not None:
        raise click.exceptions.Exit(1)


def _print_preview(found: Preview, action: ActionType | LiftType) -> None:
    alert = "known" if found.alert_known else "not known"
    names = ", ".join(name for name in (found.alert_host, found.alert_device) if name)
    used = "no limit" if not found.per_hour else f"{found.begun_in_hour} of {found.per_hour}"
    fields = {
        "vendor": found.vendor,
        "device": found.device_id,
        "host name": found.hostname or "-",
        "tags": "not given" if found.tags is None else ", ".join(found.tags) or "-",
        "state": found.state,
        "alert": f"{alert}, names {names}" if names else alert,
        "used in hour": used,
        "would be": _would_be(found, action),
    }
    print_record(fields)


def _would_be(found: Preview, action: ActionType | LiftType) -> str:
    if found.refused_by is not None:
        if found.refused_by.startswith("per_hour "):
            return f"refused: the limit of {found.per_hour} containments an hour is used up"
        return f"refused: {found.refused_by}"
    if target_of(action) == found.state:
        return f'answered "executed" without a call: it is {found.state} already'
    return "sent (a service with DRY_RUN=true would send nothing)"


def _send(request: ContainmentRequest, url: str | None, route: str, as_json: bool) -> None:
    answer = _post(request, _proxy_url(Settings.from_process()) if url is None else url, route)
    click.echo(f"request {printable(request.request_id)}", err=as_json)
    click.echo(printable(answer.text if as_json else f"{answer.status_code} {answer.text}"))
    if answer.status_code != httpx.codes.OK:
        for line in _explained(answer, request.tenant_id):
            click.echo(printable(line), err=True)
        raise click.exceptions.Exit(1)


def _explained(answer: httpx.Response, tenant_id: str) -> Iterator[str]:
    """Yield how to find out why the service refused, and its identifier in the logs."""
    status = answer.status_code
    if status in _HINTS:
        yield _HINTS[status]
    if status == httpx.codes.UNAUTHORIZED:
        yield "why: vyrox audit events --kind auth.failed --since 5m"
    elif status >= httpx.codes.BAD_REQUEST:
        # The outcome of an action that failed at the vendor is an event of another kind.
        kind = "" if status == httpx.codes.BAD_GATEWAY else " --kind execute.refused"
        yield f"why: vyrox audit events --tenant {shlex.quote(tenant_id)}{kind} --since 5m"
    if log_id := answer.headers.get("x-request-id"):
        yield f"log id: {log_id}"


def _proxy_url(settings: Settings) -> str:
    """Return where a service with `settings` is reached from this machine.

    Raises:
        OperatorError: Its port is not known beforehand.
    """
    if settings.proxy_port == 0:
        raise OperatorError("PROXY_PORT is 0, any free port: pass --url")
    host = _LOOPBACK.get(settings.proxy_host, settings.proxy_host)
    return (
        f"http://[{host}]:{settings.proxy_port}"
        if ":" in host
        else (f"http://{host}:{settings.proxy_port}")
    )


def _post(request: ContainmentRequest, url: str, route: str) -> httpx.Response:
    body = _encoded(request)
    headers = {
        "content-type": "application/json",
        "x-vyrox-signature": sign(body, _secret(Settings.from_process())),
    }
    try:
        return httpx.post(
            f"{url.rstrip('/')}/{route}",
            content=body,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
        )
    except _NOT_SENT as exc:
        raise OperatorError(f"{_why_not_sent(url, exc)}. Nothing was sent") from exc
    except httpx.HTTPError as exc:
        raise OperatorError(
            f"{url}: {type(exc).__name__} {exc}. It may have been carried out; ask again with "
            f"--request-id {shlex.quote(request.request_id)}"
        ) from exc


def _secret(settings: Settings) -> str:
    if settings.hmac_secret is None:
        raise OperatorError("set VYROX_HMAC_SECRET to the service's own value: it signs requests")
    return settings.hmac_secret


def _why_not_sent(url: str, error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        if url.startswith("https:"):
            return f"{url}: the listener speaks http, not https, or no service listens there"
        return f"{url}: no service listens there (PROXY_HOST, PROXY_PORT or --url): {error}"
    return f"{url}: {type(error).__name__} {error}"


def _encoded(request: ContainmentRequest) -> bytes:
    try:
        return msgspec.json.encode(request)
    except UnicodeEncodeError as exc:
        raise click.UsageError("The options' values must be UTF-8.") from exc
