"""The per-tenant limit on `/execute` (EXECUTE_RATE_PER_MINUTE)."""

from collections import deque
from typing import Final

from vyrox.errors import RateLimitedError

RATE_WINDOW_MS: Final = 60_000


class RateLimit:
    """Allows each tenant at most `per_minute` requests in any 60 seconds. 0 means no limit.

    The limit is exact to the millisecond, and applies to this process. Only signed requests are
    counted, so an unauthenticated client cannot add tenants.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._counted_ms: dict[str, deque[int]] = {}

    def check(self, tenant_id: str, now: float) -> None:
        """Count one request of the tenant.

        Args:
            now: Seconds. If the clock was set back, requests counted later than `now` are
                deleted. Otherwise it could refuse a tenant for an hour.

        Raises:
            RateLimitedError: The limit is reached; this request was not counted.
        """
        if not self._per_minute:
            return
        now_ms = round(now * 1000)
        counted = self._counted_ms.setdefault(tenant_id, deque())
        while counted and counted[0] <= now_ms - RATE_WINDOW_MS:
            counted.popleft()
        while counted and counted[-1] > now_ms:
            counted.pop()
        if len(counted) >= self._per_minute:
            wait_ms = counted[0] + RATE_WINDOW_MS - now_ms
            raise RateLimitedError(-(-wait_ms // 1000))
        counted.append(now_ms)
