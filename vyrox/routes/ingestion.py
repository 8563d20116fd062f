"""The public listener: vendors' webhooks in, queued alerts out (contract 6 to 18).

body -> named tenant -> its secrets -> tenant -> alert -> row -> stream entry -> 202

These are the paths whose body names the tenant. `routes.tenant_paths` has the rest.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox import log, tracing
from vyrox.adapters import ADAPTERS
from vyrox.adapters.tolerant_json import tolerant
from vyrox.alerts.batches import BatchIntake
from vyrox.alerts.health import Health
from vyrox.alerts.intake import Intake
from vyrox.alerts.quarantine import Quarantine, Unreadable
from vyrox.alerts.queue import AlertQueue, QueueEntry
from vyrox.alerts.records import RecordJoiner
from vyrox.approvals.discord.receiving import Interactions
from vyrox.chain.events import AuditEvents
from vyrox.clock import Clock
from vyrox.errors import (
    MissingTenantError,
    NormalizationError,
    UnauthorizedError,
    UnavailableError,
)
from vyrox.http.application import header_values, request_id_of
from vyrox.http.bodies import IncompleteBodies, read_body
from vyrox.http.fields import seen_in
from vyrox.http.responses import JsonResponse
from vyrox.http.senders import sender_of
from vyrox.http.shared_timeout import SharedTimeout
from vyrox.models import BEARER_VENDORS, Tenant, Vendor
from vyrox.polling.notices import Batch
from vyrox.tenants.authentication import authenticate_bearer, authenticate_signature
from vyrox.tenants.directory import Credentials, TenantDirectory
from vyrox.tenants.malformed import how_malformed
from vyrox.tenants.schemes import authenticate_secret

STORE_TIMEOUT_S: Final = 0.9
"""How long the row and the stream entry may take together: a 503 must arrive within a second
(contract 17)."""

incomplete_bodies: Final = IncompleteBodies()

store_timeout: Final = SharedTimeout(
    STORE_TIMEOUT_S,
    lambda: UnavailableError(f"not stored and queued within {STORE_TIMEOUT_S} s"),
)


@dataclass(frozen=True)
class Ingestion:
    """The parts that the routes use, opened in the application's lifespan.

    Attributes:
        notice: Called with the tenant whose alert was queued.
        announce: Stores what Microsoft Graph has announced.
        records: Holds the parts of alerts that arrive in parts.
        interactions: What answers Discord; None: it is not configured.
    """

    clock: Clock
    max_body_bytes: int
    tenants: TenantDirectory
    intake: Intake
    batches: BatchIntake
    quarantine: Quarantine
    queue: AlertQueue
    events: AuditEvents
    health: Health
    notice: Callable[[str], None]
    announce: Callable[[Batch], Awaitable[None]]
    records: RecordJoiner
    interactions: Interactions | None = None


_PATHS: Final[dict[Vendor, str]] = {
    "crowdstrike": "/webhook/crowdstrike",
    "sentinelone": "/webhook/sentinelone",
    "defender": "/webhook/defender",
}
"""The webhooks whose body names the tenant."""

_NAMES: Final[dict[Vendor, str]] = {
    "crowdstrike": "customer_id",
    "sentinelone": "accountId",
    "defender": "tenantId",
}
"""The member of such a body that names the tenant, for the log."""


def create_routes() -> list[BaseRoute]:
    """Return the routes of the public listener."""
    # A slash at the end of a webhook's path is accepted (contract 1).
    webhooks = [
        Route(path + end, partial(receive_alert, vendor=vendor), methods=["POST"])
        for vendor, path in _PATHS.items()
        for end in ("", "/")
    ]
    return [*webhooks, Route("/health", report_health, methods=["GET"])]


async def receive_alert(request: Request, vendor: Vendor) -> Response:
    """Accept one alert. Contract 6 and 9 fix the order of the steps.

    Raises:
        VyroxError: The alert is not accepted: a status below 500, or UnavailableError.
    """
    ingestion: Ingestion = request.app.state.ingestion
    request_id = request_id_of(request)
    adapter = ADAPTERS[vendor]
    # 1. The body, within its limit.
    body = await read_body(request, ingestion.max_body_bytes, incomplete_bodies)
    now = ingestion.clock()
    # 2. The tenant that the request names. Nothing else is read before the credential is verified.
    payload = tolerant(body)
    assert adapter.unverified_tenant_id is not None  # noqa: S101  (so for each of _PATHS)
    try:
        claimed = adapter.unverified_tenant_id(payload)
    except MissingTenantError as exc:
        exc.log_fields = seen_in(body, str(exc), _NAMES[vendor])
        raise
    # 3. The credential. From here on, `tenant` is the tenant whose secret has verified it.
    tenant = _authenticate(ingestion, request, body, claimed, vendor, now)
    # 4. The payload becomes an alert, or goes to quarantine.
    try:
        alert = adapter.normalize(payload, tenant, now)
    except NormalizationError as exc:
        with store_timeout:
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
        exc.log_fields = seen_in(body, str(exc))
        raise
    # 5. The row is committed, then the stream entry is confirmed. Now the alert cannot be lost.
    arrival = tracing.delivery(
        "webhook", now, vendor=vendor, tenant=tenant.tenant_id, request_id=request_id
    )
    with store_timeout, arrival:
        stored = await ingestion.intake.accept(alert, body, now, request_id)
        arrival.stored([(stored.alert_id, stored.redelivery)])
        if not stored.finished:
            entry = QueueEntry(tenant.tenant_id, stored.alert_id, stored.alert, body)
            await ingestion.queue.put(entry)
            ingestion.notice(tenant.tenant_id)
    # 6. The response, which promises that.
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
        severity=alert.severity,
        host=alert.hostname,
        process=alert.process_name,
        technique=alert.technique,
    )
    return JsonResponse({"status": "queued", "alert_id": stored.alert_id}, 202)


def _authenticate(
    ingestion: Ingestion,
    request: Request,
    body: bytes,
    claimed: str,
    vendor: Vendor,
    now: float,
) -> Tenant:
    credentials = ingestion.tenants.look_up(claimed, vendor, now)
    try:
        signatures = header_values(request, b"x-vyrox-signature")
        if vendor not in BEARER_VENDORS:
            tenant, slot = authenticate_signature(body, signatures, credentials)
        elif signatures:
            headers = request.scope["headers"]
            tenant, slot = authenticate_secret(body, headers, credentials, own_header=False)
        else:
            tokens = header_values(request, b"authorization")
            tenant, slot = authenticate_bearer(tokens, credentials)
    except UnauthorizedError as exc:
        raise noted(ingestion, request, credentials, vendor, exc) from exc
    ingestion.tenants.note_used(tenant.tenant_id, vendor, slot, now)
    return tenant


def noted(
    ingestion: Ingestion,
    request: Request,
    credentials: Credentials,
    vendor: Vendor,
    error: UnauthorizedError,
    *,
    own_path: bool = False,
) -> UnauthorizedError:
    """Note the event of a refused credential, and return the error that is logged.

    The work is the same for every tenant (contract 3).
    """
    how = how_malformed(request.scope["headers"], vendor, credentials.options, own_path=own_path)
    is_malformed = error.kind == "wrong" and how is not None
    kind, shown = ((error.kind, None), ("malformed", how))[is_malformed]
    resolved = credentials.tenant_id if credentials.onboarded else None
    ingestion.events.note_unauthenticated(
        "auth.failed",
        resolved,
        request_id_of(request),
        source=vendor,
        claimed_tenant=credentials.tenant_id or None,
        failure=kind,
        how=shown,
        address=sender_of(request.scope),
    )
    return UnauthorizedError(kind, error.tenant_id, shown)


async def report_health(request: Request) -> Response:
    """Return 200 if an alert would be accepted now.

    Raises:
        UnavailableError: A store or the queue would not accept it.
    """
    ingestion: Ingestion = request.app.state.ingestion
    await ingestion.health.check()
    return JsonResponse({"status": "ok"})
