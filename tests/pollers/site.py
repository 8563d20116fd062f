"""Pollers with real stores and real sockets, at a mock of the vendors (contract 72)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import httpx
import redis.asyncio
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection

from tests.audit import Clock
from tests.sample_alerts import queued
from tests.trial.mock_edr import client_of
from vyrox.alerts.queue import AlertQueue
from vyrox.containment.responder import ClientsOf
from vyrox.edr.vendors import open_alerts
from vyrox.models import EdrVendor
from vyrox.polling import rows
from vyrox.polling.defender import GraphAlerts
from vyrox.polling.fetcher import Fetcher
from vyrox.polling.pages import Source
from vyrox.polling.poller import Pollers
from vyrox.polling.rows import LEASE_S, Poller
from vyrox.polling.sources import make_source
from vyrox.polling.storing import Limits
from vyrox.store.database import Database
from vyrox.store.encryption import encrypt_secret
from vyrox.store.tables import alerts, pollers, quarantine
from vyrox.tenants import edr_credentials
from vyrox.tenants.edr_credentials import EdrCredentials
from vyrox.trial.mock_edr import fleet
from vyrox.trial.mock_edr.app import MockEdr
from vyrox.trial.mock_edr.state import CrowdStrikeAlert, GraphAlert, SentinelOneThreat

TENANT = "acme-corp"
NOW = 1_767_229_200.0
LIMITS = Limits(1 << 20, 1 << 28)


class Killed(BaseException):
    """The process ends here: nothing that comes after is done."""


class Site:
    """A tenant that is polled at one vendor."""

    def __init__(
        self,
        vendor: EdrVendor,
        database: Database,
        client: redis.asyncio.Redis,
        mock: MockEdr,
        http: httpx.AsyncClient,
        url: str,
        clock: Clock,
    ) -> None:
        self.vendor: EdrVendor = vendor
        self.database = database
        self.client = client
        self.mock = mock
        self.http = http
        self.url = url
        self.clock = clock
        self.vault = MultiFernet([Fernet(Fernet.generate_key())])
        self.queue = AlertQueue(client, 10_000)
        self.slept: list[float] = []
        self.noticed: list[str] = []

    async def set_up(self) -> None:
        """Store the tenant's credentials, and switch polling on."""
        registered = client_of(self.mock, self.vendor)
        is_defender = self.vendor == "defender"
        stored = EdrCredentials(
            tenant_id=TENANT,
            vendor=self.vendor,
            client_id=registered.client_id,
            azure_tenant=self.mock.defender.tenant_id if is_defender else None,
            base_url=f"{self.url}/{self.vendor}",
            secret=encrypt_secret(
                self.vault, registered.client_secret.encode(), TENANT, self.vendor, "vendor"
            ),
            version="1",
        )
        await self.database.write(edr_credentials.set_credentials, stored, self.clock())
        assert await self.database.write(rows.switch_on, TENANT, self.vendor, self.clock())

    def pollers(
        self,
        database: Database | None = None,
        queue: AlertQueue | None = None,
        wrap: Callable[[Source], Source] = lambda source: source,
    ) -> Pollers:
        """Return the pollers of one container."""
        sources = ClientsOf[Source](
            self.vault,
            lambda found: wrap(
                make_source(
                    found.vendor,
                    open_alerts(found, self.http, self.url, clock=self.clock, sleep=self._sleep),
                )
            ),
        )
        return Pollers(
            database or self.database,
            sources,
            queue or self.queue,
            self.noticed.append,
            LIMITS,
            self.clock,
        )

    def fetcher(
        self,
        database: Database | None = None,
        queue: AlertQueue | None = None,
        wrap: Callable[[GraphAlerts], GraphAlerts] = lambda source: source,
    ) -> Fetcher:
        """Return the fetcher of one container."""
        sources = ClientsOf[GraphAlerts](
            self.vault,
            lambda found: wrap(
                GraphAlerts(
                    open_alerts(found, self.http, self.url, clock=self.clock, sleep=self._sleep)
                )
            ),
        )
        return Fetcher(
            database or self.database,
            sources,
            queue or self.queue,
            self.noticed.append,
            LIMITS,
            self.clock,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    async def poll(self, running: Pollers | None = None) -> Poller:
        """Poll until the vendor has no more, or a poll fails; return the row."""
        running = running or self.pollers()
        self.clock.now += LEASE_S
        before = await self.poller()
        for _ in range(20):
            await self.database.write(self._make_due)
            await running.run()
            await running.settled()
            after = await self.poller()
            if after.place is None or after.failures > before.failures:
                return after
        raise AssertionError("the poller does not come to an end")

    def _make_due(self, connection: Connection) -> None:
        connection.execute(pollers.update().values(next_at=self.clock()))

    async def poller(self) -> Poller:
        [found] = await self.database.read(rows.list_pollers, TENANT)
        return found

    def add(self, number: int, changed_at: float, **other: object) -> str:
        """Have the vendor know one alert; return its id."""
        if self.vendor == "crowdstrike":
            name = f"{self.mock.crowdstrike.cid}:ind:{fleet.WORKSTATION_01}:{number}-1-1"
            self.mock.crowdstrike.alerts[name] = CrowdStrikeAlert(
                composite_id=name,
                device_id=fleet.WORKSTATION_01,
                filename="mimikatz.exe",
                updated_at=changed_at,
                other=dict(other),
            )
        elif self.vendor == "sentinelone":
            name = str(1742963907715000000 + number)
            self.mock.sentinelone.threats[name] = SentinelOneThreat(
                id=name,
                agent_id=fleet.S1_WORKSTATION_01,
                name="mimikatz.exe",
                file_path=r"C:\mimikatz.exe",
                sha1="b7c2e41f90d83a56c1ef7420da9b385e6f0c8d17",
                created_at=changed_at,
                other=dict(other),
            )
        else:
            name = f"da6375789952{number}_-75634"
            self.mock.defender.alerts[name] = GraphAlert(
                id=name,
                title="Mimikatz",
                machine_id=fleet.MDE_WORKSTATION_01,
                created_at=changed_at,
                updated_at=changed_at,
                other=dict(other),
            )
        return name

    def change(self, name: str, changed_at: float, **other: object) -> None:
        """Have the vendor change one alert."""
        of_vendor: dict[str, Mapping[str, CrowdStrikeAlert | SentinelOneThreat | GraphAlert]] = {
            "crowdstrike": self.mock.crowdstrike.alerts,
            "sentinelone": self.mock.sentinelone.threats,
            "defender": self.mock.defender.alerts,
        }
        found = of_vendor[self.vendor][name]
        found.updated_at = changed_at
        found.other = {**found.other, **other}

    def forget(self) -> None:
        """Have the vendor know no alert."""
        self.mock.crowdstrike.alerts.clear()
        self.mock.sentinelone.threats.clear()
        self.mock.defender.alerts.clear()

    async def stored(self) -> Counter[str]:
        """Return how many rows each alert has, by the vendor's id."""

        def find(connection: Connection) -> Counter[str]:
            query = sa.select(alerts.c.alert).where(alerts.c.source == self.vendor)
            texts = (bytes(row.alert).decode() for row in connection.execute(query))
            return Counter(text.split('"raw_id":"')[1].split('"')[0] for text in texts)

        return await self.database.read(find)

    async def queued(self) -> list[tuple[str, str]]:
        return await queued(self.client, TENANT)

    async def quarantined(self) -> list[tuple[str, int]]:
        """Return the reason and the number of deliveries of each payload in quarantine."""

        def find(connection: Connection) -> list[tuple[str, int]]:
            query = sa.select(quarantine.c.reason, quarantine.c.deliveries)
            return [(row.reason, row.deliveries) for row in connection.execute(query)]

        return await self.database.read(find)
