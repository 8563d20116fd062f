"""Whether Redis is one that can keep the promise of a 202: checked at the start (contract 17)."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import redis.asyncio

from vyrox import log
from vyrox.errors import OperatorError, QueueForbiddenError, UnavailableError
from vyrox.store.redis import redis_call

SEE: Final = "see docs/operations.md, Stores"


class RedisCheck:
    """Checks once; where Redis is away at the start, when it is there."""

    def __init__(self, client: redis.asyncio.Redis, *rights: Callable[[], Awaitable[None]]) -> None:
        """Each of `rights` does what the Redis user must be allowed to do."""
        self._redis = client
        self._rights = rights
        self._is_done = False

    async def at_start(self) -> None:
        """Check, if Redis is there.

        Raises:
            OperatorError: Redis, or its user, will not do.
        """
        try:
            await self._check()
        except UnavailableError as exc:
            log.event("redis.unchecked", logging.WARNING, reason=str(exc))

    async def later(self) -> None:
        """Check what the start could not: a service that runs is not ended for it.

        Raises:
            UnavailableError: Redis is still away.
        """
        if self._is_done:
            return
        try:
            await self._check()
        except OperatorError as exc:
            self._is_done = True
            log.event("redis.unfit", logging.ERROR, reason=str(exc))

    async def _check(self) -> None:
        try:
            async with redis_call():
                info: dict[str, object] = await self._redis.info()
            _check_server(info)
            for check in self._rights:
                await check()
        except QueueForbiddenError as exc:
            raise OperatorError(f"REDIS_URL: {exc}; {SEE}") from exc
        self._is_done = True


def _check_server(info: dict[str, object]) -> None:
    if info.get("cluster_enabled") == 1:
        raise OperatorError(f"REDIS_URL: this Redis is a node of a cluster; {SEE}")
    policy = info.get("maxmemory_policy")
    if policy is None:
        log.event("redis.policy_unknown", logging.WARNING)
    elif str(policy).startswith("allkeys"):
        # A policy for volatile keys leaves the queue alone: it has no key that expires.
        raise OperatorError(
            "REDIS_URL: this Redis drops queues when its memory is short; set its maxmemory-policy "
            f"to noeviction; {SEE}"
        )
