"""Containment: `/execute` and `/lift` (contract 19 to 25 and 34), and `/break-glass` (69)."""

import asyncio
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vyrox import log
from vyrox.approvals.break_glass import BrokenGlass
from vyrox.chain.entry import SERVICE, Receipt
from vyrox.errors import (
    InFlightError,
    InvalidRequestError,
    RefusedByPolicyError,
    VendorError,
    VendorLookUpError,
    VyroxError,
)
from vyrox.http.application import request_id_of
from vyrox.http.explaining import reason_of
from vyrox.http.fields import invalid_field
from vyrox.http.replay_window import check_window
from vyrox.http.responses import JsonResponse
from vyrox.models import ActionType, BreakGlass, ContainmentRequest, LiftType, Words
from vyrox.routes.signed import (
    Proxy,
    authenticate,
    check_texts,
    read_signed_body,
    unavailable_as_500,
)


class ActionBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that both bodies have (contract 20). Other fields are ignored."""

    request_id: Words
    tenant_id: Words
    alert_id: Words
    host: Words
    approved_by: Words
    approved_at: int


class ExecuteBody(ActionBody, frozen=True, kw_only=True):
    """A containment that a person has approved."""

    action_type: ActionType


class LiftBody(ActionBody, frozen=True, kw_only=True):
    """The end of a containment; `force`: also of one that Vyrox has not made."""

    action_type: LiftType
    force: bool = False


_Decoder = (
    msgspec.json.Decoder[ExecuteBody]
    | msgspec.json.Decoder[LiftBody]
    | msgspec.json.Decoder[BreakGlass]
)

_EXECUTE: Final = msgspec.json.Decoder(ExecuteBody)
_LIFT: Final = msgspec.json.Decoder(LiftBody)
_BREAK_GLASS: Final = msgspec.json.Decoder(BreakGlass)


async def execute(request: Request) -> Response:
    """Carry out one containment. Raises as `_carry_out`."""
    return await _carry_out(request, _EXECUTE)


async def lift(request: Request) -> Response:
    """Undo one containment (contract 34). Raises as `_carry_out`."""
    return await _carry_out(request, _LIFT)


async def use_break_glass(request: Request) -> Response:
    """Carry out one action without an approval (contract 69). Raises as `_carry_out`."""
    return await _carry_out(request, _BREAK_GLASS)


async def _carry_out(request: Request, decoder: _Decoder) -> Response:
    """Carry out the action that the body requests. Contract 19 fixes the order of the steps.

    Raises:
        VyroxError: An error that contract 19 names. After a VendorOutcomeUnknownError the action
            may have happened.
    """
    proxy: Proxy = request.app.state.proxy
    # 1. The body, within its limit.
    body = await read_signed_body(request)
    now = proxy.clock()
    # 2. The signature.
    authenticate(proxy, request, body)
    # 3. The fields.
    try:
        action, glass = _decode(body, decoder)
    except InvalidRequestError as exc:
        _note_refusal(proxy, request, None, exc)
        raise
    receipts: list[Receipt] = []
    try:
        # 4. The rate limit.
        proxy.rate_limit.check(action.tenant_id, proxy.clocks.lease_time())
        # 5. The clocks, and the replay window, which depends on them.
        with unavailable_as_500():
            proxy.clocks.check()
        check_window(action.approved_at, now)
        # 6. The claim and the audit entry, then the vendor or a dry run, then the result.
        with unavailable_as_500():
            approval = None if glass is None else BrokenGlass(glass, proxy.clocks.lease_time())
            executed = await proxy.containment.execute(
                action, request_id_of(request), approval, receipts.append
            )
    except asyncio.CancelledError as exc:
        # The shutdown cancels this request. The action continues, and a retry returns its result.
        raise InFlightError("the service is stopping; the action goes on to its end") from exc
    except (VendorError, RefusedByPolicyError) as exc:
        # The transaction that recorded the result has written the event, except for this error.
        if isinstance(exc, VendorLookUpError):
            _note_refusal(proxy, request, action, exc)
        if receipts:
            exc.headers = {**exc.headers, **await _audit_headers(proxy, action, receipts)}
        raise
    except VyroxError as exc:
        _note_refusal(proxy, request, action, exc)
        raise
    log.event(
        f"execute.{executed.status}",
        request_id=request_id_of(request),
        tenant=action.tenant_id,
        action=action.action_type,
        host=action.host,
    )
    # 7. The checkpoint that the caller can keep.
    return JsonResponse(executed, headers=await _audit_headers(proxy, action, receipts))


async def _audit_headers(
    proxy: Proxy, action: ContainmentRequest, receipts: list[Receipt]
) -> dict[str, str]:
    """Return what the caller can keep, to prove later what the log said (contract 93)."""
    size, headers = 0, {}
    for receipt in receipts:
        size = receipt.sequence
        headers = {"x-vyrox-audit-size": str(size), "x-vyrox-audit-hash": receipt.hash}
    if proxy.checkpoints is not None:
        checkpoint = await proxy.checkpoints.header(action.tenant_id, size)
        if checkpoint is not None:
            headers["x-vyrox-checkpoint"] = checkpoint
    return headers


def _decode(body: bytes, decoder: _Decoder) -> tuple[ContainmentRequest, BreakGlass | None]:
    try:
        decoded = decoder.decode(body)
    except (ValueError, RecursionError) as exc:
        raise invalid_field(exc, body) from exc
    if isinstance(decoded, BreakGlass):
        action, glass = decoded.request, decoded
        words = {"by": decoded.by, "reason": decoded.reason}
    else:
        action = msgspec.convert(decoded, ContainmentRequest, from_attributes=True)
        glass, words = None, {"approved_by": decoded.approved_by}
    names = ("request_id", "alert_id", "host")
    check_texts(action.tenant_id, {name: getattr(action, name) for name in names} | words)
    return action, glass


def _note_refusal(
    proxy: Proxy,
    request: Request,
    action: ContainmentRequest | None,
    error: VyroxError,
) -> None:
    proxy.events.note(
        "execute.refused",
        SERVICE if action is None else action.tenant_id,
        request_id_of(request),
        execution=None if action is None else action.request_id,
        status=error.status,
        reason=reason_of(error),
        action_type=None if action is None else action.action_type,
        host=None if action is None else action.host,
        alert_id=None if action is None else action.alert_id,
        force=None if action is None else action.force,
    )
