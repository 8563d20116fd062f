"""The clocks: the only place that reads them, so that everything else can be told the time."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds: Unix seconds in UTC, unless it is the monotonic clock."""


def wall_clock() -> float:
    """Return the present as Unix seconds."""
    return time.time()  # noqa: TID251  (this is the one reader)


def monotonic_clock() -> float:
    """Return seconds since some moment. No one sets this clock; it may stop in a suspend."""
    return time.monotonic()
