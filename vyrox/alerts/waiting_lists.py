"""What waits for a person, newest first, a page at a time: quarantine and dead letters."""

from collections.abc import Sequence
from functools import cache
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.models import Vendor
from vyrox.store.newest import Found, Place, Sought, read_newest
from vyrox.store.tables import alerts, quarantine

MAX_ROWS_READ: Final = 10_000
"""Rows that one page reads, about, at most."""

MAX_COUNTED: Final = 1000
"""Dead letters that are counted of one tenant."""

_q: Final = quarantine.c


def find_quarantined(
    connection: Connection,
    tenant_ids: Sequence[str],
    source: Vendor | None,
    before: Place | None,
    limit: int,
    *,
    everything: bool,
) -> Found:
    """Return the ids of the tenants' quarantined payloads, by when they were first received.

    Args:
        source: Only of this one; None: of any.
        everything: Also those that were replayed or dismissed.
    """
    narrowing: list[sa.ColumnElement[bool]] = []
    if not everything:
        narrowing += [_q.replayed_at.is_(None), _q.dismissed_at.is_(None)]
    if source is not None:
        narrowing.append(_q.source == source)
    sought = Sought(
        quarantine,
        "first_received_at",
        ("tenant_id",),
        [(each,) for each in tenant_ids],
        matches=sa.and_(*narrowing) if narrowing else None,
    )
    return read_newest(connection, sought, before, limit, MAX_ROWS_READ)


def find_dead(
    connection: Connection, tenant_ids: Sequence[str], before: Place | None, limit: int
) -> Found:
    """Return the ids of the tenants' dead letters, by when they were received."""
    sought = Sought(
        alerts,
        "received_at",
        ("tenant_id",),
        [(each,) for each in tenant_ids],
        where=lambda columns: [columns.dead_reason.is_not(None)],
    )
    return read_newest(connection, sought, before, limit, MAX_ROWS_READ)


def count_dead(connection: Connection, tenant_ids: Sequence[str]) -> dict[str, int]:
    """Return how many dead letters each of the tenants has, of those that have any.

    MAX_COUNTED means: at least so many.
    """
    if not tenant_ids:
        return {}
    values = {f"t{number}": each for number, each in enumerate(tenant_ids)}
    rows = connection.execute(_dead_query(len(values)), values)
    return {tenant_id: number for tenant_id, number in rows if number}


@cache
def _dead_query(tenants: int) -> sa.TextClause:
    t = ", ".join(f"(:t{number})" for number in range(tenants))
    return sa.text(
        f"WITH tenants(tenant_id) AS (VALUES {t}) "  # noqa: S608  (names of parameters)
        "SELECT t.tenant_id, (SELECT count(*) FROM (SELECT 1 FROM alerts "
        "WHERE alerts.tenant_id = t.tenant_id AND dead_reason IS NOT NULL "
        f"LIMIT {MAX_COUNTED}) AS dead) FROM tenants t"
    )
