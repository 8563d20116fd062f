"""Ingestion comes first: while the process is busy with requests, the worker pauses."""

import asyncio
import time
from typing import Final

SHARE: Final = 10
"""While requests keep the process busy, the worker uses one part in so many of the time."""

BUSY: Final = 0.75
"""Share of one processor that everything but the worker uses, from which the process is busy."""

AT_ONCE_S: Final = 0.001
"""How long the worker may work before other tasks run."""

WINDOW_S: Final = 0.25
"""Over how long that is measured."""


class Pace:
    """Measures how busy the process is without the worker, and lets the worker pause."""

    def __init__(self) -> None:
        self._own_s = 0.0
        self._worked_s = 0.0  # since other tasks ran
        self._since = time.perf_counter()
        self._cpu_since = time.process_time()
        self._is_busy = False

    async def give_way(self, worked_s: float) -> None:
        """Let waiting requests run, and pause while there are many.

        Args:
            worked_s: Processor time that the worker has used since the last call.
        """
        self._own_s += worked_s
        self._worked_s += worked_s
        if self._worked_s < AT_ONCE_S:
            return
        worked_s, self._worked_s = self._worked_s, 0.0
        await asyncio.sleep(0)
        self._measure()
        if self._is_busy:
            await asyncio.sleep((SHARE - 1) * worked_s)

    def _measure(self) -> None:
        took_s = time.perf_counter() - self._since
        if took_s < WINDOW_S:
            return
        used_s = time.process_time() - self._cpu_since
        self._is_busy = (used_s - self._own_s) / took_s > BUSY
        self._own_s = 0.0
        self._since += took_s
        self._cpu_since += used_s
