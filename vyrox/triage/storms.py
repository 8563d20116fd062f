"""Storms: many alerts of one fingerprint are scored once, then counted."""

from collections import OrderedDict
from typing import Final

import msgspec

from vyrox.triage.score import Verdict

STORM: Final = 50
"""Alerts of one fingerprint in WINDOW_S from which the verdict is reused."""

WINDOW_S: Final = 600.0

MAX_KEPT: Final = 4096
"""Fingerprints in memory. Forgetting one costs a score, nothing else."""


class _Count(msgspec.Struct):
    began_at: float
    alerts: int
    verdict: Verdict


class Storms:
    """Counts the alerts of each fingerprint."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, _Count] = OrderedDict()

    def verdict(self, fingerprint: bytes, now: float) -> Verdict | None:
        """Count one more alert; return the verdict of the storm that it belongs to, if any.

        Args:
            now: Seconds of any steady clock.
        """
        count = self._counts.get(fingerprint)
        if count is None:
            return None
        if now > count.began_at + WINDOW_S:
            del self._counts[fingerprint]
            return None
        count.alerts += 1
        return count.verdict if count.alerts > STORM else None

    def keep(self, fingerprint: bytes, verdict: Verdict, now: float) -> None:
        """Keep the verdict of an alert that was scored."""
        if fingerprint not in self._counts:
            self._counts[fingerprint] = _Count(now, 1, verdict)
            while len(self._counts) > MAX_KEPT:
                self._counts.popitem(last=False)
