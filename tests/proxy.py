"""The proxy listener in process, the signed requests to it, and vendors under control of a test."""

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, get_args

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from starlette.applications import Starlette

from tests import audit
from tests.blocking import nothing_blocks_the_loop
from tests.documented import documented
from tests.patience import make_databases_patient
from tests.service import HMAC_SECRET
from tests.vendor import FakeVendor, add_alert, give_credentials
from vyrox.app import create_app
from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.models import ActionType
from vyrox.routes.signed import Proxy
from vyrox.settings import Settings
from vyrox.store.database import Database
from vyrox.store.encryption import open_vault
from vyrox.store.tables import claims

TENANT: Final = "acme-corp"
TENANTS: Final = (
    TENANT,
    "initech",
    "first",
    "too-often",
    *get_args(ActionType),
    *(f"tenant-{number}" for number in range(256)),
)
"""The tenants that have credentials, if a test has a vendor."""

ALERTS: Final = {TENANT: "alt_abc123", "PROCESS_KILL": "alt_PROCESS_KILL"}
"""The tenant of each alert whose process can be killed."""

NOWHERE: Final = "unix:///nowhere/valkey.sock"
"""As REDIS_URL: the proxy listener needs no Redis, so its tests go without."""

OTHER_SECRET: Final = "other-hmac-secret-0123456789-012345678"

Fields = dict[str, object]


def wanted(**changes: object) -> Fields:
    """Return the fields of a new request, approved now, with `changes`."""
    return {
        "request_id": str(uuid.uuid4()),
        "tenant_id": TENANT,
        "alert_id": "alt_abc123",
        "action_type": "HOST_ISOLATION",
        "host": "workstation-01",
        "approved_by": "jane.smith#1234",
        "approved_at": int(wall_clock()),
        **changes,
    }


def encoded(fields: object) -> bytes:
    """Return the body of a request, as the API reference writes it."""
    return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()


def signed(body: bytes, secret: str = HMAC_SECRET) -> dict[str, str]:
    """Return the header that `/execute` takes for `body`."""
    return {"x-vyrox-signature": sign(body, secret)}


def export_headers(
    tenant_id: str = TENANT, timestamp: str | None = None, secret: str = HMAC_SECRET
) -> dict[str, str]:
    """Return the headers that `/audit/export` takes, signed now or for `timestamp`."""
    timestamp = str(int(wall_clock())) if timestamp is None else timestamp
    return {
        "x-vyrox-timestamp": timestamp,
        "x-vyrox-signature": sign(f"{tenant_id}:{timestamp}", secret),
    }


@dataclass(frozen=True)
class Proxied:
    """The running application, seen through its proxy listener and in its database."""

    client: httpx.AsyncClient
    app: Starlette

    @property
    def proxy(self) -> Proxy:
        """Return the parts that the routes use."""
        opened: Proxy = self.app.state.proxy
        return opened

    @property
    def database(self) -> Database:
        return self.proxy.database

    async def execute(self, fields: object, **headers: str) -> httpx.Response:
        """Send a signed request with more `headers`."""
        body = encoded(fields)
        return await self.post(body, {**signed(body), **headers})

    async def post(self, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        return await self.client.post("/execute", content=body, headers=headers)

    async def export(
        self, tenant_id: str = TENANT, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Ask for a tenant's export, signed now unless other `headers` are given."""
        return await self.client.get(
            "/audit/export",
            params={"tenant_id": tenant_id},
            headers=export_headers(tenant_id) if headers is None else headers,
        )

    async def entries(self, tenant_id: str = TENANT) -> list[audit.Entry]:
        """Return the tenant's actions, verified."""
        return await audit.entries(self.database, tenant_id)

    async def events(self, tenant_id: str = TENANT, kind: str | None = None) -> list[audit.Entry]:
        """Return the tenant's events, verified, with those that were only noted so far."""
        await self.proxy.events.close()
        return await audit.events(self.database, tenant_id, kind)

    async def claimed(self) -> list[tuple[str, str]]:
        """Return (request id, state) of every claim."""
        return await self.database.read(_claimed)

    async def has_acted(self) -> bool:
        """Return whether there is any claim, or an entry in any tenant's actions."""
        places = await audit.verified_chains(self.database)
        return bool(await self.claimed()) or any(stream == "actions" for _, stream in places)


def _claimed(connection: Connection) -> list[tuple[str, str]]:
    query = sa.select(claims.c.request_id, claims.c.state)
    return [(bytes(key).decode(), state) for key, state in connection.execute(query)]


@asynccontextmanager
async def proxied(settings: Settings, vendor: FakeVendor | None = None) -> AsyncIterator[Proxied]:
    """Run the application in process, with its proxy listener, until the block ends.

    Args:
        vendor: Acts for TENANTS, each of which has an alert of its own; None: they have no
            credentials.
    """
    whole = create_app(settings, None if vendor is None else vendor.make)
    app: Starlette = whole.state.proxy_app
    with pytest.MonkeyPatch.context() as patch:
        make_databases_patient(patch)
        async with (
            whole.router.lifespan_context(whole),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://vyrox",
                timeout=30,
                event_hooks={"response": [documented]},
            ) as client,
        ):
            running = Proxied(client, app)
            if vendor is not None:
                vault = open_vault(settings.encryption_keys, settings.data_dir)
                await give_credentials(running.database, TENANTS, vault=vault)
                for tenant_id, alert_id in ALERTS.items():
                    await add_alert(running.database, tenant_id, alert_id)
            with nothing_blocks_the_loop():
                yield running
