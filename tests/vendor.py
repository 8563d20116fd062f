"""A fake vendor, and a tenant's credentials for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection

from vyrox.chain.entry import Receipt
from vyrox.containment.responder import EdrClients
from vyrox.edr.client import ActionResult, Change, Deadline, Finding, Order, Progress, Target
from vyrox.edr.vendors import Credentials
from vyrox.errors import UnavailableError, VendorError
from vyrox.models import Device, EdrVendor, Isolation, NormalizedAlert, Vendor
from vyrox.store.database import Database
from vyrox.store.tables import alerts, edr_credentials

AID: Final = "12345678123412341234123456789abc"
COMPOSITE_ID: Final = f"{'c' * 32}:ind:{AID}:1234567890-10304-123"
"""What CrowdStrike calls an alert whose process can be killed."""

VAULT: Final = MultiFernet([Fernet("c2VjcmV0LWtleS1vZi10aGUtdGVzdHMtMDEyMzQ1Njc=")])


class FakeVendor:
    """A vendor that records the requests of Vyrox.

    Attributes:
        asked: The target, the device and the receipt of each action.
        deadlines: The deadlines of finding devices and containing them.
        known_ids: The argument of each `find_device`.
        preparing: Set by each action, before it waits for `prepared` and checks its order.
        unprepared: Each action raises this before it checks its order.
        began: Set by each action that was sent, before it waits for `gate`.
        gate: An action continues when it is set. It is set at first.
        looking: Set by `find_device`, before it waits for `found`.
        failure: Each action raises this.
        lost: `find_device` raises this.
        acting: Called in the middle of each action.
        answer: The result of each action.
        devices: The device of each host. For any other host, id and name are the host.
        contained_by: What contains every device.
        looked: Set by `read_progress`, before it waits for `read`.
        progress: The result of `read_progress`, or the error that it raises.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Target, str, Receipt]] = []
        self.comments: list[str] = []
        self.deadlines: set[float] = set()
        self.known_ids: list[str | None] = []
        self.preparing = asyncio.Event()
        self.prepared = asyncio.Event()
        self.prepared.set()
        self.unprepared: Exception | None = None
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.looking = asyncio.Event()
        self.found = asyncio.Event()
        self.found.set()
        self.failure: Exception | None = None
        self.lost: Exception | None = None
        self.acting: Callable[[], Awaitable[None]] | None = None
        self.answer = ActionResult(confirmed=True)
        self.devices: dict[str, Device] = {}
        self.progress: Progress | Exception = "pending"
        self.looks: list[tuple[str, Target, str | None]] = []
        self.contained_by: tuple[Isolation, ...] = ()
        self.looked = asyncio.Event()
        self.read = asyncio.Event()
        self.read.set()

    def make(self, credentials: Credentials) -> "FakeVendor":
        """Return this vendor for every tenant. The credentials must have been decrypted."""
        assert credentials.secret == "edr-secret"
        return self

    @property
    def did(self) -> list[tuple[Target, str]]:
        """Return the target and the device of each action."""
        return [(target, device) for target, device, _ in self.asked]

    async def find_device(
        self, host: str, deadline: Deadline, known_id: str | None = None
    ) -> Device:
        self.deadlines.add(deadline.at)
        self.known_ids.append(known_id)
        self.looking.set()
        await self.found.wait()
        if self.lost is not None:
            raise self.lost
        return self.devices.get(host, Device(host, host, ()))

    async def change(self, target: Change, order: Order) -> ActionResult:
        self.comments.append(order.comment)
        self.deadlines.add(order.deadline.at)
        return await self._act(target, order)

    async def kill(self, order: Order, alert: NormalizedAlert) -> ActionResult:
        return await self._act("killed", order)

    async def _act(self, target: Target, order: Order) -> ActionResult:
        self.preparing.set()
        if self.unprepared is not None:
            raise self.unprepared
        await self.prepared.wait()
        try:
            await order.check()
        except UnavailableError as exc:  # as `edr.transport.calls` does
            raise VendorError(f"{exc}; nothing was sent") from exc
        self.asked.append((target, order.device.id, order.receipt))
        self.began.set()
        await self.gate.wait()
        if self.acting is not None:
            await self.acting()
        if self.failure is not None:
            raise self.failure
        return self.answer

    async def read_progress(
        self, device_id: str, target: Target, reference: str | None, deadline: Deadline
    ) -> Progress:
        self.looks.append((device_id, target, reference))
        self.looked.set()
        await self.read.wait()
        if isinstance(self.progress, Exception):
            raise self.progress
        return self.progress

    async def read_containment(self, device_id: str, deadline: Deadline) -> tuple[Isolation, ...]:
        return self.contained_by

    async def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        return ()


def clients_of(vendor: FakeVendor) -> EdrClients:
    return EdrClients(VAULT, vendor.make)


async def give_credentials(
    database: Database,
    tenant_ids: Iterable[str],
    vendor: EdrVendor = "crowdstrike",
    vault: MultiFernet = VAULT,
) -> None:
    """Give tenants credentials at `vendor`, without an event."""
    encrypted = vault.encrypt(b"edr-secret").decode()
    await database.write(insert_credentials, list(tenant_ids), vendor, encrypted)


def insert_credentials(
    connection: Connection, tenant_ids: list[str], vendor: EdrVendor, encrypted: str
) -> None:
    present = set(
        connection.execute(
            sa.select(edr_credentials.c.tenant_id).where(edr_credentials.c.vendor == vendor)
        ).scalars()
    )
    rows = [
        {
            "tenant_id": tenant_id,
            "vendor": vendor,
            "client_id": "client",
            "azure_tenant": None,
            "base_url": "https://api.crowdstrike.com",
            "secret": encrypted,
            "version": "1",
        }
        for tenant_id in tenant_ids
        if tenant_id not in present
    ]
    if rows:
        connection.execute(edr_credentials.insert(), rows)


async def take_credentials(database: Database, tenant_id: str) -> None:
    """Take a tenant's credentials away, without an event."""
    await database.write(_take_credentials, tenant_id)


def _take_credentials(connection: Connection, tenant_id: str) -> None:
    connection.execute(edr_credentials.delete().where(edr_credentials.c.tenant_id == tenant_id))


async def add_alert(
    database: Database,
    tenant_id: str,
    alert_id: str,
    raw_id: str = COMPOSITE_ID,
    source: Vendor = "crowdstrike",
    device_id: str | None = AID,
    hostname: str | None = None,
) -> None:
    """Store an alert that was accepted earlier, if it is not there."""
    alert = NormalizedAlert(
        id=alert_id,
        tenant_id=tenant_id,
        source=source,
        raw_id=raw_id,
        timestamp=0.0,
        device_id=device_id,
        hostname=hostname,
    )
    await database.write(insert_alert, alert)


def insert_alert(connection: Connection, alert: NormalizedAlert) -> None:
    if connection.execute(sa.select(alerts.c.id).where(alerts.c.id == alert.id)).first() is None:
        connection.execute(
            alerts.insert().values(
                id=alert.id,
                tenant_id=alert.tenant_id,
                source=alert.source,
                received_at=0.0,
                alert=msgspec.json.encode(alert),
                raw=b"{}",
                finished_at=4e9,  # never due for deletion
            )
        )


async def forget_alert(database: Database, alert_id: str) -> None:
    """Delete an alert, as retention does."""
    await database.write(_forget_alert, alert_id)


def _forget_alert(connection: Connection, alert_id: str) -> None:
    connection.execute(alerts.delete().where(alerts.c.id == alert_id))
