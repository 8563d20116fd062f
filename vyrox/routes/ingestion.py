"""The public listener: vendors' webhooks in, queued alerts out (contract 6 to 18).

body -> claimed tenant -> its secrets -> tenant -> alert -> row -> stream entry -> 202
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox import log
from vyrox.adapters import ADAPTERS
from vyrox.adapters.tolerant_json import tolerant
from vyrox.alerts.health import Health
from vyrox.alerts.intake import Intake
from vyrox.alerts.quarantine import Quarantine, Unreadable
from vyrox.alerts.queue import AlertQueue, QueueEntry
from vyrox.chain.events import AuditEvents
from vyrox.clock import Clock
from vyrox.errors import NormalizationError, UnauthorizedError, UnavailableError
from vyrox.http.application import (
    Endpoint,
    IncompleteBodies,
    JsonResponse,
    header_values,
    read_body,
    request_id_of,
)
from vyrox.http.shared_timeout import SharedTimeout
from vyrox.ids import is_tenant_id
from vyrox.models import BEARER_VENDORS, Tenant, Vendor
from vyrox.tenants.authentication import authenticate_bearer, authenticate_signature
from vyrox.tenants.directory import Credentials, TenantDirectory

STORE_TIMEOUT_S: Final = 0.9
"""For the row and the stream entry together: a 503 must be there within a second (contract 17)."""

_arriving: Final = IncompleteBodies()

_store_time: Final = SharedTimeout(
    STORE_TIMEOUT_S,
    lambda: UnavailableError(f"not stored and queued within {STORE_TIMEOUT_S} s"),
)


@dataclass(frozen=True)
class Ingestion:
    """What the routes work with; opened in the application's lifespan."""

    clock: Clock
    max_body_bytes: int
    tenants: TenantDirectory
    intake: Intake
    quarantine: Quarantine
    queue: AlertQueue
    events: AuditEvents
    health: Health


def create_routes() -> list[BaseRoute]:
    """Return the routes of the public listener."""
    generic = partial(receive_alert, vendor="generic")
    posts = {**POSTS, **_with_slash({"/webhook/generic/{tenant_id}": generic})}
    return [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posts.items()),
        Route("/health", report_health, methods=["GET"]),
    ]


async def receive_alert(request: Request, vendor: Vendor) -> Response:
    """Take one alert in. The order of the steps is contract 6's and 9's.

    Raises:
        VyroxError: One of those with a status below 500, or UnavailableError. Nothing was promised.
    """
    ingestion: Ingestion = request.app.state.ingestion
    request_id = request_id_of(request)
    adapter = ADAPTERS[vendor]
    # 1. The body, within its limit.
    body = await read_body(request, ingestion.max_body_bytes, _arriving)
    now = ingestion.clock()
    # 2. Whom it claims to be from. Nothing else is read before the credential has verified.
    payload = tolerant(body)
    if adapter.unverified_tenant_id is not None:
        claimed = adapter.unverified_tenant_id(payload)
    else:
        claimed = request.path_params["tenant_id"]
    # 3. The credential. From here on, the tenant is the one whose secret verified.
    tenant = _authenticate(ingestion, request, body, claimed, vendor, now)
    # 4. The payload becomes an alert, or is kept until it can.
    try:
        alert = adapter.normalize(payload, tenant, now)
    except NormalizationError as exc:
        with _store_time:
            unreadable = Unreadable(tenant.tenant_id, vendor, body, str(exc), now)
            body_kept = await ingestion.quarantine.keep(unreadable)
        ingestion.events.note(
            "alert.quarantined",
            tenant.tenant_id,
            request_id,
            source=vendor,
            reason=str(exc),
            body_kept=body_kept,
        )
        raise
    # 5. The row, committed; then the stream entry, confirmed. From here on it cannot be lost.
    with _store_time:
        stored = await ingestion.intake.accept(alert, body, now, request_id)
        if not stored.finished:
            entry = QueueEntry(tenant.tenant_id, stored.alert_id, stored.alert, body)
            await ingestion.queue.put(entry)
    # 6. The promise.
    if stored.redelivery:
        ingestion.events.note(
            "alert.redelivered", tenant.tenant_id, request_id, alert_id=stored.alert_id
        )
    log.event(
        "alert.redelivered" if stored.redelivery else "alert.accepted",
        request_id=request_id,
        tenant=tenant.tenant_id,
        source=vendor,
        alert_id=stored.alert_id,
    )
    return JsonResponse({"status": "queued", "alert_id": stored.alert_id}, 202)


def _with_slash(posts: dict[str, Endpoint]) -> dict[str, Endpoint]:
    """Return `posts` with each path twice: one slash at its end is accepted (contract 1)."""
    return {path + end: endpoint for path, endpoint in posts.items() for end in ("", "/")}


POSTS: Final[dict[str, Endpoint]] = _with_slash(
    {
        "/webhook/crowdstrike": partial(receive_alert, vendor="crowdstrike"),
        "/webhook/sentinelone": partial(receive_alert, vendor="sentinelone"),
        "/webhook/defender": partial(receive_alert, vendor="defender"),
    }
)
"""The routes with a path of their own, by it. The generic vendor's has the tenant in it."""


def _authenticate(
    ingestion: Ingestion,
    request: Request,
    body: bytes,
    claimed: str,
    vendor: Vendor,
    now: float,
) -> Tenant:
    if is_tenant_id(claimed):
        credentials = ingestion.tenants.look_up(claimed, vendor, now)
    else:
        credentials = Credentials("", (), onboarded=False)  # only a path can get here: no tenant
    try:
        if vendor in BEARER_VENDORS:
            tokens = header_values(request, b"authorization")
            tenant, slot = authenticate_bearer(tokens, credentials)
        else:
            signatures = header_values(request, b"x-vyrox-signature")
            tenant, slot = authenticate_signature(body, signatures, credentials)
    except UnauthorizedError as exc:
        resolved = credentials.tenant_id if credentials.onboarded else None
        ingestion.events.note_unauthenticated(
            "auth.failed",
            resolved,
            request_id_of(request),
            source=vendor,
            claimed_tenant=credentials.tenant_id or None,
            failure=exc.kind,
        )
        raise
    if slot > 0:
        ingestion.tenants.note_previous_used(tenant.tenant_id, vendor, now)
    return tenant


async def report_health(request: Request) -> Response:
    """Answer 200 while an alert would be accepted.

    Raises:
        UnavailableError: It would not.
    """
    ingestion: Ingestion = request.app.state.ingestion
    ingestion.health.check()
    return JsonResponse({"status": "ok"})
