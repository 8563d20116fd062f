"""Incidents on the private listener: list, show, and what people do (contract 51 and 54)."""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.errors import InvalidRequestError, NotFoundError
from vyrox.http.application import request_id_of
from vyrox.http.fields import invalid_field
from vyrox.http.responses import JsonResponse
from vyrox.routes.signed import (
    Proxy,
    SignedBody,
    SignedChange,
    Text,
    signed_change,
    signed_read,
    unavailable_as_500,
)
from vyrox.triage import life, regrouping
from vyrox.triage.incident_ids import IncidentKey, parse_id
from vyrox.triage.incident_list import (
    MAX_LISTED,
    IncidentFilter,
    ListedIncident,
    list_incidents,
    listed,
    parse_place,
)
from vyrox.triage.incidents import Incident, Status
from vyrox.triage.life import MAX_NOTE, Actor, PersonResolution
from vyrox.triage.regrouping import MAX_MOVED
from vyrox.triage.score import Band
from vyrox.triage.shown_incident import show_incident

Place = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=256,
        extra_json_schema={
            "pattern": r"^(open|closed)_[0-9]{1,10}\.[0-9]{1,9}_[\w.-]{1,128}-[1-9][0-9]{0,8}$"
        },
    ),
]
"""The `before` of an earlier page."""

_NOT_STORED: Final = {"cache-control": "no-store"}

Note = Annotated[str, msgspec.Meta(max_length=MAX_NOTE)]


class IncidentsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a list. An unknown one is an error: it could be a mistyped filter."""

    tenant_id: str
    status: tuple[Status, ...] = ()
    band: tuple[Band, ...] = ()
    since: float | None = None
    before: Place | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)] = 50


class IncidentBody(SignedBody, frozen=True, kw_only=True):
    """The body of a change. `id` is the incident of the path."""

    id: Text
    note: Note | None = None


class CloseBody(IncidentBody, frozen=True, kw_only=True):
    """As `IncidentBody`, and how the incident ended."""

    resolution: PersonResolution


class CommentBody(SignedBody, frozen=True, kw_only=True):
    """A comment, which is required."""

    id: Text
    note: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NOTE)]


class MergeBody(IncidentBody, frozen=True, kw_only=True):
    """As `IncidentBody`. `other` is the second incident: the younger becomes part of the older."""

    other: Text


class MoveBody(IncidentBody, frozen=True, kw_only=True):
    """As `IncidentBody`. Without `to`, the alerts make a new incident."""

    alerts: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=MAX_MOVED)]
    to: Text | None = None


async def list_of_incidents(request: Request) -> Response:
    """Return one page of the tenant's incidents, those that are not closed first.

    Raises:
        VyroxError: As `signed_read`.
        InvalidRequestError: A parameter is invalid.
        AuditWriteError: The database is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    await signed_read(request)
    query = _read_query(request)
    before = None if query.before is None else parse_place(query.before)
    wanted = IncidentFilter(query.tenant_id, query.status, query.band, query.since)
    with unavailable_as_500():
        page = await proxy.database.read(list_incidents, wanted, before, query.limit)
    return JsonResponse(page, headers=_NOT_STORED)


async def one_incident(request: Request) -> Response:
    """Return everything about one incident, or about the one that it was merged into.

    Raises:
        VyroxError: As `signed_read`.
        NotFoundError: The tenant has no incident with this id.
        AuditWriteError: The database is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    key = _own_key(request.path_params["incident_id"], await signed_read(request))
    with unavailable_as_500():
        shown = await proxy.database.read(show_incident, key)
    return JsonResponse(shown, headers=_NOT_STORED)


Change = Callable[[Connection, IncidentKey, Actor, Any], Incident]


def _acknowledge(
    connection: Connection, key: IncidentKey, actor: Actor, body: IncidentBody
) -> Incident:
    return life.acknowledge(connection, key, actor, body.note)


def _close(connection: Connection, key: IncidentKey, actor: Actor, body: CloseBody) -> Incident:
    return life.close(connection, key, actor, body.resolution, body.note)


def _reopen(connection: Connection, key: IncidentKey, actor: Actor, body: IncidentBody) -> Incident:
    return life.reopen(connection, key, actor, body.note)


def _comment(connection: Connection, key: IncidentKey, actor: Actor, body: CommentBody) -> Incident:
    return life.comment(connection, key, actor, body.note)


def _merge(connection: Connection, key: IncidentKey, actor: Actor, body: MergeBody) -> Incident:
    other = _own_key(body.other, key.tenant_id)
    return regrouping.merge(connection, key, other, actor, body.note)


def _move(connection: Connection, key: IncidentKey, actor: Actor, body: MoveBody) -> Incident:
    into = None if body.to is None else _own_key(body.to, key.tenant_id)
    return regrouping.move(connection, body.alerts, into, actor, body.note, key)


def _route(
    body_type: type[IncidentBody] | type[CommentBody], change: Change
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a change: 404 or 409 if it is not possible, else the incident."""
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body_type)

    async def endpoint(request: Request) -> Response:
        signed: SignedChange[Any] = await signed_change(request, decoder)
        body = signed.body
        if body.id != request.path_params["incident_id"]:
            raise InvalidRequestError("the id in the body is not that of the path")
        actor = Actor(body.by, signed.now, request_id_of(request))
        return await signed.make(partial(_changed, change=change, actor=actor, body=body))

    return endpoint


def _changed(
    connection: Connection, change: Change, actor: Actor, body: IncidentBody | CommentBody
) -> ListedIncident:
    return listed(change(connection, _own_key(body.id, body.tenant_id), actor, body))


CHANGES: Final = {
    "ack": _route(IncidentBody, _acknowledge),
    "close": _route(CloseBody, _close),
    "reopen": _route(IncidentBody, _reopen),
    "comment": _route(CommentBody, _comment),
    "merge": _route(MergeBody, _merge),
    "move": _route(MoveBody, _move),
}
"""The last part of the path, and its endpoint."""


def _own_key(incident_id: str, tenant_id: str) -> IncidentKey:
    """Return the key of an incident of this tenant.

    Raises:
        NotFoundError: The id is of another tenant, or of no incident.
    """
    key = parse_id(incident_id)
    if key.tenant_id != tenant_id:
        raise NotFoundError(f"{tenant_id} has no incident {key.id}")
    return key


def _read_query(request: Request) -> IncidentsQuery:
    lists = ("status", "band")
    params = request.query_params
    fields: dict[str, object] = {name: params.getlist(name) for name in lists}
    for name, value in params.multi_items():
        if name in lists:
            continue
        if name in fields:
            raise InvalidRequestError(f"the parameter {name[:64]} is given twice")
        fields[name] = value
    try:
        query = msgspec.convert(fields, IncidentsQuery, strict=False)
    except ValueError as exc:
        raise invalid_field(exc) from exc
    if query.since is not None and not math.isfinite(query.since):
        raise InvalidRequestError("since is not a time")
    return query
