"""Follows new alerts in the database, each once, also those that are committed late."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import AlertFilter, FoundAlert, Place, found_alerts
from vyrox.alerts.listing import MAX_PAGE_BYTES, ListedAlert, delivery_from_row, read_alerts
from vyrox.alerts.refill import LATE_ROW_MARGIN_S
from vyrox.clock import Clock
from vyrox.models import Severity
from vyrox.store.database import Database
from vyrox.store.tables import alerts

PAGE: Final = 1000

BY_SEVERITY: Final[tuple[Severity, ...]] = ("critical", "high", "medium", "unknown", "low", "info")
"""From the worst. An alert without a known severity may be anything: it is not the last."""

_a: Final = alerts.c


def at_least(severity: Severity) -> tuple[Severity, ...]:
    """Return this severity and those that are worse."""
    return BY_SEVERITY[: BY_SEVERITY.index(severity) + 1]


class Watch:
    """Yields the alerts that arrive after `start`, in the order of their arrival.

    Each call reads again the last LATE_ROW_MARGIN_S: a row may be committed later than a row that
    was received after it.
    """

    def __init__(self, database: Database, clock: Clock, wanted: AlertFilter) -> None:
        self._database = database
        self._clock = clock
        self._wanted = wanted
        self._newest = 0.0  # a `received_at`, but not of a clock that is ahead
        self._seen: dict[str, float] = {}

    async def start(self) -> None:
        """Count the alerts that are there as seen. Raises DatabaseUnavailableError."""
        self._newest = min(await self._database.read(_newest), self._clock())
        async for page in self._pages():
            self._seen.update((row.id, row.received_at) for row in page)

    async def new_alerts(self) -> AsyncIterator[ListedAlert]:
        """Yield the new alerts, whole. An alert counts as seen once the next one is asked for.

        Raises:
            DatabaseUnavailableError: The next call yields what is left.
        """
        async for page in self._pages():
            for part in _parts([row for row in page if row.id not in self._seen]):
                states = {row.id: delivery_from_row(row) for row in part}
                found = {each.id: each for each in await self._database.read(read_alerts, states)}
                for row in part:
                    if row.id in found:
                        yield found[row.id]
                    self._seen[row.id] = row.received_at
        if self._seen:
            self._newest = max(self._newest, min(max(self._seen.values()), self._clock()))
        self._seen = {key: at for key, at in self._seen.items() if at >= self._from()}

    def _from(self) -> float:
        return self._newest - LATE_ROW_MARGIN_S

    async def _pages(self) -> AsyncIterator[list[FoundAlert]]:
        place: Place = (self._from(), "")
        while page := await self._database.read(_find_after, self._wanted, place):
            yield page
            place = (page[-1].received_at, page[-1].id)
            if len(page) < PAGE:
                return


def _newest(connection: Connection) -> float:
    return connection.execute(sa.select(sa.func.max(_a.received_at))).scalar() or 0.0


def _find_after(connection: Connection, wanted: AlertFilter, place: Place) -> list[FoundAlert]:
    query = (
        found_alerts(wanted)
        # The first condition is for the index; the second one is exact.
        .where(_a.received_at >= place[0], sa.tuple_(_a.received_at, _a.id) > sa.tuple_(*place))
        .order_by(_a.received_at, _a.id)
        .limit(PAGE)
    )
    return [FoundAlert(*row) for row in connection.execute(query)]


def _parts(rows: Sequence[FoundAlert]) -> list[list[FoundAlert]]:
    """Split `rows` into parts of at most MAX_PAGE_BYTES, or of a single row."""
    parts: list[list[FoundAlert]] = []
    size_bytes = 0
    for row in rows:
        size_bytes += row.size_bytes
        if not parts or size_bytes > MAX_PAGE_BYTES:
            parts.append([])
            size_bytes = row.size_bytes
        parts[-1].append(row)
    return parts
