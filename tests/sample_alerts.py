"""Makes alerts, stores and queues them, and reads them from the stores."""

import uuid
from typing import cast

import msgspec
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import Delivery, StoredAlert, delivery, store
from vyrox.alerts.queue import AlertQueue, QueueEntry, stream_key
from vyrox.models import NormalizedAlert, Vendor
from vyrox.store.database import Database
from vyrox.store.tables import alerts

NOW = 1_700_000_000.0
WINDOW_S = 86_400
TENANT = "acme-corp"


def new_alert(tenant_id: str = TENANT, source: Vendor = "crowdstrike") -> NormalizedAlert:
    return NormalizedAlert(
        id=str(uuid.uuid4()),
        tenant_id=tenant_id,
        source=source,
        raw_id="evt:1",
        timestamp=NOW,
        hostname="workstation-01",
    )


def new_delivery(
    raw: bytes,
    tenant_id: str = TENANT,
    source: Vendor = "crowdstrike",
    received_at: float = NOW,
) -> Delivery:
    return delivery(new_alert(tenant_id, source), raw, received_at)


def entry_of(stored: Delivery) -> QueueEntry:
    return QueueEntry(stored.tenant_id, stored.alert_id, stored.alert, stored.raw)


async def store_all(database: Database, *deliveries: Delivery) -> list[StoredAlert]:
    """Store `deliveries` in one transaction."""
    return await database.write(store, deliveries, WINDOW_S)


async def stored_entries(
    database: Database, count: int, tenant_id: str = TENANT, received_at: float = NOW
) -> list[QueueEntry]:
    """Store `count` new alerts and return their entries, which are in no stream yet."""
    deliveries = [
        new_delivery(uuid.uuid4().bytes, tenant_id, received_at=received_at + number)
        for number in range(count)
    ]
    await store_all(database, *deliveries)
    return [entry_of(stored) for stored in deliveries]


def finish(connection: Connection, alert_id: str, at: float) -> None:
    """Mark the row as a consumer does."""
    connection.execute(alerts.update().where(alerts.c.id == alert_id).values(finished_at=at))


def all_ids(connection: Connection) -> set[str]:
    """Return the id of every row."""
    return set(connection.execute(sa.select(alerts.c.id)).scalars())


async def unfinished(database: Database) -> set[tuple[str, str]]:
    """Return (tenant id, alert id) of every row that no consumer has finished."""

    def read(connection: Connection) -> set[tuple[str, str]]:
        query = sa.select(alerts.c.tenant_id, alerts.c.id).where(alerts.c.finished_at.is_(None))
        return {(tenant_id, alert_id) for tenant_id, alert_id in connection.execute(query)}

    return await database.read(read)


async def queued(client: redis.asyncio.Redis, *tenant_ids: str) -> list[tuple[str, str]]:
    """Return (tenant id, alert id) of every entry in the tenants' streams, sorted."""
    found = []
    for tenant_id in tenant_ids:
        reply = await client.xrange(stream_key(tenant_id))
        for _, fields in cast(list[tuple[bytes, dict[bytes, bytes]]], reply):
            alert = msgspec.json.decode(fields[b"alert"], type=NormalizedAlert)
            found.append((tenant_id, alert.id))
    return sorted(found)


async def put_new(
    queue: AlertQueue, database: Database, count: int, tenant_id: str = TENANT
) -> list[str]:
    """Store and queue `count` new alerts; return their ids."""
    entries = await stored_entries(database, count, tenant_id)
    assert set(await queue.put_batch(entries)) == {b"added"}
    return [entry.alert_id for entry in entries]


async def queued_ids(client: redis.asyncio.Redis, tenant_id: str = TENANT) -> list[str]:
    """Return the ids of the alerts in the tenant's stream, sorted."""
    return [alert_id for _, alert_id in await queued(client, tenant_id)]


def row_of(connection: Connection, alert_id: str) -> tuple[float | None, str | None]:
    """Return when the alert was finished, and why it is a dead letter."""
    query = sa.select(alerts.c.finished_at, alerts.c.dead_reason).where(alerts.c.id == alert_id)
    finished_at, dead_reason = connection.execute(query).one()
    return finished_at, dead_reason
