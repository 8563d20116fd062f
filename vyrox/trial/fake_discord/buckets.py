"""Rate limits as Discord has them: a bucket for each route and channel, and one for all requests.

The numbers are those that Discord has for messages today; they can be set.
"""

from hashlib import sha256
from typing import Final

from vyrox.clock import Clock
from vyrox.trial.fake_discord.world import Json

GLOBAL_PER_S: Final = 50


class Buckets:
    """Counts requests.

    Attributes:
        limit: Requests in `per_s` of one bucket.
    """

    def __init__(self, clock: Clock, limit: int = 5, per_s: float = 5.0) -> None:
        self._clock = clock
        self.limit = limit
        self.per_s = per_s
        self.global_per_s = GLOBAL_PER_S
        self.refused = 0
        """How many requests got a 429."""
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, route: str, place: str) -> tuple[dict[str, str], Json | None]:
        """Count one request; return the headers, and the body of a 429 if it is one too many."""
        now = self._clock()
        whole, used_whole = self._count("all", 1.0, now)
        if used_whole > self.global_per_s:
            self.refused += 1
            wait = whole + 1.0 - now
            headers = {
                "retry-after": f"{wait:.3f}",
                "x-ratelimit-global": "true",
                "x-ratelimit-scope": "global",
            }
            return headers, _body(wait, is_global=True)
        start, used = self._count(f"{route} {place}", self.per_s, now)
        after = start + self.per_s - now
        headers = {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(max(0, self.limit - used)),
            "x-ratelimit-reset": f"{now + after:.3f}",
            "x-ratelimit-reset-after": f"{after:.3f}",
            "x-ratelimit-bucket": sha256(route.encode()).hexdigest()[:32],
        }
        if used <= self.limit:
            return headers, None
        self.refused += 1
        headers |= {"retry-after": f"{after:.3f}", "x-ratelimit-scope": "user"}
        return headers, _body(after, is_global=False)

    def _count(self, name: str, per_s: float, now: float) -> tuple[float, int]:
        """Return when the window began, and how many requests it has now."""
        start, used = self._windows.get(name, (now, 0))
        if now >= start + per_s:
            start, used = now, 0
        self._windows[name] = (start, used + 1)
        return start, used + 1


def _body(wait: float, *, is_global: bool) -> Json:
    return {
        "message": "You are being rate limited.",
        "retry_after": round(wait, 3),
        "global": is_global,
    }
