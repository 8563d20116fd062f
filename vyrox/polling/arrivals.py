"""What has arrived of a tenant at a vendor, by push and by pull, and what not (contract 75).

All of it is read from the database, in one transaction.
"""

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import SERVICE
from vyrox.models import Vendor
from vyrox.polling.rows import Poller, list_pollers
from vyrox.store.tables import alerts, audit_log, quarantine, tenant_credentials
from vyrox.tenants.records import TenantRow, list_tenants

MAX_READ: Final = 2000
"""Refused requests of all tenants, the newest, among which the tenant's last one is searched."""


class Refusal(msgspec.Struct, frozen=True):
    """A delivery that got 401.

    Attributes:
        at: In Unix seconds.
        failure: Why, as in the log.
    """

    at: float
    failure: str


class Kept(msgspec.Struct, frozen=True):
    """Authentic payloads that got 422, and wait in quarantine.

    Attributes:
        number: How many.
        last_at: When one last arrived, in Unix seconds.
        reason: Of that one.
    """

    number: int
    last_at: float
    reason: str


class StoredSecrets(msgspec.Struct, frozen=True):
    """A tenant's secrets at a vendor, encrypted; None: there is no such secret."""

    present: str | None
    previous: str | None


class Arrivals(msgspec.Struct, frozen=True):
    """What is known of one tenant at one vendor. Each member may be unknown.

    Attributes:
        onboarded: Its webhook, also a removed one.
        alert_at: When its last alert was accepted, in Unix seconds.
    """

    tenant_id: str
    vendor: Vendor
    onboarded: TenantRow | None
    secrets: StoredSecrets
    alert_at: float | None
    refusal: Refusal | None
    kept: Kept | None
    poller: Poller | None


class _Refused(msgspec.Struct):
    source: str | None = None
    failure: str | None = None
    claimed_tenant: str | None = None
    resolved_tenant: str | None = None


_decoder: Final = msgspec.json.Decoder(_Refused)


def vendors_of(connection: Connection, tenant_id: str) -> list[Vendor]:
    """Return the vendors at which the tenant has a webhook or a poller."""
    t = tenant_credentials.c
    query = sa.select(t.vendor).where(t.tenant_id == tenant_id, t.disabled_at.is_(None))
    found: set[Vendor] = set(connection.execute(query).scalars())
    found.update(each.vendor for each in list_pollers(connection, tenant_id))
    return sorted(found)


def read_arrivals(connection: Connection, tenant_id: str, vendor: Vendor) -> Arrivals:
    """Return what has arrived of a tenant at a vendor."""
    rows = (row for row in list_tenants(connection) if row.tenant_id == tenant_id)
    pollers = list_pollers(connection, tenant_id)
    return Arrivals(
        tenant_id=tenant_id,
        vendor=vendor,
        onboarded=next((row for row in rows if row.vendor == vendor), None),
        secrets=_secrets(connection, tenant_id, vendor),
        alert_at=_last_alert(connection, tenant_id, vendor),
        refusal=_last_refusal(connection, tenant_id, vendor),
        kept=_kept(connection, tenant_id, vendor),
        poller=next((each for each in pollers if each.vendor == vendor), None),
    )


def _secrets(connection: Connection, tenant_id: str, vendor: Vendor) -> StoredSecrets:
    c = tenant_credentials.c
    query = sa.select(c.secret, c.previous_secret)
    row = connection.execute(query.where(c.tenant_id == tenant_id, c.vendor == vendor)).first()
    return StoredSecrets(None, None) if row is None else StoredSecrets(*row)


def _last_alert(connection: Connection, tenant_id: str, vendor: Vendor) -> float | None:
    c = alerts.c
    query = sa.select(c.received_at).where(c.tenant_id == tenant_id, c.source == vendor)
    found: float | None = connection.execute(query.order_by(c.received_at.desc()).limit(1)).scalar()
    return found


def _last_refusal(connection: Connection, tenant_id: str, vendor: Vendor) -> Refusal | None:
    c = audit_log.c
    query = sa.select(c.timestamp, c.entry).where(
        c.tenant_id == SERVICE, c.stream == "events", c.kind == "auth.failed"
    )
    for at, entry in connection.execute(query.order_by(c.sequence.desc()).limit(MAX_READ)):
        try:
            refused = _decoder.decode(entry)
        except ValueError:
            continue  # somebody changed it, which `vyrox audit verify` reports
        named = {refused.claimed_tenant, refused.resolved_tenant}
        if refused.source == vendor and tenant_id in named:
            return Refusal(at, refused.failure or "unknown")
    return None


def _kept(connection: Connection, tenant_id: str, vendor: Vendor) -> Kept | None:
    c = quarantine.c
    waiting = (
        c.tenant_id == tenant_id,
        c.source == vendor,
        c.replayed_at.is_(None),
        c.dismissed_at.is_(None),
    )
    number = connection.execute(sa.select(sa.func.count()).where(*waiting)).scalar() or 0
    query = sa.select(c.last_received_at, c.reason).where(*waiting)
    row = connection.execute(query.order_by(c.last_received_at.desc()).limit(1)).first()
    return None if row is None else Kept(number, row.last_received_at, row.reason)
