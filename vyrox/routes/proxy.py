"""The private listener: containment and the audit log's export (contract 19 to 28)."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Final, NoReturn

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from vyrox import log
from vyrox.chain import export
from vyrox.chain.entry import SERVICE
from vyrox.chain.events import AuditEvents
from vyrox.clock import Clock
from vyrox.containment.clock_guard import ClockGuard
from vyrox.containment.execution import Containment
from vyrox.containment.rate_limit import RateLimit
from vyrox.crypto import verify
from vyrox.errors import (
    AuditWriteError,
    InFlightError,
    InvalidRequestError,
    RefusedByPolicyError,
    UnauthorizedError,
    UnavailableError,
    VendorError,
    VendorLookUpError,
    VyroxError,
)
from vyrox.http.application import (
    IncompleteBodies,
    JsonResponse,
    header_values,
    read_body,
    request_id_of,
)
from vyrox.http.replay_window import check_window
from vyrox.ids import is_tenant_id
from vyrox.models import ActionType, ContainmentRequest, LiftType
from vyrox.store.database import Database

MAX_BODY_BYTES: Final = 65_536

_arriving: Final = IncompleteBodies()

_TIMESTAMP: Final = re.compile(rb"[0-9]{1,12}")
"""Whole Unix seconds in ASCII digits; `int` alone would take "1_000" and other scripts'."""

_SIGNATURE: Final = re.compile(rb"sha256=[0-9a-f]{64}")
"""The one form that can verify. Only the audit event tells another form from a wrong signature."""

_LINES: Final = "application/x-ndjson"

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """What the two bodies have in common (contract 20). Other fields are ignored."""

    request_id: _Text
    tenant_id: _Text
    alert_id: _Text
    host: _Text
    approved_by: _Text
    approved_at: int


class _ExecuteBody(_Body, frozen=True, kw_only=True):
    action_type: ActionType


class _LiftBody(_Body, frozen=True, kw_only=True):
    action_type: LiftType
    force: bool = False


_Decoder = msgspec.json.Decoder[_ExecuteBody] | msgspec.json.Decoder[_LiftBody]

_EXECUTE: Final = msgspec.json.Decoder(_ExecuteBody)
_LIFT: Final = msgspec.json.Decoder(_LiftBody)


@dataclass(frozen=True)
class Proxy:
    """What the routes work with; opened in the application's lifespan.

    Attributes:
        secret: VYROX_HMAC_SECRET.
    """

    clock: Clock
    clocks: ClockGuard
    secret: str
    database: Database
    containment: Containment
    events: AuditEvents
    rate_limit: RateLimit


def create_routes() -> list[BaseRoute]:
    """Return the routes of the private listener."""
    return [
        Route("/execute", execute, methods=["POST"]),
        Route("/lift", lift, methods=["POST"]),
        Route("/audit/export", export_entries, methods=["GET"]),
        Route("/health", report_health, methods=["GET"]),
    ]


async def execute(request: Request) -> Response:
    """Carry out one containment. Raises as `_carry_out`."""
    return await _carry_out(request, _EXECUTE)


async def lift(request: Request) -> Response:
    """Undo one containment (contract 34). Raises as `_carry_out`."""
    return await _carry_out(request, _LIFT)


async def _carry_out(request: Request, decoder: _Decoder) -> Response:
    """Carry out what the body asks for. The order of the steps is contract 19's.

    Raises:
        VyroxError: One of those that contract 19 names. After a VendorOutcomeUnknownError the
            action may have happened.
    """
    proxy: Proxy = request.app.state.proxy
    # 1. The body, within its limit.
    with _unavailable_as_500():
        body = await read_body(request, MAX_BODY_BYTES, _arriving)
    now = proxy.clock()
    # 2. The signature.
    _authenticate(proxy, request, body, claimed=None)
    # 3. The fields.
    try:
        wanted = _decode(body, decoder)
    except InvalidRequestError as exc:
        _note_refusal(proxy, request, None, exc)
        raise
    try:
        # 4. The rate limit.
        proxy.rate_limit.check(wanted.tenant_id, proxy.clocks.lease_time())
        # 5. The clocks, and the replay window, which rests on them.
        with _unavailable_as_500():
            proxy.clocks.check()
        check_window(wanted.approved_at, now)
        # 6. To the end: claim and entry, the vendor or a dry run, the record.
        with _unavailable_as_500():
            executed = await proxy.containment.execute(wanted, request_id_of(request))
    except asyncio.CancelledError as exc:
        # The shutdown waits no longer. The action goes on, and a retry is told how it ended.
        raise InFlightError("cut short") from exc
    except (VendorError, RefusedByPolicyError) as exc:
        # Told already, in the transaction that released the claim or refused it; but for one.
        if isinstance(exc, VendorLookUpError):
            _note_refusal(proxy, request, wanted, exc, str(exc))
        raise
    except VyroxError as exc:
        _note_refusal(proxy, request, wanted, exc)
        raise
    log.event(
        f"execute.{executed.status}",
        request_id=request_id_of(request),
        tenant=wanted.tenant_id,
        action=wanted.action_type,
        host=wanted.host,
    )
    return JsonResponse(executed)


@contextmanager
def _unavailable_as_500() -> Iterator[None]:
    """Make 500 of what is 503 at the public listener: this one answers so (contract 19)."""
    try:
        yield
    except UnavailableError as exc:
        raise AuditWriteError(str(exc)) from exc


def _authenticate(proxy: Proxy, request: Request, message: bytes, claimed: str | None) -> None:
    signatures = header_values(request, b"x-vyrox-signature")
    signature = signatures[0] if len(signatures) == 1 else b""
    if not verify(message, signature, proxy.secret):
        well_formed = _SIGNATURE.fullmatch(signature) is not None
        failure = "bad_signature" if well_formed else "malformed_credential"
        _refuse_credential(proxy, request, failure if signatures else "missing_credential", claimed)


def _refuse_credential(
    proxy: Proxy, request: Request, failure: str, claimed: str | None
) -> NoReturn:
    proxy.events.note_unauthenticated(
        "auth.failed",
        None,
        request_id_of(request),
        route=request.scope["path"],
        claimed_tenant=claimed,
        failure=failure,
    )
    raise UnauthorizedError(failure, claimed)


def _note_refusal(
    proxy: Proxy,
    request: Request,
    wanted: ContainmentRequest | None,
    error: VyroxError,
    reason: str | None = None,
) -> None:
    proxy.events.note(
        "execute.refused",
        SERVICE if wanted is None else wanted.tenant_id,
        request_id_of(request),
        execution=None if wanted is None else wanted.request_id,
        status=error.status,
        reason=reason or error.detail,
        alert_id=None if wanted is None else wanted.alert_id,
        force=None if wanted is None else wanted.force,
    )


def _decode(body: bytes, decoder: _Decoder) -> ContainmentRequest:
    try:
        decoded = decoder.decode(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequestError(type(exc).__name__) from exc
    texts = (decoded.request_id, decoded.alert_id, decoded.host, decoded.approved_by)
    if not is_tenant_id(decoded.tenant_id) or any(text.isspace() for text in texts):
        raise InvalidRequestError("a bad tenant_id, or a field of white space")
    return msgspec.convert(decoded, ContainmentRequest, from_attributes=True)


async def export_entries(request: Request) -> Response:
    """Stream every entry of a tenant, oldest first. The order of the steps is contract 26's.

    Raises:
        UnauthorizedError: A header is missing or malformed, or the signature is wrong.
        InvalidRequestError: Not exactly one tenant is asked for.
        StaleRequestError: The timestamp is outside the replay window.
    """
    proxy: Proxy = request.app.state.proxy
    tenant_ids = request.query_params.getlist("tenant_id")
    tenant_id = tenant_ids[0] if len(tenant_ids) == 1 and is_tenant_id(tenant_ids[0]) else None
    # 1. Both headers, and a whole number of seconds.
    timestamps = header_values(request, b"x-vyrox-timestamp")
    if not timestamps or not header_values(request, b"x-vyrox-signature"):
        _refuse_credential(proxy, request, "missing_credential", tenant_id)
    if len(timestamps) > 1 or _TIMESTAMP.fullmatch(timestamps[0]) is None:
        _refuse_credential(proxy, request, "malformed_credential", tenant_id)
    # 2. The tenant.
    if tenant_id is None:
        raise InvalidRequestError("not exactly one tenant_id")
    # 3. The signature, over both.
    _authenticate(proxy, request, b"%b:%b" % (tenant_id.encode(), timestamps[0]), tenant_id)
    # 4. The replay window.
    check_window(int(timestamps[0]), proxy.clock())
    # 5. The entries. The first page is read before the answer begins, so that a database that is
    # away is an error and not an answer cut short.
    pages = export.pages(proxy.database, tenant_id, "actions")
    with _unavailable_as_500():
        first: list[bytes] = await anext(pages, [])
    lines = _LINES in request.headers.get("accept", "").lower()
    proxy.events.note("audit.exported", tenant_id, request_id_of(request), lines=lines)
    return StreamingResponse(
        _as_lines(first, pages) if lines else _as_array(first, pages),
        headers={"cache-control": "no-store"},
        media_type=_LINES if lines else "application/json",
    )


async def _as_array(first: list[bytes], pages: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    yield b"[" + b",".join(first)
    async for page in pages:
        yield b"," + b",".join(page)
    yield b"]"


async def _as_lines(first: list[bytes], pages: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    yield b"".join(entry + b"\n" for entry in first)
    async for page in pages:
        yield b"".join(entry + b"\n" for entry in page)


async def report_health(_request: Request) -> Response:
    """Answer 200 while the process serves; touches nothing (contract 28)."""
    return JsonResponse({"status": "ok"})
