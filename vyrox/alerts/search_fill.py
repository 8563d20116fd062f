"""Fills the search columns of the alerts that an earlier version has stored (contract 79).

It goes from the newest alert to the oldest, in small transactions, and notes in the database how
far it has come: so it holds up neither a start nor new alerts, and goes on after a restart.
"""

from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.intake import folded
from vyrox.store.database import Database
from vyrox.store.tables import alerts, search_fill

MAX_ROWS: Final = 250
"""Rows that one transaction fills. New alerts wait for the transaction."""

MAX_READ_BYTES: Final = 4 * 1024 * 1024
"""Bytes of alerts that one transaction reads, about, at most."""

_a: Final = alerts.c
_f: Final = search_fill.c


class _Alert(msgspec.Struct, frozen=True):
    raw_id: str | None = None
    sha256: str | None = None
    technique: str | None = None


_decode: Final = msgspec.json.Decoder(_Alert).decode


class SearchFill:
    """Fills a part each time that it runs, until all rows are filled."""

    def __init__(self, database: Database) -> None:
        """`database` is where the alerts are."""
        self._database = database
        self._is_done = False

    async def run(self) -> None:
        """Fill the next rows.

        Raises:
            DatabaseUnavailableError: The database is unavailable.
        """
        if self._is_done:
            return
        if await self._database.read(is_filled):
            self._is_done = True
            return
        await self._database.write(fill_some)


def is_filled(connection: Connection) -> bool:
    """Return whether no row is left to fill."""
    return connection.execute(sa.select(_f.id)).first() is None


def fill_some(connection: Connection) -> int:
    """Fill the newest rows that are not filled, and return how many."""
    place = connection.execute(sa.select(_f.received_at, _f.id).with_for_update()).first()
    if place is None:
        return 0
    rows = _next_rows(connection, place.received_at, place.id)
    if not rows:
        connection.execute(search_fill.delete())
        return 0
    values = [_values(row.id, row.alert) for row in rows]
    fill = alerts.update().where(_a.id == sa.bindparam("of"), _a.raw_id.is_(None))
    names = ("sha256", "technique", "raw_id")
    connection.execute(fill.values({name: sa.bindparam(f"new_{name}") for name in names}), values)
    last = rows[-1]
    connection.execute(search_fill.update().values(received_at=last.received_at, id=last.id))
    return len(rows)


def _next_rows(connection: Connection, received_at: float, row_id: str) -> list[sa.Row[Any]]:
    """Return the newest rows before a place."""
    query = (
        sa.select(_a.id, _a.received_at, sa.func.length(_a.alert))
        .where(
            _a.received_at <= received_at,
            sa.tuple_(_a.received_at, _a.id) < sa.tuple_(received_at, row_id),
        )
        .order_by(_a.received_at.desc(), _a.id.desc())
        .limit(MAX_ROWS)
    )
    ids: list[str] = []
    size = 0
    for each in connection.execute(query):
        size += each[2]
        if ids and size > MAX_READ_BYTES:
            break
        ids.append(each.id)
    order = {each: number for number, each in enumerate(ids)}
    rows = sa.select(_a.id, _a.received_at, _a.alert).where(_a.id.in_(ids))
    return sorted(connection.execute(rows), key=lambda row: order[row.id]) if ids else []


def _values(alert_id: str, encoded: bytes) -> dict[str, str | None]:
    alert = _decode(encoded)
    return {
        "of": alert_id,
        "new_sha256": folded(alert.sha256),
        "new_technique": folded(alert.technique),
        "new_raw_id": folded(alert.raw_id),
    }
