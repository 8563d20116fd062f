"""The alerts that Microsoft Graph has announced, until they are fetched (contract 74).

One row for each alert. It is stored before Graph gets its answer, and deleted in the transaction
that stores the alert. A container that fetches has a lease on the row.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.quarantine import Unreadable, keep_with_events
from vyrox.chain.entry import Draft
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.errors import UnavailableError
from vyrox.ids import new_id
from vyrox.models import EdrVendor
from vyrox.notify.messages import clean
from vyrox.polling import rows
from vyrox.polling.pages import Account
from vyrox.polling.rows import LEASE_S, LostLeaseError
from vyrox.polling.storing import Limits, Read, Stored, store_elements
from vyrox.store.agenda import Moment
from vyrox.store.rows import insert_rows
from vyrox.store.tables import graph_notices, pollers
from vyrox.tenants.edr_credentials import EdrCredentials

VENDOR: Final[EdrVendor] = "defender"

MISSED: Final = ""
"""In place of an alert's id: Graph could not announce some, so the list must be read."""

MAX_WAITING: Final = 20_000
"""Rows of one tenant. Beyond that Graph gets 503, and sends its notification again."""

MAX_COUNTED: Final = 1000
"""Rows of one tenant that are counted for people."""

MAX_CLAIMED: Final = 20
"""Rows that one container fetches for a tenant one after the other."""

_t: Final = graph_notices.c
_RELEASED: Final[Mapping[str, object]] = {"holder": None, "lease_until": None}
_ON_CONFLICT: Final = """
ON CONFLICT (tenant_id, alert_id) DO UPDATE SET
    number = graph_notices.number + 1, raw = excluded.raw, next_at = excluded.next_at
"""
"""An alert that changes while it is fetched is fetched again."""


class Notice(msgspec.Struct, frozen=True):
    """One row. Times are Unix seconds.

    Attributes:
        alert_id: The vendor's id, or MISSED.
        raw: The notification.
        number: How often the alert was announced.
        received_at: When it was first announced.
        failures: Fetches that have failed.
    """

    tenant_id: str
    alert_id: str
    raw: bytes
    number: int
    received_at: float
    failures: int
    next_at: float
    holder: str | None
    lease_until: float | None
    last_error: str | None = None

    @property
    def account(self) -> Account:
        """Whose alert it is."""
        return Account(self.tenant_id, VENDOR)


class Waiting(msgspec.Struct, frozen=True):
    """What waits to be fetched for a tenant. Times are Unix seconds.

    Attributes:
        number: How many alerts; MAX_COUNTED: at least so many. `failing` is counted alike.
        failing: How many of them could not be fetched, and are tried again.
        since: When the oldest of those that have failed most was announced.
        error: Why one could not be fetched.
    """

    number: int
    failing: int
    since: float
    error: str | None


class Announced(NamedTuple):
    """An authentic notification of one alert, or of alerts that were MISSED."""

    tenant_id: str
    alert_id: str
    raw: bytes


class Batch(msgspec.Struct, frozen=True):
    """The authentic notifications of a delivery.

    Attributes:
        lifecycle: The events about subscriptions.
    """

    announced: tuple[Announced, ...]
    unreadable: tuple[Unreadable, ...]
    lifecycle: tuple[Draft, ...]


class Claimed(msgspec.Struct, frozen=True):
    """The notices of one tenant that this container may fetch now."""

    account: Account
    holder: str
    notices: tuple[Notice, ...]
    credentials: EdrCredentials | None
    is_removed: bool


def accept(connection: Connection, batch: Batch, limits: Limits, now: float) -> None:
    """Store a batch, as a whole.

    Raises:
        UnavailableError: Too many alerts of a tenant wait already.
    """
    by_key = {(each.tenant_id, each.alert_id): each.raw for each in batch.announced}
    for tenant_id in {tenant_id for tenant_id, _ in by_key}:
        query = sa.select(sa.func.count()).where(_t.tenant_id == tenant_id)
        if connection.execute(query).scalar_one() >= MAX_WAITING:
            raise UnavailableError(f"{MAX_WAITING} announced alerts wait to be fetched")
    # Sorted: two transactions that lock the same rows in different orders would deadlock.
    new = [(*key, raw, 1, now, 0, now, None, None) for key, raw in sorted(by_key.items())]
    insert_rows(connection, graph_notices, new, _ON_CONFLICT)
    if missed := sorted({each.tenant_id for each in batch.announced if each.alert_id == MISSED}):
        c = pollers.c
        soon = pollers.update().where(c.tenant_id.in_(missed), c.vendor == VENDOR)
        connection.execute(soon.values(next_at=now))
    drafts = list(batch.lifecycle)
    drafts += keep_with_events(
        connection, batch.unreadable, limits.quarantine_max_bytes, polled=True
    )
    append(connection, drafts, now)


def waiting_of(connection: Connection, tenant_ids: Sequence[str]) -> dict[str, Waiting]:
    """Return what waits to be fetched, of each tenant for which something does."""
    values = {f"t{number}": each for number, each in enumerate(tenant_ids)}
    found = connection.execute(_waiting_query(len(tenant_ids)), values)
    return {row[0]: Waiting(*row[1:]) for row in found if row[1]}


@cache
def _waiting_query(tenants: int) -> sa.TextClause:
    values = ", ".join(f"(:t{number})" for number in range(tenants))
    own = "FROM graph_notices AS g WHERE g.tenant_id = t.tenant_id"
    worst = "(SELECT max(failures) FROM graph_notices AS h WHERE h.tenant_id = t.tenant_id)"
    first = f"{own} AND g.failures = {worst} ORDER BY g.received_at LIMIT 1"
    failing = f"{own} AND g.failures > 0"
    return sa.text(
        f"WITH tenants(tenant_id) AS (VALUES {values}) SELECT t.tenant_id,"  # noqa: S608
        f" (SELECT count(*) FROM (SELECT 1 {own} LIMIT {MAX_COUNTED}) AS waiting),"
        f" (SELECT count(*) FROM (SELECT 1 {failing} LIMIT {MAX_COUNTED}) AS failing),"
        f" (SELECT g.received_at {first}), (SELECT g.last_error {first}) FROM tenants AS t"
    )


def is_any_due(connection: Connection, now: float) -> bool:
    """Return whether a notice is due."""
    return bool(connection.execute(sa.select(is_due(now))).scalar())


def is_due(now: Moment) -> sa.ColumnElement[bool]:
    """Return the condition that a notice is due."""
    return sa.exists().where(_due(now))


def claim(connection: Connection, busy: Collection[str], free: int, now: float) -> list[Claimed]:
    """Claim what is due, of at most `free` tenants that are not `busy`."""
    due = sa.select(_t.tenant_id).where(_due(now), _t.tenant_id.not_in(sorted(busy)))
    due = due.group_by(_t.tenant_id).order_by(sa.func.min(_t.next_at)).limit(free)
    return [
        _claim_of(connection, tenant_id, now)
        for tenant_id in sorted(connection.execute(due).scalars())
    ]


def _claim_of(connection: Connection, tenant_id: str, now: float) -> Claimed:
    holder = new_id()
    mine = _due(now), _t.tenant_id == tenant_id
    query = sa.select(_t.alert_id).where(*mine).order_by(_t.next_at).limit(MAX_CLAIMED)
    ids = sorted(connection.execute(query).scalars())
    for alert_id in ids:
        taken = graph_notices.update().where(*mine, _t.alert_id == alert_id)
        connection.execute(taken.values(holder=holder, lease_until=now + LEASE_S))
    held = sa.select(graph_notices).where(_t.tenant_id == tenant_id, _t.holder == holder)
    found = tuple(Notice(*row) for row in connection.execute(held.order_by(_t.next_at)))
    account = Account(tenant_id, VENDOR)
    return Claimed(
        account,
        holder,
        found,
        rows.credentials_of(connection, account),
        rows.is_removed(connection, tenant_id),
    )


def store(
    connection: Connection,
    notice: Notice,
    all_read: Sequence[Read],
    is_last: bool,
    limits: Limits,
    now: float,
) -> Stored:
    """Store what was fetched, and end the notice if that is all: both or neither.

    Raises:
        LostLeaseError: Another container fetches it now.
    """
    if is_last:
        _end(connection, notice, now)
    else:
        _change(connection, notice, now, {"lease_until": now + LEASE_S})
    return store_elements(connection, notice.account, all_read, limits, now)


def give_up(
    connection: Connection, notice: Notice, reason: str, limits: Limits, now: float
) -> None:
    """End a notice without its alert, and keep the notification. Raises as `store`."""
    _end(connection, notice, now)
    lost = Unreadable(notice.tenant_id, VENDOR, notice.raw, reason, now)
    drafts = keep_with_events(connection, [lost], limits.quarantine_max_bytes, polled=True)
    told = event(
        "notification.dead",
        notice.tenant_id,
        None,
        source=VENDOR,
        raw_id=notice.alert_id or None,
        reason=reason,
        failures=notice.failures + 1,
    )
    append(connection, [told, *drafts], now)


def fail(connection: Connection, notice: Notice, reason: str, next_at: float, now: float) -> None:
    """Try a notice again later. Raises as `store`."""
    values = {
        "failures": notice.failures + 1,
        "last_error": clean(reason),
        "next_at": next_at,
        **_RELEASED,
    }
    _change(connection, notice, now, values)


def release(connection: Connection, claimed: Claimed) -> None:
    """Let the notices that were not begun be fetched by anyone."""
    left = graph_notices.update().where(
        _t.tenant_id == claimed.account.tenant_id, _t.holder == claimed.holder
    )
    connection.execute(left.values(**_RELEASED))


def _end(connection: Connection, notice: Notice, now: float) -> None:
    gone = graph_notices.delete().where(*_held_by(notice, now), _t.number == notice.number)
    if connection.execute(gone).rowcount:
        return
    # It was announced again: what was fetched may be older than that.
    again = {
        "received_at": now,
        "failures": 0,
        "last_error": None,
        "next_at": now,
        **_RELEASED,
    }
    _change(connection, notice, now, again)


def _change(
    connection: Connection, notice: Notice, now: float, values: Mapping[str, object]
) -> None:
    held = graph_notices.update().where(*_held_by(notice, now))
    if not connection.execute(held.values(**values)).rowcount:
        raise LostLeaseError


def _held_by(notice: Notice, now: float) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _t.tenant_id == notice.tenant_id,
        _t.alert_id == notice.alert_id,
        _t.holder == notice.holder,
        _t.lease_until > now,
    )


def _due(now: Moment) -> sa.ColumnElement[bool]:
    return sa.and_(_t.next_at <= now, sa.func.coalesce(_t.lease_until, 0.0) <= now)
