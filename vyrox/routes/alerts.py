"""Alerts on the private listener: list, show, finish (contract 50 and 51)."""

import logging
import math
from functools import partial
from typing import Annotated, Final, Literal

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox import log
from vyrox.alerts.finding import AlertFilter, parse_place
from vyrox.alerts.intake import folded
from vyrox.alerts.listing import MAX_LISTED, list_alerts, show_alert
from vyrox.alerts.verdict import MAX_NOTE, Decision, FinishedAlert
from vyrox.errors import InvalidRequestError, UnavailableError
from vyrox.http.application import request_id_of
from vyrox.http.fields import invalid_field
from vyrox.http.responses import JsonResponse
from vyrox.models import DeliveryState, PersonVerdict, Severity, Words
from vyrox.routes.signed import (
    Proxy,
    SignedBody,
    Text,
    signed_change,
    signed_read,
    unavailable_as_500,
)
from vyrox.triage.decisions import decide_alerts

Place = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=256,
        extra_json_schema={"pattern": r"^[0-9]{1,10}\.[0-9]{1,9}_[0-9a-f-]{36}$"},
    ),
]
"""The `before` of an earlier page."""

_NOT_STORED: Final = {"cache-control": "no-store"}


class AlertsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a list. An unknown one is an error: it could be a mistyped filter."""

    tenant_id: str
    severity: tuple[Severity, ...] = ()
    host: Words | None = None
    user: Words | None = None
    delivery: DeliveryState | None = None
    verdict: PersonVerdict | Literal["none"] | None = None
    since: float | None = None
    before: Place | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 100


class FinishBody(SignedBody, frozen=True, kw_only=True):
    """A person's verdict on an alert. `id` is the alert of the path."""

    id: Text
    verdict: PersonVerdict
    note: Annotated[str, msgspec.Meta(max_length=MAX_NOTE)] | None = None


_FINISH: Final = msgspec.json.Decoder(FinishBody)


async def list_of_alerts(request: Request) -> Response:
    """Return one page of the tenant's alerts, newest first.

    Raises:
        VyroxError: As `signed_read`.
        InvalidRequestError: A parameter is invalid.
        AuditWriteError: A store is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    await signed_read(request)
    query = _read_query(request)
    before = None if query.before is None else parse_place(query.before)
    with unavailable_as_500():
        page = await list_alerts(
            proxy.database, proxy.entries.taken, _filter(query), before, query.limit
        )
    return JsonResponse(page, headers=_NOT_STORED)


async def one_alert(request: Request) -> Response:
    """Return everything about one alert.

    Raises:
        VyroxError: As `signed_read`.
        InvalidRequestError: `raw` is something else than `true`.
        NotFoundError: The tenant has no alert with this id.
        AuditWriteError: The database is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    tenant_id = await signed_read(request)
    raw = request.query_params.getlist("raw")
    if raw not in ([], ["true"]):
        raise InvalidRequestError("raw takes the value true only")
    alert_id = request.path_params["alert_id"]
    with unavailable_as_500():
        shown = await show_alert(
            proxy.database, proxy.entries.taken, tenant_id, alert_id, with_raw=bool(raw)
        )
    return JsonResponse(shown, headers=_NOT_STORED)


async def finish_alert(request: Request) -> Response:
    """Give one alert a person's verdict, and end its delivery.

    Raises:
        VyroxError: As `signed_change` and `SignedChange.make`.
        NotFoundError: The tenant has no alert with this id.
    """
    proxy: Proxy = request.app.state.proxy
    change = await signed_change(request, _FINISH)
    body = change.body
    if body.id != request.path_params["alert_id"]:
        raise InvalidRequestError("the id in the body is not that of the path")
    decision = Decision(body.tenant_id, (body.id,), body.verdict, body.by, body.note)
    response = await change.make(
        partial(_decide_one, decision=decision, now=change.now, request_id=request_id_of(request))
    )
    # After the commit, and also for a repeated request: the first may have been interrupted here.
    try:
        await proxy.entries.remove([(body.tenant_id, body.id)])
    except UnavailableError as exc:
        # The next consumer skips the alert and removes the entry.
        log.event("alert.entry_left", logging.WARNING, alert=body.id, reason=str(exc))
    return response


def _decide_one(
    connection: Connection, decision: Decision, now: float, request_id: str
) -> FinishedAlert:
    [finished] = decide_alerts(connection, decision, now, request_id).alerts
    return finished


def _read_query(request: Request) -> AlertsQuery:
    severities = request.query_params.getlist("severity")
    fields: dict[str, object] = {"severity": severities}
    for name, value in request.query_params.multi_items():
        if name == "severity":
            continue
        if name in fields:
            raise InvalidRequestError(f"the parameter {name[:64]} is given twice")
        fields[name] = value
    try:
        return msgspec.convert(fields, AlertsQuery, strict=False)
    except ValueError as exc:
        raise invalid_field(exc) from exc


def _filter(query: AlertsQuery) -> AlertFilter:
    hostname, username = folded(query.host), folded(query.user)
    is_empty = (hostname is None) != (query.host is None) or (username is None) != (
        query.user is None
    )
    if is_empty or (query.since is not None and not math.isfinite(query.since)):
        raise InvalidRequestError("host or user is empty, or since is not a time")
    return AlertFilter(
        query.tenant_id,
        query.severity,
        hostname,
        username,
        query.delivery,
        query.verdict,
        query.since,
    )
