"""What a person is asked before an action, and how long the command waits for it (contract 83)."""

import asyncio
from typing import Final, NamedTuple

import click
import httpx
import msgspec

from vyrox.chain import export
from vyrox.chain.entry import Scalar
from vyrox.cli.mistyped import hint_of
from vyrox.cli.output import as_minute, printable, record_lines, shortened
from vyrox.cli.secret_input import is_terminal
from vyrox.cli.signed_request import (
    FAILED,
    UNKNOWN,
    NoResponseError,
    NotSentError,
    encoded,
    read,
    send,
)
from vyrox.cli.stores import opened_database
from vyrox.clock import monotonic_clock, wall_clock
from vyrox.errors import VyroxError
from vyrox.models import ActionType, BreakGlass, ContainmentRequest, LiftType
from vyrox.store.database import Database

WAIT_INTERVAL_S: Final = 1.0
"""Time between two checks of the outcome."""

WAIT_AT_MOST_S: Final = 1200.0
"""An action has its outcome after 15 minutes; if another one follows on its device, never."""

LINE: Final = 76
"""Columns of the question, after its indent."""

_VERBS: Final[dict[ActionType | LiftType, str]] = {
    "HOST_ISOLATION": "Isolate",
    "NETWORK_QUARANTINE": "Quarantine",
    "PROCESS_KILL": "Kill the alert's process on",
    "LIFT_HOST_ISOLATION": "Lift the isolation of",
    "LIFT_NETWORK_QUARANTINE": "Lift the quarantine of",
}
_CUT_OFF: Final = (
    "The host is cut off from the network, also from the work of its user and from "
    "remote access. It reaches its EDR vendor only, until it is lifted."
)
_LIFTED: Final = "The host reaches the network again, as before the containment."
_EFFECTS: Final[dict[ActionType | LiftType, str]] = {
    "HOST_ISOLATION": _CUT_OFF,
    "NETWORK_QUARANTINE": _CUT_OFF,
    "PROCESS_KILL": "The process ends; what it has not saved is lost. The host stays connected.",
    "LIFT_HOST_ISOLATION": _LIFTED,
    "LIFT_NETWORK_QUARANTINE": _LIFTED,
}

_WAITED_FOR: Final = {"confirmed": 0, "failed": FAILED, "outcome_unknown": UNKNOWN, "dry_run": 0}
"""The outcomes that stay, with their exit codes. `requested` is followed by one of them."""

_NEVER: Final = "none within 20 minutes: see vyrox contained, and the vendor's console"

_event_decoder: Final = msgspec.json.Decoder(dict[str, Scalar])


class _Alert(msgspec.Struct, frozen=True):
    """What the question shows of an alert."""

    received_at: float
    severity: str
    hostname: str | None
    device_id: str | None
    username: str | None
    process_name: str | None


class Way(NamedTuple):
    """How a request is sent.

    Attributes:
        route: `execute` or `lift`.
        url: Of the private listener; None for that of this machine's settings.
        yes: Do not ask.
        is_waiting: Wait for the outcome.
        has_time: Whether the person has given `approved_at`. Otherwise it is when it is sent.
    """

    route: str
    url: str | None
    yes: bool
    is_waiting: bool
    as_json: bool
    has_time: bool


def send_after_question(request: ContainmentRequest, glass_reason: str | None, way: Way) -> None:
    """Ask on a terminal, send the request, print the response and, if asked, wait.

    Args:
        request: Its `approved_by` is the person who acts, if it is a break glass.
        glass_reason: Why a break glass is used; None: the request has an approval.

    Raises:
        OperatorError: As `send`, and if the outcome cannot be read.
    """
    encoded(request)
    if way.is_waiting:
        _check_database()
    if not way.yes and is_terminal():
        _ask(request, way.url)
    if not way.has_time:
        request = msgspec.structs.replace(request, approved_at=int(wall_clock()))
    if glass_reason is None:
        send(request, way.url, way.route, way.as_json)
    else:
        send(_glass(request, glass_reason), way.url, "break-glass", way.as_json)
    if way.is_waiting:
        _wait(request, as_json=way.as_json)


def _glass(request: ContainmentRequest, reason: str) -> BreakGlass:
    return BreakGlass(
        request_id=request.request_id,
        tenant_id=request.tenant_id,
        alert_id=request.alert_id,
        action_type=request.action_type,
        host=request.host,
        by=request.approved_by,
        reason=reason,
        at=request.approved_at,
    )


def _ask(request: ContainmentRequest, url: str | None) -> None:
    """Ask the person at the terminal; exit with 4 on a no."""
    click.echo(f"{_VERBS[request.action_type]} {shortened(request.host, 48)}?", err=True)
    for line in record_lines(_described(request, url), LINE):
        click.echo(f"  {line}", err=True)
    if not click.confirm("Do it?", err=True):
        click.echo("not done: nothing was sent", err=True)
        raise click.exceptions.Exit(FAILED)


def _described(request: ContainmentRequest, url: str | None) -> dict[str, str]:
    path = ("alerts", request.alert_id)
    try:
        alert: _Alert | str = msgspec.json.decode(read(path, request.tenant_id, url), type=_Alert)
    except httpx.HTTPStatusError as exc:
        is_missing = exc.response.status_code == httpx.codes.NOT_FOUND
        alert = "Vyrox does not know it" if is_missing else "it cannot be read"
    except (httpx.HTTPError, ValueError):
        alert = "it cannot be read"
    known = alert if isinstance(alert, _Alert) else None
    return {
        "tenant": f"{request.tenant_id}{hint_of(request.tenant_id) if url is None else ''}",
        "host": _host(request, known),
        "user": (known and known.username) or "not known",
        "alert": f"{request.alert_id}: {alert if isinstance(alert, str) else _summary(alert)}",
        "by": request.approved_by,
        "effect": _EFFECTS[request.action_type],
    }


def _host(request: ContainmentRequest, alert: _Alert | None) -> str:
    names = [name for name in (alert.hostname, alert.device_id) if name] if alert else []
    if not names or request.host in names:
        others = [name for name in names if name != request.host]
        return f"{request.host} ({others[0]})" if others else request.host
    return f"{request.host}, but the alert is of {names[0]}"


def _summary(alert: _Alert) -> str:
    parts = (alert.severity, alert.process_name, f"received {as_minute(alert.received_at)} UTC")
    return ", ".join(part for part in parts if part)


def _check_database() -> None:
    async def run() -> None:
        async with opened_database():
            pass

    try:
        asyncio.run(run())
    except VyroxError as exc:
        raise NotSentError(f"--wait reads the service's database: {exc}. Nothing was sent") from exc


def _wait(request: ContainmentRequest, *, as_json: bool) -> None:
    """Wait until the action is confirmed or has failed, and print it. Exits with 4 or 5 if not."""
    try:
        outcome, reason = asyncio.run(_outcome(request))
    except VyroxError as exc:
        raise NoResponseError(f"it was sent, but its outcome cannot be read: {exc}") from exc
    click.echo(printable(f"{outcome}: {reason}" if reason else outcome), err=as_json)
    if code := _WAITED_FOR[outcome]:
        raise click.exceptions.Exit(code)


async def _outcome(request: ContainmentRequest) -> tuple[str, str | None]:
    # A repeated request may have its outcome from an earlier one, but not from long before.
    since = request.approved_at - 3600
    wanted = export.Wanted(request.tenant_id, "execute.outcome", since)
    seen: dict[str, int] = {}
    async with opened_database() as opened:
        found = await _newest(opened.database, wanted, seen, request.request_id)
        if found is None:
            click.echo("waiting for the vendor's state; Ctrl-C ends the wait only", err=True)
        until = monotonic_clock() + WAIT_AT_MOST_S
        while found is None and monotonic_clock() < until:
            await asyncio.sleep(WAIT_INTERVAL_S)
            found = await _newest(opened.database, wanted, seen, request.request_id)
        return found or ("outcome_unknown", _NEVER)


async def _newest(
    database: Database, wanted: export.Wanted, seen: dict[str, int], request_id: str
) -> tuple[str, str | None] | None:
    newest: tuple[str, str | None] | None = None
    async for page in export.events(database, wanted, seen):
        for line in page:
            event = _event_decoder.decode(line)
            outcome, reason = str(event.get("outcome")), event.get("reason")
            if event.get("execution") == request_id:
                # After `requested`, an earlier attempt's outcome does not count.
                known = (outcome, None if reason is None else str(reason))
                newest = known if outcome in _WAITED_FOR else None
    return newest
