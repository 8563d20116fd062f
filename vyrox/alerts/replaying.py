"""Tries a quarantined payload again, and queues what it becomes (contract 16)."""

from collections.abc import Callable

import msgspec
from sqlalchemy import Connection

from vyrox.alerts import quarantine_review as kept
from vyrox.alerts.queue import AlertQueue, QueueEntry
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert, Vendor
from vyrox.store.database import Database

Read = Callable[[Connection, Vendor, str, bytes, float], list[tuple[NormalizedAlert, bytes]]]
"""Returns the alerts in a body of a tenant, each with its bytes. See `tenants.payloads.read_kept`.

Raises NormalizationError.
"""


class Replayed(msgspec.Struct, frozen=True):
    """How one replay went: `queued` with an alert id, or `refused` with the reason.

    `stored` is what is yet to be queued, by the service, once the full queue has room.

    Attributes:
        alert_id: Of the first alert, if the payload has several.
    """

    id: str
    status: str
    alert_id: str | None = None
    reason: str | None = None


async def replay_payload(
    database: Database,
    queue: AlertQueue,
    read: Read,
    tenant_id: str,
    quarantine_id: str,
    now: float,
    by: str | None = None,
) -> Replayed:
    """Read a payload with the present adapter and field map, and queue its alerts.

    Args:
        by: The person who asked for it at the console.

    Raises:
        OperatorError: The tenant has no such payload, or its body was not kept.
        UnavailableError: A store is unavailable.
    """
    row, raw = await database.read(kept.read_quarantined, tenant_id, quarantine_id)
    try:
        alerts = await database.read(read, row.source, tenant_id, raw, row.first_received_at)
    except NormalizationError as exc:
        await database.write(kept.store_reason, quarantine_id, str(exc))
        return Replayed(quarantine_id, "refused", reason=str(exc))
    stored = await database.write(kept.replay_all, row, alerts, now, by)
    entries = [
        QueueEntry(alert.tenant_id, each.alert_id, each.alert, body)
        for (alert, body), each in zip(alerts, stored, strict=True)
        if not each.finished
    ]
    first = stored[0].alert_id
    for entry in entries:  # one at a time: a body may be large
        if await queue.put_patiently([entry]) == [b"full"]:
            return Replayed(quarantine_id, "stored", first)
    return Replayed(quarantine_id, "queued", first)
