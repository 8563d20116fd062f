"""Approvals on the private listener: `POST /webhook` and `GET /approvals/{id}` (contract 63)."""

from functools import partial
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox.approvals.proposing import Wanted, propose
from vyrox.approvals.shown import show
from vyrox.http.application import request_id_of
from vyrox.http.fields import invalid_field
from vyrox.http.responses import JsonResponse
from vyrox.routes.signed import (
    Proxy,
    authenticate,
    check_texts,
    read_signed_body,
    signed_read,
    unavailable_as_500,
)
from vyrox.store.signed_changes import run_once

_NOT_STORED: Final = {"cache-control": "no-store"}


class ProposalBody(Wanted, frozen=True, kw_only=True):
    """The fields of a proposal (contract 62), and the idempotency key. Others are ignored."""

    request_id: UUID


_decoder: Final = msgspec.json.Decoder(ProposalBody)


async def propose_action(request: Request) -> Response:
    """Store a proposal, once for each `request_id`. Contract 63 fixes the order of the steps.

    Raises:
        VyroxError: The body is too large, compressed or late; the signature is wrong; a field is
            invalid; the action cannot be proposed.
        RequestReusedError: The `request_id` was used for something else.
        AuditWriteError: A clock cannot be trusted, or the database is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    # 1. The body, within its limit.
    body = await read_signed_body(request)
    # 2. The signature.
    authenticate(proxy, request, body)
    # 3. The fields.
    wanted = _decode(body)
    with unavailable_as_500():
        # 4. The clocks: a proposal expires.
        proxy.clocks.check()
        now = proxy.clocks.lease_time()
        # 5. The request_id, then the proposal with its event and its response.
        make = partial(
            _made,
            wanted=wanted,
            now=now,
            trace_id=request_id_of(request),
            ttl_s=proxy.approval_ttl_s,
        )
        content = await proxy.database.write(
            run_once, str(wanted.request_id), _fingerprint(wanted), make, now
        )
    return Response(content, 202, media_type="application/json")


async def one_approval(request: Request) -> Response:
    """Return a proposal, its state now, who decided, and what became of it.

    Raises:
        VyroxError: As `signed_read`.
        NotFoundError: The tenant has no proposal with this id.
        AuditWriteError: The database is unavailable.
    """
    proxy: Proxy = request.app.state.proxy
    tenant_id = await signed_read(request)
    proposal_id = request.path_params["proposal_id"]
    with unavailable_as_500():
        shown = await proxy.database.read(show, tenant_id, proposal_id, proxy.clocks.lease_time())
    return JsonResponse(shown, headers=_NOT_STORED)


def _decode(body: bytes) -> ProposalBody:
    try:
        decoded = _decoder.decode(body)
    except (ValueError, RecursionError) as exc:
        raise invalid_field(exc, body) from exc
    names = ("alert_id", "host", "requested_by", "reason")
    check_texts(decoded.tenant_id, {name: getattr(decoded, name) for name in names})
    return decoded


def _made(
    connection: Connection, *, wanted: ProposalBody, now: float, trace_id: str, ttl_s: int
) -> bytes:
    return msgspec.json.encode(propose(connection, wanted, now, ttl_s, trace_id))


def _fingerprint(wanted: ProposalBody) -> bytes:
    """Return 32 bytes that identify what the request asks for."""
    return sha256(b"/webhook\n" + msgspec.json.encode(wanted, order="deterministic")).digest()
