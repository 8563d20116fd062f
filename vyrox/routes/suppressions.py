"""Suppressions on the private listener: list, preview, make, confirm, end (contract 51 and 56)."""

from functools import partial
from typing import Annotated, Final, TypeVar

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
from vyrox.tenants.known import is_known
from vyrox.triage import suppression_life, suppressions
from vyrox.triage.fingerprint import MAX_SHAPED
from vyrox.triage.preview import preview
from vyrox.triage.suppressing import Asked, suppress, wanted_by
from vyrox.triage.suppression_life import DEFAULT_DAYS, MAX_REASON, Days
from vyrox.triage.suppressions import shown

_NOT_STORED: Final = {"cache-control": "no-store"}

Command = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SHAPED)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)]
Families = Annotated[tuple[Text, ...], msgspec.Meta(max_length=32)]


class SuppressionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose; `all`: also those that have ended."""

    tenant_id: str
    all: bool = False


class ScopeQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scope of a preview. `family` may be repeated."""

    tenant_id: str
    like: Text | None = None
    command: Command | None = None
    program: Text | None = None
    family: Families = ()
    host: Text | None = None
    any_host: bool = False
    user: Text | None = None
    any_user: bool = False


class SuppressionBody(SignedBody, frozen=True, kw_only=True):
    """What is suppressed, why, and for how many days."""

    reason: Reason
    like: Text | None = None
    command: Command | None = None
    program: Text | None = None
    families: Families = ()
    host: Text | None = None
    any_host: bool = False
    user: Text | None = None
    any_user: bool = False
    days: Days = DEFAULT_DAYS


class ConfirmBody(SignedBody, frozen=True, kw_only=True):
    """`id` is the suppression of the path."""

    id: Text


class EndBody(SignedBody, frozen=True, kw_only=True):
    """`id` is the suppression of the path."""

    id: Text
    reason: Reason = "a person ended it"


_MAKE: Final = msgspec.json.Decoder(SuppressionBody)
_CONFIRM: Final = msgspec.json.Decoder(ConfirmBody)
_END: Final = msgspec.json.Decoder(EndBody)


async def list_of_suppressions(request: Request) -> Response:
    """Return the tenant's suppressions, newest first.

    Raises:
        VyroxError: As `signed_read`.
        InvalidRequestError: A parameter is invalid.
        AuditWriteError: The database is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    tenant_id = await signed_read(request)
    query = _read_query(request, SuppressionsQuery)
    now = proxy.clock()
    with unavailable_as_500():
        found = await proxy.database.read(suppressions.list_all, tenant_id, now, query.all)
    content = {"suppressions": [shown(each, now) for each in found]}
    return JsonResponse(content, headers=_NOT_STORED)


async def preview_of_suppression(request: Request) -> Response:
    """Return what a suppression would have hidden in the last 30 days.

    Raises:
        VyroxError: As `signed_read`.
        InvalidRequestError: A parameter is invalid, or there is no scope.
        NotFoundError: The tenant has no alert `like`.
        AuditWriteError: The database is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    tenant_id = await signed_read(request)
    query = _read_query(request, ScopeQuery)
    asked = Asked(
        tenant_id=tenant_id,
        reason="",
        author="",
        like=query.like,
        command=query.command,
        program=query.program,
        families=query.family,
        host=query.host,
        any_host=query.any_host,
        username=query.user,
        any_user=query.any_user,
    )
    with unavailable_as_500():
        wanted = await proxy.database.read(wanted_by, asked)
        found = await preview(proxy.database, tenant_id, wanted.scope, proxy.clock())
    content = {
        "scope": wanted.scope,
        "command": wanted.command,
        "needs_second": wanted.scope.needs_second,
        "preview": found,
    }
    return JsonResponse(content, headers=_NOT_STORED)


async def make_suppression(request: Request) -> Response:
    """Make a suppression.

    Raises:
        VyroxError: As `signed_change`, `SignedChange.make` and `suppress`.
        NotFoundError: The tenant is not known, or has no alert `like`.
    """
    change = await signed_change(request, _MAKE)
    body = change.body
    asked = Asked(
        tenant_id=body.tenant_id,
        reason=body.reason,
        author=body.by,
        like=body.like,
        command=body.command,
        program=body.program,
        families=body.families,
        host=body.host,
        any_host=body.any_host,
        username=body.user,
        any_user=body.any_user,
        days=body.days,
    )
    return await change.make(
        partial(_make, asked=asked, now=change.now, request_id=request_id_of(request))
    )


async def confirm_suppression(request: Request) -> Response:
    """Confirm a suppression as the second person.

    Raises:
        VyroxError: As `signed_change`, `SignedChange.make` and `suppression_life.confirm`.
    """
    change = await signed_change(request, _CONFIRM)
    _require_same_id(request, change.body.id)
    return await change.make(partial(_confirm, change=change, request_id=request_id_of(request)))


async def end_suppression(request: Request) -> Response:
    """End a suppression.

    Raises:
        VyroxError: As `signed_change`, `SignedChange.make` and `suppression_life.end`.
    """
    change = await signed_change(request, _END)
    _require_same_id(request, change.body.id)
    return await change.make(partial(_end, change=change, request_id=request_id_of(request)))


def _make(connection: Connection, asked: Asked, now: float, request_id: str) -> dict[str, object]:
    if not is_known(connection, asked.tenant_id):
        raise NotFoundError("the tenant is not onboarded and has sent no alert")
    return shown(suppress(connection, asked, now, request_id), now)


def _confirm(
    connection: Connection, change: SignedChange[ConfirmBody], request_id: str
) -> dict[str, object]:
    body, now = change.body, change.now
    confirmed = suppression_life.confirm(
        connection, body.tenant_id, body.id, body.by, now, request_id
    )
    return shown(confirmed, now)


def _end(
    connection: Connection, change: SignedChange[EndBody], request_id: str
) -> dict[str, object]:
    body, now = change.body, change.now
    ended = suppression_life.end(
        connection, body.tenant_id, body.id, body.by, body.reason, now, request_id
    )
    return shown(ended, now)


def _require_same_id(request: Request, suppression_id: str) -> None:
    if suppression_id != request.path_params["suppression_id"]:
        raise InvalidRequestError("the id in the body is not that of the path")


Query = TypeVar("Query", SuppressionsQuery, ScopeQuery)


def _read_query(request: Request, kind: type[Query]) -> Query:
    """Return the parameters. An unknown or repeated one is an error: it could be mistyped."""
    fields: dict[str, object] = {}
    if families := request.query_params.getlist("family"):
        fields["family"] = families
    for name, value in request.query_params.multi_items():
        if name == "family":
            continue
        if name in fields:
            raise InvalidRequestError(f"the parameter {name[:64]} is given twice")
        fields[name] = value
    try:
        return msgspec.convert(fields, kind, strict=False)
    except ValueError as exc:
        raise invalid_field(exc) from exc
