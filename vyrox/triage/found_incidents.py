"""Finds incidents of some tenants, the newest change first, however many there are (contract 78).

Each tenant's rows are read in order of an index, at most as many as MAX_SEARCHED allows. If few of
them match, the list says from where on it was not read; the next page begins there.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import incidents
from vyrox.triage import rows
from vyrox.triage.incident_list import ListedIncident, listed
from vyrox.triage.incidents import Incident
from vyrox.triage.score import Band

MAX_SEARCHED: Final = 5_000
"""Rows that are searched for one page: more take longer than a page may."""

_LEAST: Final = 60
"""Rows of each tenant that are searched, however many tenants there are."""

_FIRST: Final = 12
"""Rows of each tenant that are searched first."""

State = Literal["open", "acknowledged", "closed", "all"]
"""`open`: not closed."""

_i: Final = incidents.c

# Literally the condition of the index `incidents_open_tenant`, so that both databases use it.
_IS_OPEN: Final = "status != 'closed'"

_COLUMNS: Final = "updated_at, tenant_id, number"
_ORDER: Final = "ORDER BY updated_at DESC, number DESC"

_ABOVE: Final = 2**62
"""Above the number of every incident."""

MAX_TENANTS: Final = 100
"""Tenants in one statement: SQLite takes 500 parts, and both databases plan short ones faster."""


class Place(NamedTuple):
    """A place in the list: rows are in this order, the highest first."""

    updated_at: float
    tenant_id: str
    number: int


class Found(msgspec.Struct, frozen=True):
    """A page of the list. `after` returns the next one; None: this is the last.

    Attributes:
        is_cut: Rows after the last one may match: MAX_SEARCHED did not allow to search them.
    """

    incidents: list[ListedIncident]
    after: Place | None
    is_cut: bool


class _Wanted(msgspec.Struct, frozen=True):
    """Which incidents are wanted, from which place on."""

    state: State
    band: Band | None
    before: Place | None

    def values(self, tenant_ids: Sequence[str]) -> dict[str, object]:
        """Return the values of the parameters of the queries."""
        found: dict[str, object] = {f"t{n}": each for n, each in enumerate(tenant_ids)}
        if self.state in {"acknowledged", "closed"}:
            found["status"] = self.state
        if self.band is not None:
            found["band"] = self.band
        if self.before is not None:
            found["at"] = self.before.updated_at
            found |= {f"n{n}": self._below(each) for n, each in enumerate(tenant_ids)}
        return found

    def _below(self, tenant_id: str) -> int:
        """Return below which number a tenant's rows are after the place, at its very time.

        The tenants are compared here: databases may sort names differently.
        """
        assert self.before is not None  # noqa: S101  (the caller has checked it)
        if tenant_id == self.before.tenant_id:
            return self.before.number
        return _ABOVE if tenant_id < self.before.tenant_id else 0


def find_incidents(
    connection: Connection,
    tenant_ids: Sequence[str],
    state: State,
    band: Band | None,
    before: Place | None,
    limit: int,
) -> Found:
    """Return at most `limit` incidents of these tenants from a place on. Merged ones are not."""
    room = max(MAX_SEARCHED // max(len(tenant_ids), 1), _LEAST)
    wanted = _Wanted(state, band, before)
    newest, horizon = _search(connection, sorted(tenant_ids), wanted, limit + 1, room)
    shown = newest[:limit]
    has_more = len(newest) > limit
    after = shown[-1] if has_more else horizon
    return Found(_read(connection, shown), after, not has_more and horizon is not None)


def _search(
    connection: Connection, tenant_ids: Sequence[str], wanted: _Wanted, most: int, room: int
) -> tuple[list[Place], Place | None]:
    """Search the first `room` rows of each tenant at most, of which there is a list in order.

    Few rows of each tenant are searched first, then more of those that may have more for the page:
    the tenants with the newest rows.

    Return at most `most` places, and the place down to which every tenant was searched; None: to
    its end.
    """
    first = min(room, max(4 * most // max(len(tenant_ids), 1), _FIRST))
    found, ends = _search_each(connection, tenant_ids, wanted, most, first)
    if first < room:
        best = sorted(found, reverse=True)[:most]
        last = best[-1] if len(best) == most else None
        again = [end.tenant_id for end in ends if last is None or end > last]
        found = [each for each in found if each.tenant_id not in again]
        ends = [each for each in ends if each.tenant_id not in again]
        more, their_ends = _search_each(connection, again, wanted, most, room)
        found, ends = found + more, ends + their_ends
    horizon = max(ends, default=None)
    newest = sorted(found, reverse=True)[:most]
    return [each for each in newest if horizon is None or each >= horizon], horizon


def _search_each(
    connection: Connection, tenant_ids: Sequence[str], wanted: _Wanted, most: int, room: int
) -> tuple[list[Place], list[Place]]:
    """Return what matches in the first `room` rows of each tenant, and where each was left."""
    found: list[Place] = []
    ends: list[Place] = []
    for at in range(0, len(tenant_ids), MAX_TENANTS):
        some = tenant_ids[at : at + MAX_TENANTS]
        values = wanted.values(some)
        query = _places(len(some), wanted.state, wanted.band is None, wanted.before is None)
        rows_found = connection.execute(query, {**values, "most": most, "room": room})
        found += [Place(*row) for row in rows_found]
        query = _ends(len(some), wanted.state, wanted.before is None)
        known = {name: each for name, each in values.items() if name not in {"status", "band"}}
        rows_found = connection.execute(query, {**known, "skipped": room - 1})
        ends += [Place(*row) for row in rows_found]
    return found, ends


# Both queries are made once as text. For each request, SQLAlchemy would need a millisecond for
# every tenant to build and to compare them.


@cache
def _places(tenants: int, state: State, is_any_band: bool, is_first: bool) -> sa.TextClause:
    conditions = ["merged_into IS NULL"]
    if state in {"acknowledged", "closed"}:
        conditions.append("status = :status")
    if not is_any_band:
        conditions.append("band = :band")
    union = _union(
        f"SELECT updated_at, tenant_id, number FROM ({_range(number, state, is_first)} "  # noqa: S608
        f"LIMIT :room) AS searched WHERE {' AND '.join(conditions)} {_ORDER} LIMIT :most"
        for number in range(tenants)
    )
    # The tenants by their places in the list: databases may sort names differently.
    order = "updated_at DESC, place DESC, number DESC"
    return sa.text(f"SELECT {_COLUMNS} FROM ({union}) AS every ORDER BY {order} LIMIT :most")  # noqa: S608


@cache
def _ends(tenants: int, state: State, is_first: bool) -> sa.TextClause:
    union = _union(
        f"{_range(number, state, is_first)} LIMIT 1 OFFSET :skipped" for number in range(tenants)
    )
    return sa.text(f"SELECT {_COLUMNS} FROM ({union}) AS every")  # noqa: S608


def _range(number: int, state: State, is_first: bool) -> str:
    conditions = [f"tenant_id = :t{number}"]
    if state in {"open", "acknowledged"}:
        conditions.append(_IS_OPEN)
    if not is_first:  # the first condition is for the index; the second one is exact
        conditions += ["updated_at <= :at", f"(updated_at < :at OR number < :n{number})"]
    return (
        "SELECT updated_at, tenant_id, number, status, band, merged_into FROM incidents "  # noqa: S608
        f"WHERE {' AND '.join(conditions)} {_ORDER}"
    )


def _union(parts: Iterable[str]) -> str:
    return " UNION ALL ".join(
        f"SELECT {place} AS place, {_COLUMNS} FROM ({part}) AS own"  # noqa: S608
        for place, part in enumerate(parts)
    )


def _read(connection: Connection, places: Sequence[Place]) -> list[ListedIncident]:
    # Not pairs in one list: for these, SQLite reads the table from its beginning to its end.
    numbers: dict[str, list[int]] = {}
    for _, tenant_id, number in places:
        numbers.setdefault(tenant_id, []).append(number)
    is_one = (sa.and_(_i.tenant_id == each, _i.number.in_(own)) for each, own in numbers.items())
    query = rows.select_incidents().where(sa.or_(sa.false(), *is_one))
    found: dict[tuple[str, int], Incident] = {}
    for row in connection.execute(query) if places else ():
        incident = rows.incident_of(row)
        found[incident.tenant_id, incident.number] = incident
    return [listed(found[each[1:]]) for each in places if each[1:] in found]
