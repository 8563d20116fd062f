"""The only module that reads the clocks. Other modules take the time or a clock as an argument."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds: Unix seconds in UTC, except for the monotonic clock."""


def wall_clock() -> float:
    """Return the present time in Unix seconds."""
    return time.time()  # noqa: TID251  (the only reader)


def monotonic_clock() -> float:
    """Return seconds since an unknown start. This clock is never set; a suspend may stop it."""
    return time.monotonic()
