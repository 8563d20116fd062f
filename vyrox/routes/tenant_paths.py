"""The webhooks with the tenant in the path (contract 9 and 71).

body -> the tenant's credential -> text -> elements -> alerts -> rows -> stream entries -> 202

An element is an alert, or a known event of another kind, or goes to quarantine. All that is
stored is one transaction.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from vyrox import log, tracing
from vyrox.alerts.batches import Batch, StoredBatch, put_all
from vyrox.alerts.quarantine import Unreadable
from vyrox.alerts.queue import QueueEntry
from vyrox.errors import (
    NormalizationError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedEncodingError,
)
from vyrox.http.application import header_values, request_id_of
from vyrox.http.bodies import PLAIN, read_body
from vyrox.http.fields import named_field, seen_in
from vyrox.http.responses import JsonResponse
from vyrox.http.shared_timeout import SharedTimeout
from vyrox.ids import is_tenant_id
from vyrox.models import BEARER_VENDORS, Vendor
from vyrox.routes.graph import (
    answer_handshake,
    read_notifications,
    receive_notifications,
)
from vyrox.routes.ingestion import (
    Ingestion,
    incomplete_bodies,
    noted,
    store_timeout,
)
from vyrox.routes.readings import Readings, Sender, read_delivery
from vyrox.tenants.directory import Credentials
from vyrox.tenants.schemes import authenticate_secret, authenticate_signed

_ENCODINGS: Final = PLAIN | {b"gzip", b"x-gzip"}

READ_HERE_BYTES: Final = 16 * 1024
"""A larger body is read in a thread: it may hold thousands of alerts, and other requests wait. A
hostile one takes a tenth of a second for each 16 KiB."""

_threads: Final = ThreadPoolExecutor(2, "deliveries")
"""Of their own: large deliveries of one tenant must not hold up what else needs a thread."""

MANY: Final = 500
"""Elements from which a delivery may take longer to be stored than one alert."""

_many_timeout: Final = SharedTimeout(
    8.0, lambda: UnavailableError("a large delivery was not stored and queued in time")
)

MAX_KINDS_LOGGED: Final = 8
"""Kinds of ignored events that one line of the log names."""


def create_routes() -> list[BaseRoute]:
    """Return the routes of every vendor's webhook with the tenant in the path."""
    # A slash at the end of a webhook's path is accepted (contract 1).
    return [
        Route(
            f"/webhook/{vendor}/{{tenant_id}}{end}",
            partial(receive_delivery, vendor=vendor),
            methods=["POST"],
        )
        for vendor in get_args(Vendor)
        for end in ("", "/")
    ]


async def receive_delivery(request: Request, vendor: Vendor) -> Response:
    """Accept the alerts of one delivery. Contract 9 fixes the order of the steps.

    Raises:
        VyroxError: Nothing in it is accepted: a status below 500, or UnavailableError.
    """
    ingestion: Ingestion = request.app.state.ingestion
    # 0. Microsoft's handshake, which has no body that counts and no credential.
    if vendor == "defender" and (handshake := answer_handshake(request)) is not None:
        return handshake
    # 1. The body, within its limit.
    body = await read_body(request, ingestion.max_body_bytes, incomplete_bodies, _ENCODINGS)
    is_gzip = _is_gzip(request)
    now = ingestion.clock()
    if vendor == "defender" and (items := read_notifications(request, body)) is not None:
        credentials = _credentials_of(ingestion, request, vendor, now)
        return await receive_notifications(request, items, credentials, now)
    # 2. The credential. Nothing else is read before it is verified.
    sender = _authenticate(ingestion, request, body, vendor, now)
    # 3. The elements become alerts, known events, or are to be kept.
    content_type = next(iter(header_values(request, b"content-type")), b"")
    bindings = ingestion.tenants.bindings(vendor)
    read = partial(read_delivery, bindings, sender, body, content_type, is_gzip, now)
    is_small = len(body) < READ_HERE_BYTES and not is_gzip
    readings = (
        read() if is_small else await asyncio.get_running_loop().run_in_executor(_threads, read)
    )
    # 4. Parts of alerts are rows, which wait for the other parts. They have no entry yet.
    waiting = await _hold(ingestion, request, sender, readings)
    # The rows are committed, then the entries are confirmed. Now no alert can be lost.
    stored = await _store(ingestion, request, sender, readings)
    # 5. The response, which promises that.
    return _respond(request, sender, readings, stored, waiting)


def _is_gzip(request: Request) -> bool:
    encodings = header_values(request, b"content-encoding")
    compressed = [each for each in encodings if each.lower() not in PLAIN]
    if len(compressed) > 1:
        raise UnsupportedEncodingError("compressed more than once")
    return bool(compressed)


def _credentials_of(
    ingestion: Ingestion, request: Request, vendor: Vendor, now: float
) -> Credentials:
    claimed: str = request.path_params["tenant_id"]
    if is_tenant_id(claimed):
        return ingestion.tenants.look_up(claimed, vendor, now)
    return Credentials("", (), onboarded=False)  # a path can name anything


def _authenticate(
    ingestion: Ingestion, request: Request, body: bytes, vendor: Vendor, now: float
) -> Sender:
    credentials = _credentials_of(ingestion, request, vendor, now)
    headers = request.scope["headers"]
    message_id = None
    try:
        if vendor in BEARER_VENDORS:
            tenant, slot = authenticate_secret(body, headers, credentials, own_header=True)
        else:
            tenant, slot, message_id = authenticate_signed(body, headers, vendor, credentials, now)
    except UnauthorizedError as exc:
        raise noted(ingestion, request, credentials, vendor, exc, own_path=True) from exc
    ingestion.tenants.note_used(tenant.tenant_id, vendor, slot, now)
    return Sender(tenant, vendor, message_id)


async def _hold(
    ingestion: Ingestion, request: Request, sender: Sender, readings: Readings
) -> list[str]:
    """Store the parts of alerts; return the ids of these alerts, in order."""
    if not readings.records:
        return []
    with store_timeout if len(readings.records) <= MANY else _many_timeout:
        waiting = list(dict.fromkeys(await ingestion.records.hold(readings.records)))
    log.event(
        "alert.waiting",
        request_id=request_id_of(request),
        tenant=sender.tenant.tenant_id,
        source=sender.vendor,
        records=len(readings.records),
        alerts=len(waiting),
    )
    return waiting


async def _store(
    ingestion: Ingestion, request: Request, sender: Sender, readings: Readings
) -> StoredBatch:
    if not (readings.deliveries or readings.unreadable):
        return StoredBatch((), ())
    request_id = request_id_of(request)
    new = [msgspec.structs.replace(each, request_id=request_id) for each in readings.deliveries]
    batch = Batch(sender.tenant.tenant_id, tuple(new), tuple(readings.unreadable))
    arrival = tracing.delivery(
        "webhook",
        new[0].received_at if new else 0.0,
        vendor=sender.vendor,
        tenant=batch.tenant_id,
        request_id=request_id,
    )
    with store_timeout if len(new) + len(batch.unreadable) <= MANY else _many_timeout, arrival:
        stored = await ingestion.batches.accept(batch)
        arrival.stored([(each.alert_id, each.redelivery) for each in stored.alerts])
        entries = [
            QueueEntry(each.tenant_id, row.alert_id, row.alert, each.raw)
            for each, row in zip(new, stored.alerts, strict=True)
            if not row.finished
        ]
        await put_all(ingestion.queue, entries)
    for tenant_id in {entry.tenant_id for entry in entries}:
        ingestion.notice(tenant_id)
    return stored


def _respond(
    request: Request,
    sender: Sender,
    readings: Readings,
    stored: StoredBatch,
    waiting: Sequence[str],
) -> Response:
    """Log and note what was done, and return the response.

    Raises:
        NormalizationError: No element is an alert, and at least one cannot be read.
    """
    ingestion: Ingestion = request.app.state.ingestion
    request_id = request_id_of(request)
    for each, kept in zip(readings.unreadable, stored.kept, strict=True):
        ingestion.events.note(
            "alert.quarantined",
            each.tenant_id,
            request_id,
            source=each.source,
            reason=each.reason,
            body_kept=kept,
        )
    for new, row in zip(readings.deliveries, stored.alerts, strict=True):
        if row.redelivery:
            ingestion.events.note(
                "alert.redelivered", new.tenant_id, request_id, alert_id=row.alert_id
            )
        log.event(
            "alert.redelivered" if row.redelivery else "alert.accepted",
            request_id=request_id,
            tenant=new.tenant_id,
            source=new.source,
            alert_id=row.alert_id,
            severity=new.severity,
            host=new.host,
            process=new.process,
            technique=new.technique,
        )
    if readings.ignored:
        _log_ignored(request_id, sender, readings.ignored)
    ids = [*[row.alert_id for row in stored.alerts], *waiting]
    if len(ids) == 1:
        return JsonResponse({"status": "queued", "alert_id": ids[0]}, 202)
    if ids:
        return JsonResponse({"status": "queued", "alert_ids": ids}, 202)
    if readings.unreadable:
        raise _unreadable(sender, readings.unreadable[0])
    return JsonResponse({"status": "ignored"}, 202)


def _unreadable(sender: Sender, first: Unreadable) -> NormalizationError:
    """Return the refusal, with what stood in the field for the log."""
    refused = NormalizationError(first.reason)
    # A field map says where the alert's field is in the payload.
    field = (sender.tenant.field_map or {}).get(named_field(first.reason))
    refused.log_fields = seen_in(first.raw, first.reason, field)
    return refused


def _log_ignored(request_id: str, sender: Sender, ignored: Counter[str]) -> None:
    log.event(
        "alert.ignored",
        request_id=request_id,
        tenant=sender.tenant.tenant_id,
        source=sender.vendor,
        number=ignored.total(),
        what=", ".join(
            f"{what} ({number})" for what, number in ignored.most_common(MAX_KINDS_LOGGED)
        ),
    )
