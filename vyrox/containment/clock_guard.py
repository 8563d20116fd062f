"""Whether the clocks can be trusted, and the time by which leases are measured (contract 40).

The wall clock can jump, when somebody sets it or the machine was suspended. Each clock is compared
with the monotonic clock, which cannot be set. The reference clock is the database's on PostgreSQL,
which all containers share, and the wall clock on SQLite, which has one process.

The lease time is the monotonic clock plus the last trusted offset of the reference clock. So a jump
never ends a lease early. A clock is trusted again when it has jumped back, or when it has not
jumped again for the length of the longest lease.
"""

import logging
from typing import Final

import msgspec
from sqlalchemy import Connection

from vyrox import log
from vyrox.clock import Clock
from vyrox.errors import UnavailableError, VendorError
from vyrox.http.replay_window import WINDOW_S
from vyrox.store.database import Database

MAX_STEP_S: Final = 5.0
"""A larger change against the monotonic clock is a jump. NTP makes smaller corrections without a
step, and a lease is much longer than this."""

MAX_APART_S: Final = 300.0
"""The largest difference between the wall clock and the database's."""


class _Jump(msgspec.Struct):
    offset: float
    since: float


class _Watched:
    """A clock, as its offset from the monotonic clock.

    Attributes:
        trusted: The last offset that was trusted.
        is_known: Whether the clock was read at least once.
    """

    def __init__(self, distrust_s: float) -> None:
        self._distrust_s = distrust_s
        self._jump: _Jump | None = None
        self.trusted = 0.0
        self.is_known = False

    @property
    def ahead_s(self) -> float:
        """How far the clock has jumped; 0 if it is trusted."""
        return 0.0 if self._jump is None else self._jump.offset - self.trusted

    def observe(self, before: float, time: float, after: float) -> None:
        """Compare `time`, which was read between `before` and `after` on the monotonic clock."""
        low, high = time - after, time - before
        if not self.is_known:
            self.trusted, self.is_known = (low + high) / 2, True
        elif _is_near(self.trusted, low, high):
            self._jump = None
            self.trusted = _moved_into(self.trusted, low, high)
        elif self._jump is None or not _is_near(self._jump.offset, low, high):
            self._jump = _Jump((low + high) / 2, after)
        elif after - self._jump.since >= self._distrust_s:
            self.trusted = _moved_into(self._jump.offset, low, high)
            self._jump = None


def _is_near(offset: float, low: float, high: float) -> bool:
    return low - MAX_STEP_S <= offset <= high + MAX_STEP_S


def _moved_into(offset: float, low: float, high: float) -> float:
    return min(max(offset, low), high)


class ClockGuard:
    """Compares the clocks. `probe` must be called often, and before any other method."""

    def __init__(
        self,
        database: Database | None,
        wall: Clock,
        monotonic: Clock,
        longest_lease_s: float,
    ) -> None:
        """`database` has the reference clock. Without a database, it is the wall clock."""
        self._database = database
        self._wall = wall
        self._monotonic = monotonic
        self._longest_lease_s = longest_lease_s
        self._own = _Watched(longest_lease_s)
        self._shared = self._own if database is None else _Watched(longest_lease_s)
        self._logged: str | None = None

    async def probe(self) -> None:
        """Read the clocks, and log what has changed.

        Raises:
            UnavailableError: The database is unavailable. Its clock keeps its last offset.
        """
        if self._database is not None:
            before = self._monotonic()
            time = await self._database.read(_read_time)
            self._shared.observe(before, time, self._monotonic())
        self._distrust()

    def check(self) -> None:
        """Return if the clocks can be trusted.

        Raises:
            UnavailableError: A clock has jumped, or the wall clock differs from the database's.
        """
        if reason := self._distrust():
            raise UnavailableError(reason)

    def lease_time(self) -> float:
        """Return the present in Unix seconds, for leases and everything else that expires."""
        return self._monotonic() + self._shared.trusted

    def check_action(self, approved_at: float, lease_until: float) -> None:
        """Return if a changing call may still be sent to a vendor.

        An old approval must not be carried out after the machine was suspended.

        Args:
            approved_at: From the request, in wall-clock time.
            lease_until: The end of the attempt's lease, in `lease_time`.

        Raises:
            VendorError: The approval or the lease has expired.
        """
        self._observe_own()
        if self._wall() > approved_at + WINDOW_S + self._longest_lease_s:
            raise VendorError("the approval has expired; nothing was sent")
        ahead_s = max(0.0, self._own.ahead_s, self._shared.ahead_s)
        if self.lease_time() + ahead_s >= lease_until:
            raise VendorError("the lease of the action has expired; nothing was sent")

    def _observe_own(self) -> None:
        before = self._monotonic()
        time = self._wall()
        self._own.observe(before, time, self._monotonic())

    def _distrust(self) -> str | None:
        """Return why the clocks cannot be trusted, or None. Log it when it changes."""
        self._observe_own()
        kind, reason = self._judge()
        if kind != self._logged:
            self._logged = kind
            if kind is None:
                log.event("clock.trusted", logging.WARNING)
            else:
                log.event(f"clock.{kind}", logging.ERROR, reason=reason)
        return reason

    def _judge(self) -> tuple[str | None, str | None]:
        if self._own.ahead_s:
            return "jumped", f"the wall clock has jumped by {self._own.ahead_s:.0f} s"
        if self._shared.ahead_s:
            jump_s = self._shared.ahead_s
            return "database_jumped", f"the database's clock has jumped by {jump_s:.0f} s"
        apart_s = self._own.trusted - self._shared.trusted
        if abs(apart_s) > MAX_APART_S:
            return "apart", f"the wall clock is {apart_s:.0f} s ahead of the database's"
        return None, None


def _read_time(connection: Connection) -> float:
    query = "SELECT extract(epoch FROM clock_timestamp())::float8"
    return float(connection.exec_driver_sql(query).scalar_one())
