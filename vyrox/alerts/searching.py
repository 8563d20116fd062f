"""Finds alerts by what a person knows of them: for the console's search (contract 79)."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import folded
from vyrox.errors import NotPossibleError
from vyrox.models import Vendor
from vyrox.store.newest import Columns, Place, Sought, read_newest
from vyrox.store.tables import alerts, verdicts

MAX_ROWS_READ: Final = 2500
"""Rows that one search reads, about, at most."""

MAX_RANGES: Final = 100
"""Tenants, or different values that begin as asked for, of which one search reads the alerts."""

MIN_ID: Final = 8
"""Characters of an alert's id that a search by its beginning needs."""

_LAST: Final = "\U0010ffff"
"""Of all characters the last one, so what begins with a text is before the text and this."""

_UUID: Final = "00000000-0000-0000-0000-000000000000"

_a: Final = alerts.c
_v: Final = verdicts.c


class Text(NamedTuple):
    """A text that a field must have, or begin with."""

    text: str
    is_beginning: bool = False


class AlertSearch(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts are sought. None accepts all.

    Attributes:
        since: Received then or later, in Unix seconds; `until`: then or earlier.
        band: `none` accepts the alerts that triage has not judged.
    """

    tenant_ids: tuple[str, ...]
    alert_id: Text | None = None
    raw_id: Text | None = None
    sha256: Text | None = None
    username: Text | None = None
    hostname: Text | None = None
    technique: Text | None = None
    source: Vendor | None = None
    band: Literal["urgent", "review", "close", "none"] | None = None
    since: float | None = None
    until: float | None = None


class FoundAlerts(NamedTuple):
    """The ids of the alerts that were found, newest first.

    Attributes:
        older: The place from which the search goes on; None: there is nothing older.
        rows_read: How many rows were read.
        has_too_many: There are more than MAX_RANGES tenants or values, and only those were read.
        has_waiting: Alerts of the tenants are not finished, and the search cannot find those yet.
    """

    ids: list[str]
    older: Place | None
    rows_read: int
    has_too_many: bool
    has_waiting: bool


_INDEXED: Final = ("sha256", "username", "hostname")
"""The first one that is asked for is read from its index; all further fields only narrow.

An index of more fields would take too much of the processor time of every alert. These have only
the alerts that are finished.
"""

# Literally a condition of these indexes, so that both databases use them.
_IS_FINISHED: Final = sa.text("finished_at IS NOT NULL")

MAX_WAITING_READ: Final = 1000
"""The newest unfinished alerts of all tenants, among which those of some tenants are searched."""

_FIELDS: Final = (*_INDEXED, "raw_id", "technique")


def text_of(written: str) -> Text | None:
    """Return the text that a person has written; a star at its end makes it a beginning."""
    name = folded(written.strip().removesuffix("*"))
    return None if name is None else Text(name, written.rstrip().endswith("*"))


def search_alerts(
    connection: Connection, search: AlertSearch, before: Place | None, limit: int
) -> FoundAlerts:
    """Return the newest alerts that are sought, from before a place on.

    Raises:
        NotPossibleError: The beginning of an id is too short.
    """
    keys, ranges, narrowing = _ranges(connection, search)
    if search.band is not None:
        # Not a join: PostgreSQL might read the whole table for it.
        band = sa.select(_v.band).where(_v.alert_id == _a.id).scalar_subquery()
        narrowing.append(band.is_(None) if search.band == "none" else band == search.band)
    if search.source is not None:
        narrowing.append(_a.source == search.source)

    is_indexed = len(keys) > 1

    def in_time(columns: Columns) -> list[sa.ColumnElement[bool]]:
        since, until = search.since, search.until
        times = [columns.finished_at.is_not(None)] if is_indexed else []
        times += [] if since is None else [columns.received_at >= since]
        return times if until is None else [*times, columns.received_at <= until]

    sought = Sought(
        alerts,
        "received_at",
        keys,
        ranges[:MAX_RANGES],
        where=in_time,
        matches=sa.and_(*narrowing) if narrowing else None,
    )
    found = read_newest(connection, sought, before, limit, MAX_ROWS_READ)
    has_waiting = is_indexed and _has_waiting(connection, search.tenant_ids)
    return FoundAlerts(*found, len(ranges) > MAX_RANGES, has_waiting)


def _has_waiting(connection: Connection, tenant_ids: Sequence[str]) -> bool:
    newest = (
        sa.select(_a.tenant_id)
        .where(_a.finished_at.is_(None), _a.received_at >= 0.0)
        .order_by(_a.received_at.desc())
        .limit(MAX_WAITING_READ)
        .subquery()
    )
    query = sa.select(sa.literal(1)).select_from(newest)
    own = query.where(newest.c.tenant_id.in_(tenant_ids)).limit(1)
    return connection.execute(own).first() is not None


def _ranges(
    connection: Connection, search: AlertSearch
) -> tuple[tuple[str, ...], list[tuple[str, ...]], list[sa.ColumnElement[bool]]]:
    """Return the columns of an index, the values in them to read, and what narrows what is read."""
    asked = {name: text for name in _FIELDS if (text := getattr(search, name)) is not None}
    if search.alert_id is not None:
        ids = _ids(connection, search.tenant_ids, search.alert_id)
        return ("id",), [(each,) for each in ids], [_has(*each) for each in asked.items()]
    name = next((each for each in _INDEXED if each in asked), None)
    if name is None:
        tenants: list[tuple[str, ...]] = [(each,) for each in search.tenant_ids]
        return ("tenant_id",), tenants, [_has(*each) for each in asked.items()]
    text = asked.pop(name)
    values = (
        _beginning_with(connection, search.tenant_ids, _a[name], text.text)
        if text.is_beginning
        else [(tenant_id, text.text) for tenant_id in search.tenant_ids]
    )
    return ("tenant_id", name), list(values), [_has(*each) for each in asked.items()]


def _has(name: str, text: Text) -> sa.ColumnElement[bool]:
    column = _a[name]
    if not text.is_beginning:
        return column == text.text
    return sa.and_(column >= text.text, column < text.text + _LAST)


def _ids(connection: Connection, tenant_ids: Sequence[str], text: Text) -> list[str]:
    """Return the ids of the tenants' alerts that are, or begin with, the text."""
    query = sa.select(_a.id, _a.tenant_id)
    if not text.is_beginning:
        query = query.where(_a.id == text.text)
    elif len(text.text) < MIN_ID:
        raise NotPossibleError(f"write at least the first {MIN_ID} characters of an alert's id")
    else:
        # As a whole id each: then every collation has them in the same order.
        first, last = (
            text.text + filler[len(text.text) :] for filler in (_UUID, _UUID.replace("0", "f"))
        )
        query = query.where(_a.id.between(first, last)).order_by(_a.id).limit(MAX_RANGES)
    return [
        row.id
        for row in connection.execute(query)
        if row.tenant_id in tenant_ids and row.id.startswith(text.text)
    ]


def _beginning_with(
    connection: Connection, tenant_ids: Sequence[str], column: sa.ColumnElement[str], text: str
) -> Iterator[tuple[str, str]]:
    """Yield each tenant's values that begin with the text, one more than MAX_RANGES at most.

    Each value is read from the index by itself: the rows of one value may be very many.
    """
    tenants = sa.union_all(
        *(sa.select(sa.literal(each).label("tenant_id")) for each in tenant_ids)
    ).subquery()

    def next_after(
        tenant_id: sa.ColumnElement[str], condition: sa.ColumnElement[bool]
    ) -> sa.ScalarSelect[str]:
        return (
            sa.select(sa.func.min(column))
            .where(_a.tenant_id == tenant_id, condition, column < text + _LAST, _IS_FINISHED)
            .scalar_subquery()
        )

    values = sa.select(
        tenants.c.tenant_id,
        next_after(tenants.c.tenant_id, column >= text).label("value"),
        sa.literal(1).label("number"),
    ).cte("found", recursive=True)
    values = values.union_all(
        sa.select(
            values.c.tenant_id,
            next_after(values.c.tenant_id, column > values.c.value),
            values.c.number + 1,
        ).where(values.c.value.is_not(None), values.c.number <= MAX_RANGES)
    )
    query = (
        sa.select(values.c.tenant_id, values.c.value)
        .where(values.c.value.is_not(None))
        .limit(MAX_RANGES + 1)
    )
    for row in connection.execute(query):
        yield row.tenant_id, row.value
