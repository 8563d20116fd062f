"""The per-tenant limit on `/execute` (EXECUTE_RATE_PER_MINUTE)."""

from collections import deque
from typing import Final

from vyrox.errors import RateLimitedError

WINDOW_MS: Final = 60_000


class RateLimit:
    """Lets each tenant have at most `per_minute` requests in any 60 seconds; 0 is no limit.

    Spread out or all at once, to the millisecond, in this process. Only signed requests are
    counted, so strangers cannot add tenants.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._counted_ms: dict[str, deque[int]] = {}

    def check(self, tenant_id: str, now: float) -> None:
        """Count one request of the tenant.

        Args:
            now: Seconds. Should it go back, what was counted later than `now` is forgotten: a
                clock set back by an hour must not shut a tenant out for an hour.

        Raises:
            RateLimitedError: It is one too many; it was not counted.
        """
        if not self._per_minute:
            return
        now_ms = round(now * 1000)
        counted = self._counted_ms.setdefault(tenant_id, deque())
        while counted and counted[0] <= now_ms - WINDOW_MS:
            counted.popleft()
        while counted and counted[-1] > now_ms:
            counted.pop()
        if len(counted) >= self._per_minute:
            wait_ms = counted[0] + WINDOW_MS - now_ms
            raise RateLimitedError(-(-wait_ms // 1000))
        counted.append(now_ms)
