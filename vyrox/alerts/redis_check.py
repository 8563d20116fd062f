"""Checks at the start that Redis is configured to keep alerts after a 202 (contract 17)."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import redis.asyncio

from vyrox import log
from vyrox.errors import OperatorError, QueueForbiddenError, UnavailableError
from vyrox.store.redis import redis_call

SEE: Final = "see docs/operations.md, Stores"
"""The end of each error text."""


class RedisCheck:
    """Checks once: at the start, or later if Redis is unavailable at the start."""

    def __init__(self, client: redis.asyncio.Redis, *rights: Callable[[], Awaitable[None]]) -> None:
        """Each of `rights` runs commands that the Redis user must be allowed to run."""
        self._redis = client
        self._rights = rights
        self._is_done = False

    async def at_start(self) -> None:
        """Check, or log that Redis is unavailable.

        Raises:
            OperatorError: Redis or its user is configured wrongly; the text says what to change.
        """
        try:
            await self._check()
        except UnavailableError as exc:
            log.event("redis.unchecked", logging.WARNING, reason=str(exc))

    async def later(self) -> None:
        """Check if the start could not. A wrong configuration is logged; the service goes on.

        Raises:
            UnavailableError: Redis is still unavailable.
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
            check_server(info)
            for check in self._rights:
                await check()
        except QueueForbiddenError as exc:
            raise OperatorError(f"REDIS_URL: {exc}; {SEE}") from exc
        self._is_done = True


def check_server(info: dict[str, object]) -> None:
    """Return if this Redis keeps what is queued.

    Raises:
        OperatorError: It would not; the text says what to change.
    """
    if info.get("cluster_enabled") == 1:
        raise OperatorError(f"REDIS_URL: this Redis is a node of a cluster; {SEE}")
    policy = info.get("maxmemory_policy")
    if policy is None:
        log.event("redis.policy_unknown", logging.WARNING)
    elif str(policy).startswith("allkeys"):
        # A policy for volatile keys is safe: no key of the queue expires.
        raise OperatorError(
            "REDIS_URL: this Redis deletes queues when its memory is full; set its "
            f"maxmemory-policy to noeviction; {SEE}"
        )
