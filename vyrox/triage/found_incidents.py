"""Finds incidents of some tenants, the newest change first, however many there are (contract 78).

Each tenant's rows are read in order of an index, at most as many as MAX_SEARCHED allows. If few of
them match, the list says from where on it was not read; the next page begins there.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from heapq import merge
from itertools import islice
from typing import Final, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import incidents
from vyrox.triage import rows
from vyrox.triage.incident_list import ListedIncident, listed
from vyrox.triage.incidents import Incident
from vyrox.triage.score import Band

MAX_SEARCHED: Final = 10_000
"""Rows that are searched for one page."""

_LEAST: Final = 100
"""Rows of each tenant that are searched, however many tenants there are."""

State = Literal["open", "acknowledged", "closed", "all"]
"""`open`: not closed."""

_i: Final = incidents.c

# Literally the condition of the index `incidents_open_tenant`, so that both databases use it.
_IS_OPEN: Final = "status != 'closed'"

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
    first = min(4 * limit, room)
    lists, ends = _search(connection, tenant_ids, wanted, limit + 1, first)
    if ends and first < room:
        more, ends = _search(connection, list(ends), wanted, limit + 1, room)
        lists |= more
    horizon = max(ends.values(), default=None)
    newest = list(islice(merge(*lists.values(), reverse=True), limit + 1))
    if horizon is not None:
        newest = [each for each in newest if each >= horizon]
    shown = newest[:limit]
    has_more = len(newest) > limit
    after = shown[-1] if has_more else horizon
    return Found(_read(connection, shown), after, not has_more and horizon is not None)


def _search(
    connection: Connection, tenant_ids: Sequence[str], wanted: _Wanted, most: int, room: int
) -> tuple[dict[str, list[Place]], dict[str, Place]]:
    """Search the first `room` rows of each tenant.

    Return at most `most` places of each, and the last place that was searched of those that have
    fewer, if there may be more.
    """
    lists: dict[str, list[Place]] = {each: [] for each in tenant_ids}
    ends: dict[str, Place] = {}
    for at in range(0, len(tenant_ids), MAX_TENANTS):
        some = tenant_ids[at : at + MAX_TENANTS]
        query = _places(len(some), wanted.state, wanted.band is None, wanted.before is None)
        values = {**wanted.values(some), "most": most, "room": room}
        for row in connection.execute(query, values):
            lists[row.tenant_id].append(Place(*row))
        if lacking := [each for each in some if len(lists[each]) < most]:
            query = _ends(len(lacking), wanted.state, wanted.before is None)
            only_range = msgspec.structs.replace(wanted, band=None)
            values = {**only_range.values(lacking), "skipped": room - 1}
            values.pop("status", None)
            ends |= {row.tenant_id: Place(*row) for row in connection.execute(query, values)}
    return lists, ends


# Both queries are made once as text. For each request, SQLAlchemy would need a millisecond for
# every tenant to build and to compare them.


@cache
def _places(tenants: int, state: State, is_any_band: bool, is_first: bool) -> sa.TextClause:
    conditions = ["merged_into IS NULL"]
    if state in {"acknowledged", "closed"}:
        conditions.append("status = :status")
    if not is_any_band:
        conditions.append("band = :band")
    return _union(
        f"SELECT updated_at, tenant_id, number FROM ({_range(number, state, is_first)} "  # noqa: S608
        f"LIMIT :room) AS searched WHERE {' AND '.join(conditions)} {_ORDER} LIMIT :most"
        for number in range(tenants)
    )


@cache
def _ends(tenants: int, state: State, is_first: bool) -> sa.TextClause:
    return _union(
        f"{_range(number, state, is_first)} LIMIT 1 OFFSET :skipped" for number in range(tenants)
    )


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


def _union(parts: Iterable[str]) -> sa.TextClause:
    columns = "SELECT updated_at, tenant_id, number FROM"
    return sa.text(" UNION ALL ".join(f"{columns} ({each}) AS own" for each in parts))


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
