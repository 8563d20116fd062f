"""The open incidents of some tenants, the most urgent first (contract 77).

Each tenant's most urgent ones are read from an index, so the length of its list does not matter.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import incidents
from vyrox.triage import rows
from vyrox.triage.incident_list import ListedIncident, listed
from vyrox.triage.incidents import Incident
from vyrox.triage.score import Band
from vyrox.triage.story import BANDS

MAX_COUNTED: Final = 1000
"""A longer list is not counted to its end."""

MAX_TENANTS: Final = 100
"""Tenants in one statement: SQLite takes 500 parts, and both databases plan short ones faster."""

# Literally the condition of the index `incidents_urgency`, so that both databases use it. The
# bands in the order of the alphabet, backwards: urgent, review, close.
_IS_OPEN: Final = "status != 'closed' AND merged_into IS NULL"
_ORDER: Final = "ORDER BY band DESC, score DESC, number DESC"

_i: Final = incidents.c


def most_urgent(
    connection: Connection, tenant_ids: Sequence[str], limit: int
) -> list[ListedIncident]:
    """Return at most `limit` open incidents of the tenants, the most urgent first."""
    found: list[Incident] = []
    for some in _parts(tenant_ids):
        values = {f"t{number}": each for number, each in enumerate(some)}
        best = _most_urgent_query(len(some))
        rows_found = connection.execute(best, {**values, "most": limit}).all()
        found += [rows.incident_of(row) for row in rows_found]
    found.sort(key=lambda each: (each.band, each.score, each.number), reverse=True)
    return [listed(each) for each in found[:limit]]


def count_open(connection: Connection, tenant_ids: Sequence[str]) -> dict[Band, int]:
    """Return how many incidents of each band are open; MAX_COUNTED: at least so many."""
    return {band: _count(connection, tenant_ids, band) for band in reversed(BANDS)}


def _count(connection: Connection, tenant_ids: Sequence[str], band: Band) -> int:
    some = (
        sa.select(sa.literal(1))
        .select_from(incidents)
        .where(_i.tenant_id.in_(tenant_ids), _i.band == band, sa.text(_IS_OPEN))
        .limit(MAX_COUNTED)
        .subquery()
    )
    return connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()


@cache
def _most_urgent_query(tenants: int) -> sa.TextClause:
    own = (
        "SELECT * FROM (SELECT tenant_id, band, score, number FROM incidents "  # noqa: S608
        f"WHERE tenant_id = :t{number} AND {_IS_OPEN} {_ORDER} LIMIT :most) AS own"
        for number in range(tenants)
    )
    columns = ", ".join(f"i.{name}" for name in Incident.__struct_fields__)
    return sa.text(
        f"SELECT {columns} FROM ({' UNION ALL '.join(own)} {_ORDER} LIMIT :most) AS best "  # noqa: S608
        "JOIN incidents AS i ON i.tenant_id = best.tenant_id AND i.number = best.number"
    )


def _parts(tenant_ids: Sequence[str]) -> list[Sequence[str]]:
    return [tenant_ids[at : at + MAX_TENANTS] for at in range(0, len(tenant_ids), MAX_TENANTS)]
