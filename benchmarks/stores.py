"""The stores of the service under load: prepared before, counted afterwards."""

import asyncio
import time
from typing import Final

import redis
import sqlalchemy as sa
from sqlalchemy import Connection

from benchmarks.load import SECRET, Kind
from vyrox.alerts.queue import stream_key
from vyrox.clock import wall_clock
from vyrox.notify.messages import Band
from vyrox.notify.signature import make_secret
from vyrox.notify.targets import Format, add_target, seal
from vyrox.settings import Settings
from vyrox.store import data_dir
from vyrox.store.database import Database, open_database
from vyrox.store.encryption import open_vault
from vyrox.store.tables import alerts, audit_log, claims, tenant_credentials, verdicts
from vyrox.store.valkey import socket_url
from vyrox.tenants.records import add_tenant

TENANT: Final = "acme-corp"
"""The only tenant, if there is one."""

SETTLE_S: Final = 10.0
"""How long requests may still be in progress after the load has ended."""

_COUNTS: Final[dict[str, sa.Select[int]]] = {
    "alert rows": sa.select(sa.func.count()).select_from(alerts),
    "alert events": sa.select(sa.func.count()).where(audit_log.c.kind == "alert.accepted"),
    "action entries": sa.select(sa.func.count()).where(audit_log.c.stream == "actions"),
    "outcome events": sa.select(sa.func.count()).where(audit_log.c.kind == "execute.outcome"),
    "verdicts": sa.select(sa.func.count()).select_from(verdicts),
    "waiting alerts": sa.select(sa.func.count()).where(alerts.c.finished_at.is_(None)),
    "claims": sa.select(sa.func.count()).where(claims.c.state == "done"),
}

_PROMISED: Final[dict[Kind, tuple[str, ...]]] = {
    "webhook": ("alert rows", "alert events", "stream entries"),
    "execute": ("claims", "action entries", "outcome events"),
}


class Stores:
    """The stores of one service, read from beside it."""

    def __init__(self, settings: Settings, tenants: int, *, is_read: bool) -> None:
        """`is_read`: a consumer takes the alerts from the queue, so its entries are not counted."""
        self._settings = settings
        self._tenants = tenants
        self.data_dir = settings.data_dir
        self._is_read = is_read

    def check(self, kind: Kind, accepted: int, cut_off: int) -> str:
        """Return a line with what is stored for `accepted` requests, if all of them are stored.

        Args:
            accepted: Responses that promised something.
            cut_off: How many more may be stored: requests in progress when wrk disconnected, and
                those that were refused because they took too long.

        Raises:
            SystemExit: More or less is stored, or not the same everywhere.
        """
        left_out = {"stream entries"} if self._is_read else set()
        promised = [name for name in _PROMISED[kind] if name not in left_out]
        deadline = time.monotonic() + SETTLE_S
        while True:
            counts = {name: self.count(name) for name in promised}
            line = f"{accepted} accepted; " + ", ".join(f"{n} {name}" for name, n in counts.items())
            entries = counts.pop("stream entries", None)
            found = set(counts.values())  # of one transaction
            stored = max(found)
            is_queued = entries is None or accepted <= entries <= stored
            if len(found) == 1 and is_queued and accepted <= stored <= accepted + cut_off:
                return line
            if time.monotonic() > deadline:
                raise SystemExit(f"benchmark: the stores do not hold what was promised: {line}")
            time.sleep(0.2)  # a request in progress may still be committed

    def count(self, name: str) -> int:
        """Return how many rows or entries of the kind `name` are stored."""
        return self._count_entries() if name == "stream entries" else asyncio.run(self._count(name))

    async def _count(self, name: str) -> int:
        async with open_database(self._settings.database_url, self._settings.data_dir) as database:
            return await database.read(_scalar, _COUNTS[name], timeout_s=60.0)

    def oldest_waiting_s(self) -> float:
        """Return how old the oldest alert without a verdict is; 0 if each has one."""
        return asyncio.run(self._oldest_waiting_s())

    async def _oldest_waiting_s(self) -> float:
        query = sa.select(sa.func.min(alerts.c.received_at)).where(alerts.c.finished_at.is_(None))
        async with open_database(self._settings.database_url, self._settings.data_dir) as database:
            oldest = await database.read(lambda c: c.execute(query).scalar(), timeout_s=60.0)
        return 0.0 if oldest is None else wall_clock() - float(oldest)

    def add_target(self, url: str) -> None:
        """Let the tenant's urgent incidents be announced to `url`."""
        asyncio.run(self._add_target(url))

    async def _add_target(self, url: str) -> None:
        settings = self._settings
        sealed = seal(
            open_vault(settings.encryption_keys, settings.data_dir), TENANT, url, make_secret()
        )
        async with open_database(settings.database_url, settings.data_dir) as database:
            shown: tuple[str, Format, Band] = ("127.0.0.1", "vyrox", "urgent")
            await database.write(add_target, sealed, shown, wall_clock())

    def _count_entries(self) -> int:
        with redis.Redis.from_url(socket_url(self._settings.data_dir.resolve())) as client:
            pipeline = client.pipeline(transaction=False)
            for tenant_id in _tenant_ids(self._tenants):
                pipeline.xlen(stream_key(tenant_id))
            return sum(pipeline.execute())


def onboard(settings: Settings, tenants: int) -> None:
    """Onboard so many tenants, before the service starts."""
    asyncio.run(_onboard(settings, tenants))


async def _onboard(settings: Settings, tenants: int) -> None:
    directory = data_dir.prepare(settings.data_dir)
    async with open_database(settings.database_url, directory) as database:
        await _add_all(
            database,
            open_vault(settings.encryption_keys, settings.data_dir)
            .encrypt(SECRET.encode())
            .decode(),
            tenants,
        )


async def _add_all(database: Database, encrypted: str, tenants: int) -> None:
    def add(connection: Connection) -> None:
        first, *others = _tenant_ids(tenants)
        add_tenant(connection, first, "crowdstrike", encrypted, None, wall_clock())
        if others:
            # One by one, each would be compared with all that there are: ten minutes for 10,000.
            row = connection.execute(sa.select(tenant_credentials)).one()._mapping
            copies = [
                {**row, "tenant_id": tenant_id, "version": row["version"] + number}
                for number, tenant_id in enumerate(others, 1)
            ]
            connection.execute(tenant_credentials.insert(), copies)

    await database.write(add, timeout_s=600.0)


def _tenant_ids(tenants: int) -> list[str]:
    """Return the tenants that `signed.lua` sends for."""
    return [f"bench-{number}" for number in range(tenants)] if tenants > 1 else [TENANT]


def _scalar(connection: Connection, query: sa.Select[int]) -> int:
    return connection.execute(query).scalar_one()
