"""The queue entries of single alerts: whether a consumer has one, and its removal (contract 50).

The marks name the entry of an alert, so no stream is scanned.
"""

from collections.abc import Sequence
from typing import Final, cast

import redis.asyncio

from vyrox.alerts import scripts
from vyrox.alerts.queue import GROUP, tenant_keys
from vyrox.store.redis import redis_call

MAX_TOGETHER: Final = 100
"""Alerts in one call. Redis reads the entry of each, and serves no other client meanwhile."""

AlertKey = tuple[str, str]
"""The tenant and the id of an alert."""


class QueueEntries:
    """The entries of alerts in the streams of their tenants."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._taken_script = client.register_script(scripts.TAKEN)
        self._remove_script = client.register_script(scripts.REMOVE_ALERT)

    async def taken(self, keys: Sequence[AlertKey]) -> frozenset[str]:
        """Return the ids of those alerts that a consumer has received and not acknowledged.

        Raises:
            QueueUnavailableError: Redis is unavailable.
        """
        found: set[str] = set()
        for start in range(0, len(keys), MAX_TOGETHER):
            part = keys[start : start + MAX_TOGETHER]
            redis_keys = [key for tenant_id, _ in part for key in tenant_keys(tenant_id)]
            async with redis_call():
                reply = await self._taken_script(redis_keys, [GROUP, *(each[1] for each in part)])
            found.update(alert_id.decode() for alert_id in cast(list[bytes], reply))
        return frozenset(found)

    async def remove(self, keys: Sequence[AlertKey]) -> None:
        """Remove the entries of finished alerts, as an acknowledgement does.

        If it is not called, the next consumer removes them: it skips finished alerts.

        Raises:
            QueueUnavailableError: Redis is unavailable.
        """
        for tenant_id, alert_id in keys:
            async with redis_call():
                await self._remove_script(tenant_keys(tenant_id), [GROUP, alert_id])
