"""The ingestion listener in process, and the signed webhooks that vendors send it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

import httpx
import msgspec
import redis.asyncio
import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.applications import Starlette

from tests.adapters.payloads import DOCUMENTED, FIELD_MAP
from tests.blocking import nothing_blocks_the_loop
from tests.documented import documented
from tests.patience import patient_stores
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.queue import stream_key
from vyrox.app import create_app
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import DatabaseUnavailableError
from vyrox.models import BEARER_VENDORS, FieldMap, NormalizedAlert, Vendor
from vyrox.routes.ingestion import Ingestion
from vyrox.settings import Settings
from vyrox.store.database import Database
from vyrox.store.encryption import open_vault
from vyrox.store.redis import connect
from vyrox.store.tables import alerts, quarantine
from vyrox.tenants.records import add_tenant, rotate_tenant
from vyrox.tenants.removal import remove_tenant
from vyrox.tenants.webhook_options import DEFAULT, WebhookOptions

Rows = TypeVar("Rows")

SECRET: Final = "test-webhook-secret-0123456789-0123456789"
OTHER_SECRET: Final = "other-webhook-secret-0123456789-012345678"

VENDORS: Final[tuple[Vendor, ...]] = tuple(DOCUMENTED)

TENANT_FIELDS: Final[dict[Vendor, str]] = {
    "crowdstrike": "customer_id",
    "sentinelone": "accountId",
    "defender": "tenantId",
}
"""The field of the body that names the tenant. A generic alert has it in the path."""

TENANTS: Final[dict[Vendor, str]] = {
    "crowdstrike": "acme-corp",
    "sentinelone": "acme-corp",
    "defender": "11111111-2222-3333-4444-555555555555",
    "generic": "acme-corp",
}
"""The tenant that the documented payload of each vendor names."""

RAW_IDS: Final[dict[Vendor, str]] = {
    "crowdstrike": "detect_id",
    "sentinelone": "id",
    "defender": "id",
    "generic": "event.id",
}


@dataclass(frozen=True)
class Webhook:
    """One request, as a vendor would send it."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def raw(self, *fields: bytes) -> bytes:
        """Return it as the bytes of an HTTP/1.1 request, with more header `fields`."""
        lines = [
            f"POST {self.path} HTTP/1.1".encode("latin-1"),
            b"Host: vyrox",
            b"Connection: close",
            b"Content-Length: %d" % len(self.body),
            *(f"{name}: {value}".encode("latin-1") for name, value in self.headers.items()),
            *fields,
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def path_of(vendor: Vendor, tenant_id: str = TENANTS["generic"]) -> str:
    return f"/webhook/generic/{tenant_id}" if vendor == "generic" else f"/webhook/{vendor}"


def credential(vendor: Vendor, body: bytes, secret: str | bytes = SECRET) -> dict[str, str]:
    """Return the header that authenticates `body` with `secret`."""
    if vendor in BEARER_VENDORS:
        token = secret if isinstance(secret, str) else secret.decode()
        return {"authorization": f"Bearer {token}"}
    return {"x-vyrox-signature": sign(body, secret)}


def webhook(
    vendor: Vendor,
    body: bytes | None = None,
    *,
    secret: str | None = SECRET,
    tenant_id: str = TENANTS["generic"],
) -> Webhook:
    """Return a webhook with `body`, or the documented one; without a credential for None.

    Args:
        tenant_id: The tenant in the path of a generic alert.
    """
    body = DOCUMENTED[vendor] if body is None else body
    headers = {} if secret is None else credential(vendor, body, secret)
    return Webhook(path_of(vendor, tenant_id), headers, body)


@dataclass(frozen=True)
class Application:
    """The running application: requests to it, and the content of its stores."""

    client: httpx.AsyncClient
    app: Starlette
    settings: Settings
    redis_url: str = field(repr=False)
    database: Database

    @property
    def ingestion(self) -> Ingestion:
        """Return the parts that the routes use."""
        opened: Ingestion = self.app.state.ingestion
        return opened

    async def post(self, sent: Webhook, **headers: str) -> httpx.Response:
        """Return the response to `sent` with more `headers`."""
        all_headers = {**sent.headers, **headers}
        return await self.client.post(sent.path, headers=all_headers, content=sent.body)

    async def onboard(
        self,
        tenant_id: str,
        vendor: Vendor,
        secret: str = SECRET,
        field_map: FieldMap | None = None,
        options: WebhookOptions = DEFAULT,
    ) -> None:
        encrypted = self._encrypted(secret)
        write = self.database.write
        await write(add_tenant, tenant_id, vendor, encrypted, field_map, wall_clock(), options)
        await self.ingestion.tenants.refresh()

    async def rotate(self, tenant_id: str, vendor: Vendor, secret: str, overlap_s: int) -> None:
        encrypted = self._encrypted(secret)
        write = self.database.write
        await write(rotate_tenant, tenant_id, vendor, encrypted, overlap_s, wall_clock(), False)
        await self.ingestion.tenants.refresh()

    async def remove(self, tenant_id: str, vendor: Vendor) -> None:
        await self.database.write(remove_tenant, tenant_id, vendor, wall_clock())
        await self.ingestion.tenants.refresh()

    async def onboard_documented(self) -> None:
        """Onboard the tenants that the documented payloads name, each with SECRET."""
        encrypted = self._encrypted(SECRET)

        def add_all(connection: Connection) -> None:
            for vendor, tenant_id in TENANTS.items():
                field_map = FIELD_MAP if vendor == "generic" else None
                add_tenant(connection, tenant_id, vendor, encrypted, field_map, wall_clock())

        await self.database.write(add_all)
        await self.ingestion.tenants.refresh()

    async def entries(self, tenant_id: str) -> list[dict[bytes, bytes]]:
        """Return the fields of every entry in the tenant's stream."""
        return await entries_in(self.redis_url, tenant_id)

    async def queued(self, tenant_id: str) -> list[NormalizedAlert]:
        """Return every alert in the tenant's stream."""
        return await queued_in(self.redis_url, tenant_id)

    async def acknowledge(self, tenant_id: str) -> None:
        """Read the only alert in the tenant's stream, and acknowledge it."""
        async with connect(self.redis_url) as client:
            consumer = AlertConsumer(client, self.database)
            [queued] = await consumer.read(tenant_id, "consumer", count=10)
            await consumer.acknowledge(queued, now=1.0)

    async def stored(self) -> list[tuple[str, str]]:
        """Return (tenant id, alert id) of every row, in order of arrival."""
        return await self._read(_stored)

    async def kept(self) -> list[tuple[str, str, bytes, int]]:
        """Return (tenant id, source, raw, deliveries) of every quarantined payload."""
        return await self._read(_kept)

    async def _read(self, transaction: Callable[[Connection], Rows]) -> Rows:
        try:
            return await self.database.read(transaction)
        except DatabaseUnavailableError:  # a pooled connection was closed by an outage
            return await self.database.read(transaction)

    def _encrypted(self, secret: str) -> str:
        vault = open_vault(self.settings.encryption_keys, self.settings.data_dir)
        return vault.encrypt(secret.encode()).decode()


async def entries_in(redis_url: str, tenant_id: str) -> list[dict[bytes, bytes]]:
    """Return the fields of every entry in the tenant's stream."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        reply = await client.xrange(stream_key(tenant_id))
    entries = cast(list[tuple[bytes, dict[bytes, bytes]]], reply)
    return [fields for _, fields in entries]


async def queued_in(redis_url: str, tenant_id: str) -> list[NormalizedAlert]:
    """Return every alert in the tenant's stream."""
    return [
        msgspec.json.decode(fields[b"alert"], type=NormalizedAlert)
        for fields in await entries_in(redis_url, tenant_id)
    ]


def _stored(connection: Connection) -> list[tuple[str, str]]:
    query = sa.select(alerts.c.tenant_id, alerts.c.id).order_by(alerts.c.received_at)
    return [(tenant_id, alert_id) for tenant_id, alert_id in connection.execute(query)]


def _kept(connection: Connection) -> list[tuple[str, str, bytes, int]]:
    c = quarantine.c
    query = sa.select(c.tenant_id, c.source, c.raw, c.deliveries).order_by(c.first_received_at)
    return [(row[0], row[1], bytes(row[2]), row[3]) for row in connection.execute(query)]


@asynccontextmanager
async def running(
    settings: Settings, redis_url: str, *, is_patient: bool = True
) -> AsyncIterator[Application]:
    """Run the ingestion listener's application in process until the block ends.

    Args:
        is_patient: Wait long for slow stores; False: with the product's own limits.
    """
    whole = create_app(settings)
    app: Starlette = whole.state.ingestion_app
    transport = httpx.ASGITransport(app)
    with patient_stores() if is_patient else nullcontext():
        async with (
            whole.router.lifespan_context(whole),
            httpx.AsyncClient(
                transport=transport,
                base_url="http://vyrox",
                event_hooks={"response": [documented]},
            ) as client,
        ):
            with nothing_blocks_the_loop():
                yield Application(client, app, settings, redis_url, whole.state.proxy.database)
