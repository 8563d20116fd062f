"""The wall clock: the only place that reads it, so that everything else can be told the time."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns Unix seconds, UTC."""


def wall_clock() -> float:
    """Return the present as Unix seconds."""
    return time.time()  # noqa: TID251  (this is the one reader)
