"""Which containers serve on this database, and whether they have read a change (contract 39).

Each container writes its row every REPORT_INTERVAL_S, with the newest version of the guard rails
that it has read in the same statement. So `vyrox tenant freeze` can wait for every container.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.clock import Clock
from vyrox.errors import UnavailableError
from vyrox.ids import new_id
from vyrox.store.database import Database, database_time
from vyrox.store.tables import containers, guard_rails

REPORT_INTERVAL_S: Final = 0.5

SILENT_S: Final = 10.0
"""A container that has not reported for this long does not count as running."""

FORGET_S: Final = 3600.0
"""A container that was killed leaves its row; a later start deletes it after this time."""

_c: Final = containers.c
_NEWEST: Final = (
    sa.select(sa.func.coalesce(sa.func.max(guard_rails.c.version), 0))
    .select_from(guard_rails)
    .scalar_subquery()
)


class Reported(msgspec.Struct, frozen=True):
    """One container's last report.

    Attributes:
        age_s: How long ago it was, by the database's time.
        version: Of the guard rails that it had read.
    """

    id: str
    seen_at: float
    age_s: float
    version: int


class Container:
    """This process's own row."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        # The host's name is for people; the rest tells two containers of one name apart.
        self.id = f"{socket.gethostname()[:128]}/{new_id()[:8]}"

    async def start(self) -> None:
        """Report for the first time. Raises as `report`."""
        await self._database.write(_forget, self._clock())
        await self.report()

    async def report(self) -> None:
        """Write down that this container runs, and which guard rails it has read.

        Raises:
            DatabaseUnavailableError: Not written, or not known to be.
        """
        await self._database.write(report, self.id, self._clock())

    async def leave(self) -> None:
        """Delete the row at the end. If that fails, the row is too old after SILENT_S."""
        with suppress(UnavailableError):
            await self._database.write(_leave, self.id)


def report(connection: Connection, container_id: str, now: float) -> None:
    """Write a container's row; on SQLite its time is `now`."""
    values = {"seen_at": database_time(connection, now), "version": _NEWEST}
    if connection.execute(
        containers.update().where(_c.id == container_id).values(**values)
    ).rowcount:
        return
    connection.execute(containers.insert().values(id=container_id, **values))


def running(connection: Connection, now: float) -> Sequence[Reported]:
    """Return the containers that have reported within SILENT_S, in order of id."""
    present = database_time(connection, now)
    query = sa.select(containers).where(_c.seen_at > present - SILENT_S).order_by(_c.id)
    return [
        Reported(row.id, row.seen_at, max(0.0, present - row.seen_at), row.version)
        for row in connection.execute(query)
    ]


def _forget(connection: Connection, now: float) -> None:
    before = database_time(connection, now) - FORGET_S
    connection.execute(containers.delete().where(_c.seen_at < before))


def _leave(connection: Connection, container_id: str) -> None:
    connection.execute(containers.delete().where(_c.id == container_id))
