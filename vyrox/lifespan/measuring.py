"""What the process and the stores know at this moment, as numbers (contract 98)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox import metrics
from vyrox.approvals.states import state_at
from vyrox.approvals.why_contained import count_waiting
from vyrox.chain.entry import SERVICE
from vyrox.polling.rows import list_pollers
from vyrox.store.heads import read_heads
from vyrox.store.tables import alerts, audit_cosignatures, claims, proposals, quarantine
from vyrox.tenants.known import list_known

MAX_COUNTED: Final = 10_000
"""More rows of one kind are not counted to their end."""

MAX_POLLERS: Final = 1000

RECENT_S: Final = 86_400.0
"""Proposals made in this time are counted. None is open for longer."""

STREAMS: Final = ("actions", "events")


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """What one read of the database has found. By tenant where it says so; seconds are ages.

    Attributes:
        proposals: By state; `claims` too.
        poller_lag_s: By vendor, of the tenant who waits longest.
        heads: By tenant and stream, the number of entries.
        checkpoint_age_s: By witness, of the oldest checkpoint that does not cover its chain.
    """

    tenants: Sequence[str]
    unfinished: int
    oldest_age_s: float
    dead: Mapping[str, int]
    quarantined: Mapping[str, int]
    proposals: Mapping[str, int]
    claims: Mapping[str, int]
    containments_pending: int
    lifts_pending: int
    poller_lag_s: Mapping[str, float]
    heads: Mapping[metrics.Labels, int]
    checkpoint_age_s: Mapping[str, float]


def read_gauges(connection: Connection, now: float) -> Gauges:
    """Return the numbers; each part of it reads a bounded number of rows."""
    tenants = list_known(connection, metrics.MAX_TENANTS)
    chains = [(name, stream) for name in (SERVICE, *tenants) for stream in STREAMS]
    heads: dict[metrics.Labels, int] = {
        (row[0], row[1]): int(row[2]) for row in read_heads(connection, chains)
    }
    a, q = alerts.c, quarantine.c
    count, oldest = _unfinished(connection)
    kept = (q.replayed_at.is_(None), q.dismissed_at.is_(None))
    containments, lifts = count_waiting(connection)
    return Gauges(
        tenants=tenants,
        unfinished=count,
        oldest_age_s=0.0 if oldest is None else max(0.0, now - oldest),
        dead=_count(connection, a.tenant_id, a.dead_reason.is_not(None)),
        quarantined=_count(connection, q.tenant_id, *kept),
        proposals=_proposals(connection, tenants, now),
        claims=_count(connection, claims.c.state),
        containments_pending=containments,
        lifts_pending=lifts,
        poller_lag_s=_poller_lag(connection, now),
        heads=heads,
        checkpoint_age_s=_checkpoint_age(connection, heads, now),
    )


def _unfinished(connection: Connection) -> tuple[int, float | None]:
    c = alerts.c
    some = sa.select(c.received_at).where(c.finished_at.is_(None)).order_by(c.received_at)
    first = some.limit(MAX_COUNTED).subquery()
    query = sa.select(sa.func.count(), sa.func.min(first.c.received_at))
    count, oldest = connection.execute(query).one()
    return count, oldest


def _count(
    connection: Connection, key: sa.ColumnElement[str], *where: sa.ColumnElement[bool]
) -> dict[str, int]:
    """Return how many rows there are for each `key`, up to MAX_COUNTED in all."""
    some = sa.select(key.label("key")).where(*where).limit(MAX_COUNTED).subquery()
    query = sa.select(some.c.key, sa.func.count()).group_by(some.c.key)
    return {row[0]: row[1] for row in connection.execute(query)}


def _proposals(connection: Connection, tenants: Sequence[str], now: float) -> dict[str, int]:
    c = proposals.c
    query = sa.select(c.state, c.expires_at, c.approved_at)
    query = query.where(c.tenant_id.in_(tenants), c.created_at > now - RECENT_S).limit(MAX_COUNTED)
    return Counter(state_at(*row, now) for row in connection.execute(query))


def _poller_lag(connection: Connection, now: float) -> dict[str, float]:
    lag: dict[str, float] = {}
    for each in list_pollers(connection)[:MAX_POLLERS]:
        lag[each.vendor] = max(lag.get(each.vendor, 0.0), each.lag_s(now))
    return lag


def _checkpoint_age(
    connection: Connection, heads: Mapping[metrics.Labels, int], now: float
) -> dict[str, float]:
    c = audit_cosignatures.c
    query = sa.select(c.witness, c.tenant_id, c.stream, c.size, c.at).limit(MAX_COUNTED)
    ages: dict[str, float] = {}
    for witness, tenant_id, stream, size, at in connection.execute(query):
        is_behind = heads.get((tenant_id, stream), 0) > size
        ages[witness] = max(ages.get(witness, 0.0), now - at if is_behind else 0.0)
    return ages
