"""How far ahead a lease can end: one that ends later was written by a wrong clock (contract 40).

A service that starts on a clock that is days ahead has nothing to compare it with. After a restart
on the right clock, its leases would block a device and a `request_id` for days. So a time further
ahead than the longest lease counts as over.
"""

from typing import Final

import sqlalchemy as sa

from vyrox.containment.clock_guard import MAX_STEP_S
from vyrox.store.agenda import Moment

LONGEST_LEASE_S: Final = 342.0
"""The lease of an action with the largest EDR_DEADLINE_SECONDS."""

MAX_AHEAD_S: Final = LONGEST_LEASE_S + 2 * MAX_STEP_S
"""No lease ends later than this. Two containers may measure the present 2 * MAX_STEP_S apart."""


def is_over(until: float, now: float) -> bool:
    """Return whether a lease is over: it has ended, or a wrong clock has written it."""
    return until <= now or until > now + MAX_AHEAD_S


def is_over_in_sql(until: sa.ColumnElement[float], now: Moment) -> sa.ColumnElement[bool]:
    """Return `is_over` as a condition on a column."""
    return sa.or_(until <= now, until > now + MAX_AHEAD_S)
