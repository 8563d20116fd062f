"""The only module that reads the clocks. Other modules take the time or a clock as an argument."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], float]
"""Returns seconds: Unix seconds in UTC, except for the monotonic clock."""


def wall_clock() -> float:
    """Return the present time in Unix seconds."""
    return time.time()  # noqa: TID251  (the only reader)


def monotonic_clock() -> float:
    """Return seconds since an unknown start. This clock is never set; a suspend may stop it."""
    return time.monotonic()


@lru_cache(4096)
def utc_text(seconds: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return Unix seconds as a date and a time in UTC; as a number if no date can show them.

    So no time that a row may hold is an error where people read it.
    """
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):{form}}"
    except (ValueError, OverflowError, OSError):
        return f"Unix time {str(seconds)[:24]}"
