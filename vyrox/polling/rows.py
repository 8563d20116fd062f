"""Which tenants are polled, how far each poller has come, and who runs it (contract 72).

One row for each tenant and vendor. A container that polls has a lease on the row. Its transactions
check the lease first, so a container that was suspended stores nothing any more.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import OperatorError
from vyrox.ids import new_id
from vyrox.models import EdrVendor
from vyrox.polling.pages import Account
from vyrox.store.agenda import Moment
from vyrox.store.rows import insert_rows
from vyrox.store.tables import edr_credentials, polled_alerts, pollers, tenant_credentials
from vyrox.tenants.edr_credentials import EdrCredentials

LEASE_S: Final = 90.0
"""How long a poller whose container has died is not polled by another one. A poll ends before."""

STALL_S: Final = 900.0
"""Time without a successful poll after which that is an event and a warning."""

FIRST_S: Final = 3600.0
"""How old a change of an alert may be when a poller is switched on."""

_t: Final = pollers.c
_ON_CONFLICT: Final = """
ON CONFLICT (tenant_id, vendor, key) DO UPDATE SET
    updated = excluded.updated, digest = excluded.digest, seen_at = excluded.seen_at
"""


class Poller(msgspec.Struct, frozen=True):
    """One row. Times are Unix seconds.

    Attributes:
        started_at: When it was switched on.
        since: All alerts that the vendor changed before are stored, by the vendor's clock.
        place: Where reading goes on from `since`; None: at its beginning.
        highest: The latest change that was read since `since`.
        succeeded_at: When a poll last ended without an error.
        caught_up_at: When a poll last reached the end of what the vendor had.
        failures: Polls that have failed, since the last one that succeeded.
        next_at: When the next poll is due.
        warned_at: When it was reported that none has succeeded for STALL_S.
    """

    tenant_id: str
    vendor: EdrVendor
    started_at: float
    since: float
    place: str | None
    highest: float | None
    succeeded_at: float | None
    caught_up_at: float | None
    failures: int
    last_error: str | None
    next_at: float
    holder: str | None
    lease_until: float | None
    warned_at: float | None

    @property
    def account(self) -> Account:
        """Whose alerts it reads."""
        return Account(self.tenant_id, self.vendor)

    def lag_s(self, now: float) -> float:
        """Return for how long the poller has not seen everything that the vendor had."""
        return max(0.0, now - (self.caught_up_at or self.started_at))

    def is_due(self, now: float) -> bool:
        """Return whether it may be polled, and no container does that."""
        return self.next_at <= now and (self.lease_until or 0.0) <= now

    def has_stalled(self, now: float) -> bool:
        """Return whether it has failed for STALL_S, and that was not reported yet."""
        last = max(self.started_at, self.succeeded_at or 0.0)
        return self.failures > 0 and last <= now - STALL_S and self.warned_at is None


class Lease(msgspec.Struct, frozen=True):
    """The right to poll one tenant at one vendor, until it expires.

    Attributes:
        poller: The row when the lease began.
        holder: Unique for each lease.
        credentials: None: the tenant has none.
        is_removed: The tenant was removed at every vendor.
    """

    poller: Poller
    holder: str
    credentials: EdrCredentials | None
    is_removed: bool


class LostLeaseError(Exception):
    """The poller was switched off, or another container polls: nothing was stored."""


def is_any_due(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that a poller is due, or has stalled, as the methods of Poller say."""
    is_due = sa.and_(_t.next_at <= now, sa.func.coalesce(_t.lease_until, 0.0) <= now)
    has_stalled = sa.and_(
        _t.failures > 0,
        _t.warned_at.is_(None),
        _t.started_at <= now - STALL_S,
        sa.func.coalesce(_t.succeeded_at, 0.0) <= now - STALL_S,
    )
    return sa.exists().where(sa.or_(is_due, has_stalled))


def list_pollers(connection: Connection, tenant_id: str | None = None) -> list[Poller]:
    """Return the pollers of one tenant, or of all, in order of name."""
    query = sa.select(pollers).order_by(_t.tenant_id, _t.vendor)
    if tenant_id is not None:
        query = query.where(_t.tenant_id == tenant_id)
    return [Poller(*row) for row in connection.execute(query)]


def pollers_of(connection: Connection, tenant_ids: Collection[str]) -> list[Poller]:
    """Return the pollers of some tenants, in order of name."""
    query = sa.select(pollers).where(_t.tenant_id.in_(tenant_ids))
    return [Poller(*row) for row in connection.execute(query.order_by(_t.tenant_id, _t.vendor))]


def switch_on(connection: Connection, tenant_id: str, vendor: EdrVendor, now: float) -> bool:
    """Let a tenant's alerts be polled; return False if they are, and poll soon in any case.

    Raises:
        OperatorError: The tenant has no credentials at this vendor.
    """
    c = edr_credentials.c
    query = sa.select(c.version).where(c.tenant_id == tenant_id, c.vendor == vendor)
    if connection.execute(query).first() is None:
        raise OperatorError(
            f"{tenant_id} has no credentials for {vendor}: "
            f"first vyrox tenant edr set {tenant_id} --vendor {vendor}"
        )
    soon = pollers.update().where(_is(tenant_id, vendor)).values(next_at=now)
    if connection.execute(soon).rowcount:
        return False
    row = {"started_at": now, "since": now - FIRST_S, "failures": 0, "next_at": now}
    connection.execute(pollers.insert().values(tenant_id=tenant_id, vendor=vendor, **row))
    _append_changed(connection, tenant_id, vendor, "polling on", now)
    return True


def switch_off(connection: Connection, tenant_id: str, vendor: EdrVendor, now: float) -> None:
    """Poll a tenant's alerts no longer. A poll that runs stores nothing any more.

    Raises:
        OperatorError: They are not polled.
    """
    if not connection.execute(pollers.delete().where(_is(tenant_id, vendor))).rowcount:
        raise OperatorError(f"{tenant_id} is not polled at {vendor}; see: vyrox tenant poll")
    _append_changed(connection, tenant_id, vendor, "polling off", now)


def claim(connection: Connection, most: int, now: float) -> list[Lease]:
    """Lease at most `most` of the pollers that are due, the longest due first."""
    free = sa.or_(_t.lease_until.is_(None), _t.lease_until <= now)
    query = sa.select(pollers).where(_t.next_at <= now, free).order_by(_t.next_at).limit(most)
    query = query.with_for_update(skip_locked=True)  # else the rows could be old ones
    leases = []
    for row in connection.execute(query).all():
        poller, holder = Poller(*row), new_id()
        taken = pollers.update().where(_is(poller.tenant_id, poller.vendor), free)
        taken = taken.values(holder=holder, lease_until=now + LEASE_S)
        if connection.execute(taken).rowcount:
            stored = credentials_of(connection, poller.account)
            removed = is_removed(connection, poller.tenant_id)
            leases.append(Lease(poller, holder, stored, removed))
    return leases


def change(connection: Connection, lease: Lease, now: float, values: Mapping[str, object]) -> None:
    """Change the poller's row.

    Raises:
        LostLeaseError: The lease is over. The transaction must end with it.
    """
    own = _is(lease.poller.tenant_id, lease.poller.vendor), _t.holder == lease.holder
    update = pollers.update().where(*own, _t.lease_until > now).values(**values)
    if not connection.execute(update).rowcount:
        raise LostLeaseError


def end_well(
    connection: Connection, lease: Lease, now: float, next_at: float, *, is_caught_up: bool
) -> bool:
    """Record that a poll has succeeded; return whether that ends a stall. Raises as `change`."""
    values = {"succeeded_at": now, "failures": 0, "last_error": None, "warned_at": None}
    if is_caught_up:
        values["caught_up_at"] = now
    change(connection, lease, now, {**values, "next_at": next_at, **_RELEASED})
    if lease.poller.warned_at is None:
        return False
    _append_poller(connection, "poller.recovered", lease.poller, now)
    return True


def end_badly(
    connection: Connection, lease: Lease, now: float, next_at: float, reason: str
) -> None:
    """Record that a poll has failed. Raises as `change`."""
    failures = lease.poller.failures + 1
    values: dict[str, object] = {"failures": failures, "last_error": reason, "next_at": next_at}
    if failures > 1 and lease.poller.place is not None:
        # The vendor may have forgotten where the list went on. Not if this poll has come further.
        values["place"] = sa.case((_t.place == lease.poller.place, None), else_=_t.place)
    change(connection, lease, now, {**values, **_RELEASED})


def mark_stalled(connection: Connection, now: float) -> list[Poller]:
    """Write an event for each poller that has stalled, once; return these."""
    stalled = [each for each in list_pollers(connection) if each.has_stalled(now)]
    marked = []
    for each in stalled:
        mark = pollers.update().where(_is(each.tenant_id, each.vendor), _t.warned_at.is_(None))
        if connection.execute(mark.values(warned_at=now)).rowcount:
            _append_poller(connection, "poller.stalled", each, now, reason=each.last_error)
            marked.append(each)
    return marked


class Seen(msgspec.Struct, frozen=True):
    """What was read of one alert before.

    Attributes:
        key: Of the vendor's id of the alert, or of the bytes that fit no alert.
        updated: When the vendor had last changed it, as it was spelled.
        digest: Of the alert that it became.
    """

    key: bytes
    updated: str | None
    digest: bytes


def find_seen(
    connection: Connection, tenant_id: str, vendor: EdrVendor, keys: Sequence[bytes]
) -> dict[bytes, Seen]:
    """Return what was read before of the alerts with these keys."""
    c = polled_alerts.c
    query = sa.select(c.key, c.updated, c.digest).where(
        c.tenant_id == tenant_id, c.vendor == vendor, c.key.in_(keys)
    )
    return {bytes(row.key): Seen(*row) for row in connection.execute(query)}


def store_seen(
    connection: Connection, tenant_id: str, vendor: EdrVendor, seen: Sequence[Seen], now: float
) -> None:
    """Store what was read. Each key is there once."""
    rows = [(tenant_id, vendor, each.key, each.updated, each.digest, now) for each in seen]
    if rows:
        insert_rows(connection, polled_alerts, rows, _ON_CONFLICT)


def delete_seen(connection: Connection, before: float) -> int:
    """Forget the alerts that were read before; return how many."""
    return connection.execute(
        polled_alerts.delete().where(polled_alerts.c.seen_at < before)
    ).rowcount


_RELEASED: Final[Mapping[str, object]] = {"holder": None, "lease_until": None}


def _is(tenant_id: str, vendor: EdrVendor) -> sa.ColumnElement[bool]:
    return sa.and_(_t.tenant_id == tenant_id, _t.vendor == vendor)


def credentials_of(connection: Connection, account: Account) -> EdrCredentials | None:
    """Return the credentials of a tenant at a vendor, or None."""
    c = edr_credentials.c
    query = sa.select(edr_credentials).where(
        c.tenant_id == account.tenant_id, c.vendor == account.vendor
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else EdrCredentials(*row)


def is_removed(connection: Connection, tenant_id: str) -> bool:
    """Return whether the tenant was onboarded, and is not any more at any vendor."""
    c = tenant_credentials.c
    query = sa.select(sa.func.count(), sa.func.count(c.disabled_at)).where(c.tenant_id == tenant_id)
    onboarded, disabled = connection.execute(query).one()
    return bool(onboarded and onboarded == disabled)


def _append_changed(
    connection: Connection, tenant_id: str, vendor: EdrVendor, changed: str, now: float
) -> None:
    draft = event("tenant.changed", tenant_id, None, source=vendor, change=changed)
    append(connection, [draft], now)


def _append_poller(
    connection: Connection, kind: str, poller: Poller, now: float, **members: str | None
) -> None:
    draft = event(kind, poller.tenant_id, None, source=poller.vendor, **members)
    append(connection, [draft], now)
