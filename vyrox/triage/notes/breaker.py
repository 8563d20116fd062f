"""Stops asking a server that fails, and tries again later."""

from typing import Final

FAILURES: Final = 3
"""Failures in a row after which no request is made."""

OPEN_S: Final = 60.0
MAX_OPEN_S: Final = 900.0


class Breaker:
    """Counts failures. After a pause one request is allowed; if it fails, the pause doubles."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = OPEN_S
        self._closed_until = 0.0

    def may_ask(self, now: float) -> bool:
        """Return whether a request may be made at `now`, by a clock that never goes back."""
        return now >= self._closed_until

    def succeeded(self) -> None:
        """Take note of an answer."""
        self._failures = 0
        self._pause_s = OPEN_S

    def failed(self, now: float) -> bool:
        """Take note of a failure; return whether a pause begins."""
        self._failures += 1
        if self._failures < FAILURES:
            return False
        self._closed_until = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, MAX_OPEN_S)
        return True
