"""What has arrived of tenants at their vendors, by push and by pull, and what not (contract 75).

All of it is read from the database. The number of queries does not depend on the number of tenants,
and no query reads all alerts of a tenant.
"""

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, Final, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import SERVICE
from vyrox.models import Vendor
from vyrox.polling.notices import VENDOR as DEFENDER
from vyrox.polling.notices import Waiting, waiting_of
from vyrox.polling.rows import Poller, pollers_of
from vyrox.store.tables import audit_log, tenant_credentials
from vyrox.tenants.records import TenantRow, list_tenants

MAX_READ: Final = 2000
"""Refused requests of all tenants, the newest, among which the tenant's last one is searched."""

MAX_COUNTED: Final = 1000
"""A longer quarantine is not counted to its end."""

MAX_TENANTS: Final = 200
"""Tenants in one statement."""

VENDORS: Final[tuple[Vendor, ...]] = get_args(Vendor)

# Literally the condition of the index `audit_log_refused`, so that both databases use it.
_IS_REFUSED: Final = sa.text("kind = 'auth.failed'")

# Literally the condition of the index `quarantine_waiting`, likewise.
_KEPT: Final = """
    FROM quarantine WHERE quarantine.tenant_id = place.tenant_id
    AND quarantine.source = place.source AND replayed_at IS NULL AND dismissed_at IS NULL
"""

_ARRIVED: Final = f"""
SELECT tenant_id, source, alert_at,
    CASE WHEN last_at IS NULL THEN 0
    ELSE (SELECT count(*) FROM (SELECT 1 {_KEPT} LIMIT {MAX_COUNTED}) AS kept) END,
    last_at,
    CASE WHEN last_at IS NULL THEN NULL
    ELSE (SELECT reason {_KEPT} ORDER BY last_received_at DESC LIMIT 1) END
FROM (
    SELECT tenant_id, source,
        (SELECT received_at FROM alerts
         WHERE alerts.tenant_id = place.tenant_id AND alerts.source = place.source
         ORDER BY received_at DESC LIMIT 1) AS alert_at,
        (SELECT last_received_at {_KEPT} ORDER BY last_received_at DESC LIMIT 1) AS last_at
    FROM (SELECT tenant_id, source FROM tenants CROSS JOIN vendors) AS place
) AS place
"""  # noqa: S608  (nothing in it comes from outside)


class Refusal(msgspec.Struct, frozen=True):
    """A delivery that got 401.

    Attributes:
        at: In Unix seconds.
        failure: Why, as in the log.
        how: In which way the credential is malformed.
    """

    at: float
    failure: str
    how: str | None = None


class Kept(msgspec.Struct, frozen=True):
    """Authentic payloads that got 422, and wait in quarantine.

    Attributes:
        number: How many; MAX_COUNTED: at least so many.
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
        notices: What Microsoft Graph has announced and Vyrox has not fetched yet.
    """

    tenant_id: str
    vendor: Vendor
    onboarded: TenantRow | None
    secrets: StoredSecrets
    alert_at: float | None
    refusal: Refusal | None
    kept: Kept | None
    poller: Poller | None
    notices: Waiting | None = None

    @property
    def is_expected(self) -> bool:
        """Whether alerts should arrive here: by a webhook, a poller or the vendor's default."""
        if self.onboarded is None:
            return self.poller is not None or self.alert_at is not None
        return self.onboarded.enabled or self.poller is not None


class _Refused(msgspec.Struct):
    source: str | None = None
    failure: str | None = None
    how: str | None = None
    claimed_tenant: str | None = None
    resolved_tenant: str | None = None


_decoder: Final = msgspec.json.Decoder(_Refused)

_Place = tuple[str, str]
"""A tenant and a vendor."""


def vendors_of(connection: Connection, tenant_id: str) -> list[Vendor]:
    """Return the vendors at which the tenant has a webhook or a poller."""
    t = tenant_credentials.c
    query = sa.select(t.vendor).where(t.tenant_id == tenant_id, t.disabled_at.is_(None))
    found: set[Vendor] = set(connection.execute(query).scalars())
    found.update(each.vendor for each in pollers_of(connection, [tenant_id]))
    return sorted(found)


def read_arrivals(connection: Connection, tenant_id: str, vendor: Vendor) -> Arrivals:
    """Return what has arrived of a tenant at a vendor."""
    [found] = read_all(connection, [tenant_id], [vendor])
    return found


def read_all(
    connection: Connection, tenant_ids: Sequence[str], vendors: Sequence[Vendor] = VENDORS
) -> list[Arrivals]:
    """Return what has arrived of each tenant at each vendor, in order of name."""
    found = []
    refused = _refusals(connection, tenant_ids)
    for first in range(0, len(tenant_ids), MAX_TENANTS):
        some = tenant_ids[first : first + MAX_TENANTS]
        found += _read_some(connection, some, vendors, refused)
    return sorted(found, key=lambda each: (each.tenant_id, each.vendor))


def _read_some(
    connection: Connection,
    tenant_ids: Sequence[str],
    vendors: Sequence[Vendor],
    refused: dict[_Place, Refusal],
) -> list[Arrivals]:
    rows = {(each.tenant_id, each.vendor): each for each in list_tenants(connection, tenant_ids)}
    pollers = {(each.tenant_id, each.vendor): each for each in pollers_of(connection, tenant_ids)}
    secrets = _secrets(connection, tenant_ids)
    announced = waiting_of(connection, tenant_ids)
    found = []
    for row in _arrived(connection, tenant_ids, vendors):
        tenant_id, vendor, alert_at, number, last_at, reason = tuple(row)
        place = (tenant_id, vendor)
        found.append(
            Arrivals(
                tenant_id=tenant_id,
                vendor=vendor,
                onboarded=rows.get(place),
                secrets=secrets.get(place, StoredSecrets(None, None)),
                alert_at=alert_at,
                refusal=refused.get(place),
                kept=Kept(number, last_at, reason) if number else None,
                poller=pollers.get(place),
                notices=announced.get(tenant_id) if vendor == DEFENDER else None,
            )
        )
    return found


def _arrived(
    connection: Connection, tenant_ids: Sequence[str], vendors: Sequence[Vendor]
) -> Sequence[sa.Row[Any]]:
    values = {f"t{number}": each for number, each in enumerate(tenant_ids)}
    values |= {f"v{number}": each for number, each in enumerate(vendors)}
    return connection.execute(_arrived_query(len(tenant_ids), len(vendors)), values).all()


@cache
def _arrived_query(tenants: int, vendors: int) -> sa.TextClause:
    t = ", ".join(f"(:t{number})" for number in range(tenants))
    v = ", ".join(f"(:v{number})" for number in range(vendors))
    return sa.text(
        f"WITH tenants(tenant_id) AS (VALUES {t}), vendors(source) AS (VALUES {v}) {_ARRIVED}"
    )


def _secrets(connection: Connection, tenant_ids: Collection[str]) -> dict[_Place, StoredSecrets]:
    c = tenant_credentials.c
    query = sa.select(c.tenant_id, c.vendor, c.secret, c.previous_secret)
    rows = connection.execute(query.where(c.tenant_id.in_(tenant_ids)))
    return {(row[0], row[1]): StoredSecrets(row[2], row[3]) for row in rows}


def _refusals(connection: Connection, tenant_ids: Collection[str]) -> dict[_Place, Refusal]:
    """Return the last refusal of each place, as far as it is among the newest MAX_READ."""
    wanted = frozenset(tenant_ids)
    c = audit_log.c
    query = (
        sa.select(c.timestamp, c.entry)
        .where(c.tenant_id == SERVICE, c.stream == "events", _IS_REFUSED)
        .order_by(c.sequence.desc())
        .limit(MAX_READ)
    )
    found: dict[_Place, Refusal] = {}
    for at, entry in connection.execute(query).all():
        try:
            refused = _decoder.decode(entry)
        except ValueError:
            continue  # somebody changed it, which `vyrox audit verify` reports
        for tenant_id in {refused.claimed_tenant, refused.resolved_tenant} & wanted:
            place = (str(tenant_id), refused.source or "")
            found.setdefault(place, Refusal(at, refused.failure or "unknown", refused.how))
    return found
