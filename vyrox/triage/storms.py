"""Storms: many alerts with the same content are scored once, then counted.

The whole content, so that an attack cannot hide behind alerts that only look like it.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from vyrox.triage.score import Verdict

STORM: Final = 50
"""Alerts with one content in WINDOW_S from which the verdict is reused."""

WINDOW_S: Final = 600.0

MAX_KEPT: Final = 4096
"""Contents in memory. Forgetting one costs a score, nothing else."""


class _Count(msgspec.Struct):
    began_at: float
    alerts: int
    verdict: Verdict


class Storms:
    """Counts the alerts of each content."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, _Count] = OrderedDict()

    def verdict(self, content: bytes, now: float) -> Verdict | None:
        """Count one more alert; return the verdict of the storm that it belongs to, if any.

        Args:
            now: Seconds of any steady clock.
        """
        count = self._counts.get(content)
        if count is None:
            return None
        if now > count.began_at + WINDOW_S:
            del self._counts[content]
            return None
        count.alerts += 1
        return count.verdict if count.alerts > STORM else None

    def keep(self, content: bytes, verdict: Verdict, now: float) -> None:
        """Keep the verdict of an alert that was scored."""
        if content not in self._counts:
            self._counts[content] = _Count(now, 1, verdict)
            while len(self._counts) > MAX_KEPT:
                self._counts.popitem(last=False)
