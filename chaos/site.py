"""The service and its surroundings: its stores, its vendor, and how it is started."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet
from sqlalchemy import Connection

from chaos.valkey import Valkey
from chaos.vendor import Vendor, vendor
from tests.ingestion import SECRET
from tests.service import Service, running_service
from vyrox.store.database import Database, open_database
from vyrox.store.tables import claims, devices

UNCAUGHT: Final = frozenset({"request.failed", "background.failed", "execute.vendor_failed"})


class Site:
    """What outlives the service."""

    def __init__(
        self, data_dir: Path, valkey: Valkey, at_vendor: Vendor, database_url: str | None
    ) -> None:
        self.data_dir = data_dir
        self.valkey = valkey
        self.vendor = at_vendor
        self.database_url = database_url
        self._key = Fernet.generate_key().decode()

    @asynccontextmanager
    async def service(self, *command: str, **extra: str) -> AsyncIterator[Service]:
        """Run `vyrox serve` (or `command`) until the block ends; kill it if it still runs then."""
        environment = {
            "REDIS_URL": self.valkey.url,
            "CROWDSTRIKE_WEBHOOK_SECRET": SECRET,
            "VYROX_ENCRYPTION_KEY": self._key,
            **self.vendor.environment,
            **extra,
        }
        if self.database_url is not None:
            environment["DATABASE_URL"] = self.database_url.replace("+asyncpg", "")
        async with running_service(self.data_dir, *command, **environment) as service:
            yield service

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """Open the service's database beside it."""
        async with open_database(self.database_url, self.data_dir) as database:
            yield database

    async def give_credentials(self, database: Database, tenant_id: str) -> None:
        """Let a tenant's actions be carried out at the vendor."""
        await self.vendor.give_credentials(database, tenant_id, self._key)


def uncaught(service: Service) -> list[str]:
    """Return the events of a service that report an uncaught exception."""
    events = [str(line["event"]) for line in service.lines]
    uncaught = [event for event in events if event in UNCAUGHT]
    return uncaught + [line for line in service.output if not line.startswith("{")]


async def let_leases_lapse(database: Database) -> None:
    """Expire the leases of a killed service, which would expire half a minute later."""
    await database.write(_let_leases_lapse)


def _let_leases_lapse(connection: Connection) -> None:
    connection.execute(claims.update().values(lease_until=0))
    connection.execute(devices.update().values(lease_until=0))


@asynccontextmanager
async def site(database_url: str | None = None) -> AsyncIterator[Site]:
    """Yield a site in a directory of its own, with SQLite in it unless a database is passed."""
    # The path is short enough for a socket.
    with tempfile.TemporaryDirectory(prefix="vx-", ignore_cleanup_errors=True) as path:
        valkey = Valkey(Path(path) / "valkey")
        data_dir = Path(path) / "data"
        data_dir.mkdir()
        await valkey.start()
        try:
            async with vendor() as at_vendor:
                yield Site(data_dir, valkey, at_vendor, database_url)
        finally:
            await valkey.kill()
