"""Which containers use this database, and how each one is (contract 39 and 86).

Each container updates its row with each probe of the database (`alerts.health`), and when there is
a newer version of the guard rails, which the same statement reads. So `vyrox tenant freeze` can
wait until every container has read the freeze.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.clock import Clock
from vyrox.errors import NewerSchemaError, UnavailableError
from vyrox.ids import new_id
from vyrox.store.database import Database, database_time
from vyrox.store.tables import containers, guard_rails
from vyrox.store.version import why_newer

SILENT_S: Final = 10.0
"""Time without a report after which a container does not count as running."""

CONFIRM_TIMEOUT_S: Final = 5.0
"""How long a freeze waits until the containers have read it."""

POLL_S: Final = 0.05

FORGET_S: Final = 3600.0
"""Time without a report after which the start of another container deletes the row."""

_c: Final = containers.c
_NEWEST: Final = (
    sa.select(sa.func.coalesce(sa.func.max(guard_rails.c.version), 0))
    .select_from(guard_rails)
    .scalar_subquery()
)


# Made once: an idle service reports more often than it does anything else.
_REPORT: Final = {
    "seen_at": sa.bindparam("now", type_=sa.Float),
    "version": _NEWEST,
    "is_dry_run": sa.bindparam("is_dry_run", type_=sa.Boolean),
    "distrust": sa.bindparam("distrust", type_=sa.Text),
}
_UPDATE: Final = containers.update().where(_c.id == sa.bindparam("container")).values(_REPORT)
_INSERT: Final = containers.insert().values(_REPORT | {"id": sa.bindparam("container")})


class Reported(msgspec.Struct, frozen=True):
    """One container's last report.

    Attributes:
        age_s: How old it is, by the database's time.
        version: The version of the guard rails that the container had read.
        is_dry_run: Whether it calls no vendor; None: by a version that does not report it.
        distrust: Why its clocks cannot be trusted; None: they can.
    """

    id: str
    seen_at: float
    age_s: float
    version: int
    is_dry_run: bool | None = None
    distrust: str | None = None


class Container:
    """This process's own row."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        check_clocks: Callable[[], None],
        *,
        is_dry_run: bool,
    ) -> None:
        """`check_clocks` raises UnavailableError if the clocks cannot be trusted."""
        self._database = database
        self._clock = clock
        self._check_clocks = check_clocks
        self._is_dry_run = is_dry_run
        # The host name is for people; the random part makes the id unique.
        self.id = f"{socket.gethostname()[:128]}/{new_id()[:8]}"

    async def start(self) -> None:
        """Delete rows of dead containers, and report for the first time. Raises as `report`."""
        await self._database.write(_forget, self._clock())
        await self.report()

    async def report(self) -> None:
        """Store that this container runs, and the version of the guard rails that it has read.

        Raises:
            NewerSchemaError: It is stored, but this version cannot use all of the database.
            DatabaseUnavailableError: Not stored, or it is not known.
        """
        distrust = None
        try:
            self._check_clocks()
        except UnavailableError as exc:
            distrust = str(exc)
        args = (self.id, self._clock(), self._is_dry_run, distrust)
        if why := await self._database.write(_report_and_check, *args):
            raise NewerSchemaError(why)

    def is_behind(self) -> sa.ColumnElement[bool]:
        """Return the condition that there are guard rails newer than the last report."""
        return sa.exists().where(_c.id == self.id, _c.version < _NEWEST)

    async def leave(self) -> None:
        """Delete the row at the end. If that fails, it no longer counts after SILENT_S."""
        with suppress(UnavailableError):
            await self._database.write(_leave, self.id)


def report(
    connection: Connection,
    container_id: str,
    now: float,
    is_dry_run: bool | None = None,
    distrust: str | None = None,
) -> None:
    """Insert or update a container's row; on SQLite its time is `now`."""
    values = {
        "container": container_id,
        "now": database_time(connection, now),
        "is_dry_run": is_dry_run,
        "distrust": distrust,
    }
    if not connection.execute(_UPDATE, values).rowcount:
        connection.execute(_INSERT, values)


def _report_and_check(
    connection: Connection, container_id: str, now: float, is_dry_run: bool, distrust: str | None
) -> str | None:
    report(connection, container_id, now, is_dry_run, distrust)
    return why_newer(connection)


def running(connection: Connection, now: float) -> Sequence[Reported]:
    """Return the containers that reported within SILENT_S, in order of id."""
    database_now = database_time(connection, now)
    query = sa.select(containers).where(_c.seen_at > database_now - SILENT_S).order_by(_c.id)
    return _reported(connection, query, database_now)


def newest(connection: Connection, now: float) -> Sequence[Reported]:
    """Return the container with the last report, however old that is; none if none is stored."""
    query = sa.select(containers).order_by(_c.seen_at.desc()).limit(1)
    return _reported(connection, query, database_time(connection, now))


def _reported(
    connection: Connection, query: sa.Select[tuple[Any, ...]], database_now: float
) -> list[Reported]:
    return [
        Reported(
            row.id,
            row.seen_at,
            max(0.0, database_now - row.seen_at),
            row.version,
            row.is_dry_run,
            row.distrust,
        )
        for row in connection.execute(query)
    ]


async def until_read(database: Database, version: int, clock: Clock) -> Sequence[Reported]:
    """Return the containers that run, once all have read `version`, or after CONFIRM_TIMEOUT_S."""
    deadline = asyncio.get_running_loop().time() + CONFIRM_TIMEOUT_S
    while True:
        found = await database.read(running, clock())
        late = any(each.version < version for each in found)
        if not late or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(POLL_S)


def last_report_age(connection: Connection, now: float) -> float | None:
    """Return how many seconds ago a container last reported, or None if none is stored."""
    newest = connection.execute(sa.select(sa.func.max(_c.seen_at))).scalar()
    return None if newest is None else max(0.0, database_time(connection, now) - newest)


def forget_all(connection: Connection) -> None:
    """Delete every row: in a copy of a database they are of containers that use the other one."""
    connection.execute(containers.delete())


def _forget(connection: Connection, now: float) -> None:
    before = database_time(connection, now) - FORGET_S
    connection.execute(containers.delete().where(_c.seen_at < before))


def _leave(connection: Connection, container_id: str) -> None:
    connection.execute(containers.delete().where(_c.id == container_id))
