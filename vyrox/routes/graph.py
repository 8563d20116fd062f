"""Microsoft Graph's handshake and notifications, on Defender's path with a tenant (contract 74).

Neither has a credential in its headers. The handshake is answered before any; each notification
has the tenant's secret inside, as `clientState`.
"""

import hmac
import logging
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from vyrox import log
from vyrox.adapters.notifications import LIFECYCLE, Notification, read_batch, token_in
from vyrox.adapters.tolerant_json import JsonText
from vyrox.alerts.quarantine import Unreadable
from vyrox.chain.entry import Draft
from vyrox.chain.events import event
from vyrox.errors import MalformedRequestError, NormalizationError, UnauthorizedError
from vyrox.http.application import header_values, request_id_of
from vyrox.http.senders import sender_of
from vyrox.models import Tenant
from vyrox.polling.notices import MISSED, VENDOR, Announced, Batch
from vyrox.routes.ingestion import Ingestion, store_timeout
from vyrox.tenants.authentication import match_secrets
from vyrox.tenants.customers import tenant_of
from vyrox.tenants.directory import Credentials

_CREDENTIALS: Final = (b"authorization", b"x-vyrox-signature")

_HEADERS: Final = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


def answer_handshake(request: Request) -> Response | None:
    """Return the echo of the validation token; None if the request has none.

    Raises:
        MalformedRequestError: It is too long, or not printable ASCII, or there are several.
    """
    values = request.query_params.getlist("validationToken")
    if not values:
        return None
    token = token_in(values)
    if token is None:
        raise MalformedRequestError("not a validation token")
    log.event("graph.handshake", request_id=request_id_of(request))
    return Response(token, 200, _HEADERS, "text/plain")


def read_notifications(request: Request, body: bytes) -> list[Notification] | None:
    """Return the notifications of a batch; None if the request is another delivery."""
    if any(header_values(request, name) for name in _CREDENTIALS):
        return None
    return read_batch(body)


async def receive_notifications(
    request: Request, items: Sequence[Notification], credentials: Credentials, now: float
) -> Response:
    """Store what the authentic ones of `items` announce. The answer does not depend on them.

    Raises:
        UnavailableError: Not stored, or it is not known; Graph sends the batch again.
    """
    ingestion: Ingestion = request.app.state.ingestion
    authentic: list[Notification] = []
    failures: list[UnauthorizedError] = []
    slots: set[int] = set()
    tenant = Tenant(credentials.tenant_id)
    for each in items:
        try:
            tenant, slot = _authenticate(each, credentials)
        except UnauthorizedError as exc:
            failures.append(exc)
        else:
            authentic.append(each)
            slots.add(slot)
    if failures:
        _note_forged(ingestion, request, credentials, failures)
    for slot in slots:
        ingestion.tenants.note_used(tenant.tenant_id, VENDOR, slot, now)
    if authentic:
        batch = _batch(ingestion, request, tenant, authentic, now)
        with store_timeout:
            await ingestion.announce(batch)
        _log_batch(request, tenant, batch)
    return Response(status_code=202, headers=_HEADERS)


def _authenticate(item: Notification, credentials: Credentials) -> tuple[Tenant, int]:
    state = None if item.client_state is None else item.client_state.encode("utf-8", "replace")
    digest = sha256(state or b"").digest()

    def matches(secret: bytes) -> bool:
        return hmac.compare_digest(digest, sha256(secret).digest()) and state is not None

    return match_secrets(credentials, matches, presented=state is not None)


def _note_forged(
    ingestion: Ingestion,
    request: Request,
    credentials: Credentials,
    failures: Sequence[UnauthorizedError],
) -> None:
    """Note one event for all, with the same work for every tenant (contract 3)."""
    request_id = request_id_of(request)
    log.event(
        "notification.forged",
        logging.WARNING,
        request_id=request_id,
        source=VENDOR,
        number=len(failures),
        failure=failures[0].kind,
        address=sender_of(request.scope),
    )
    ingestion.events.note_unauthenticated(
        "auth.failed",
        credentials.tenant_id if credentials.onboarded else None,
        request_id,
        source=VENDOR,
        claimed_tenant=credentials.tenant_id or None,
        failure=failures[0].kind,
        address=sender_of(request.scope),
        notifications=len(failures),
    )


def _batch(
    ingestion: Ingestion,
    request: Request,
    tenant: Tenant,
    items: Sequence[Notification],
    now: float,
) -> Batch:
    announced: list[Announced] = []
    unreadable: list[Unreadable] = []
    lifecycle: list[Draft] = []
    bindings = ingestion.tenants.bindings(VENDOR)
    for each in items:
        owner = tenant
        try:
            owner = tenant_of(VENDOR, JsonText(each.raw), tenant, bindings)
            if each.lifecycle is None:
                announced.append(Announced(owner.tenant_id, each.alert_id(), each.raw))
                continue
        except NormalizationError as exc:
            unreadable.append(Unreadable(owner.tenant_id, VENDOR, each.raw, str(exc), now))
            continue
        lifecycle.append(_lifecycle_event(request, owner, each))
        if each.lifecycle == "missed":
            announced.append(Announced(owner.tenant_id, MISSED, each.raw))
    return Batch(tuple(announced), tuple(unreadable), tuple(lifecycle))


def _lifecycle_event(request: Request, owner: Tenant, item: Notification) -> Draft:
    what = item.lifecycle if item.lifecycle in LIFECYCLE else "unknown"
    request_id = request_id_of(request)
    log.event(
        "graph.lifecycle",
        logging.WARNING,
        request_id=request_id,
        tenant=owner.tenant_id,
        what=what,
        subscription=item.subscription_id[:64],
    )
    return event(
        "graph.lifecycle",
        owner.tenant_id,
        request_id,
        source=VENDOR,
        what=what,
        subscription=item.subscription_id[:64],
    )


def _log_batch(request: Request, tenant: Tenant, batch: Batch) -> None:
    log.event(
        "notification.accepted",
        request_id=request_id_of(request),
        tenant=tenant.tenant_id,
        source=VENDOR,
        number=len(batch.announced),
        quarantined=len(batch.unreadable),
        lifecycle=len(batch.lifecycle),
    )
