"""Ingestion comes first: while alerts flood in, the worker pauses."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

SHARE: Final = 10
"""During a flood the worker uses one part in so many of the time."""

FLOOD_PER_S: Final = 750
"""Alerts a second from which it is a flood. The worker keeps up with fewer: with 500 it must."""

LONGEST_S: Final = 2.0
"""Of one pause. After a disk or a database that stood still, a multiple of that would be minutes
without a verdict."""

AT_ONCE_S: Final = 0.001
"""How long the worker may work before other tasks run."""

WINDOW_S: Final = 0.5
"""Over how long the alerts are counted."""


class Pace:
    """Counts the alerts that arrive, and lets the worker pause while they are very many."""

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        """`timer` returns seconds."""
        self._timer = timer
        self._arrived = 0
        self._since = timer()
        self._worked_s = 0.0  # since other tasks ran
        self._is_flood = False

    def arrived(self) -> None:
        """Count an alert that was accepted."""
        self._arrived += 1

    async def give_way(self, worked_s: float) -> None:
        """Let waiting requests run, and pause during a flood.

        Args:
            worked_s: How long the worker has kept the event loop or the database busy since the
                last call. Not its processor time: a transaction in which it waits for the
                interpreter's lock or the disk holds up new alerts, too.
        """
        self._worked_s += worked_s
        if self._worked_s < AT_ONCE_S:
            return
        worked_s, self._worked_s = self._worked_s, 0.0
        await asyncio.sleep(0)
        self._measure()
        if self._is_flood:
            await asyncio.sleep(min((SHARE - 1) * worked_s, LONGEST_S))

    def _measure(self) -> None:
        took_s = self._timer() - self._since
        if took_s < WINDOW_S:
            return
        self._is_flood = self._arrived / took_s > FLOOD_PER_S
        self._arrived = 0
        self._since += took_s
