"""The client of Redis: every command once, in limited time, and one error for every failure."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import redis.asyncio
import redis.asyncio.connection
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.typing import EncodableT

from vyrox.errors import QueueForbiddenError, QueueUnavailableError

CALL_TIMEOUT_S: Final = 0.8
"""Of one call to Redis: less than the second within which a webhook is answered."""


def connect(url: str) -> redis.asyncio.Redis:
    """Return a client for `url` that tries every command once.

    redis-py's default of ten retries turned one XADD into eleven, and one second into a minute. Its
    own timeout is not used: it sends under `asyncio.wait_for`, which in Python 3.11 can swallow a
    cancellation, and with it our own time limits and the end of a background task. `redis_call`
    limits the time instead.
    """
    client = redis.asyncio.Redis.from_url(
        url,
        socket_timeout=None,
        socket_connect_timeout=CALL_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        max_connections=16,
        protocol=2,
        client_name="vyrox",
    )
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_PackingInC, pool.connection_class), {})
    return client


_COMMAND: Final = re.compile(r"run the '([a-z|_-]{1,40})' command")

_PACKER: Final = HiredisRespSerializer()


class _PackingInC(redis.asyncio.connection.AbstractConnection):
    """Packs as redis-py's synchronous client does; its asynchronous one does it in Python."""

    def pack_command(self, *args: EncodableT) -> list[bytes]:
        packed: list[bytes] = _PACKER.pack(*args)  # type: ignore[arg-type]  # annotated wrongly
        return packed


@asynccontextmanager
async def redis_call() -> AsyncIterator[None]:
    """Limit a call to Redis to CALL_TIMEOUT_S; every way in which it fails is one error.

    A call that runs out of time loses its connection, so no later call gets its reply.

    Raises:
        QueueForbiddenError: The user of this client may not do it. The text names the command.
        QueueUnavailableError: Redis failed. What was asked may still have happened.
    """
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            yield
    except TimeoutError as exc:
        raise QueueUnavailableError(f"no answer within {CALL_TIMEOUT_S} s") from exc
    except (redis.exceptions.RedisError, OSError) as exc:
        if _is_forbidden(exc):
            raise QueueForbiddenError(f"the Redis user may not {_forbidden(str(exc))}") from exc
        # A reply's text can quote the command, and with it the alert: only its code is kept.
        is_reply = isinstance(exc, redis.exceptions.ResponseError)
        reason = str(exc).partition(" ")[0] if is_reply else str(exc)
        raise QueueUnavailableError(f"{type(exc).__name__}: {reason}") from exc


def _is_forbidden(exc: Exception) -> bool:
    # What a script may not do comes without the code NOPERM.
    return isinstance(exc, redis.exceptions.NoPermissionError) or (
        isinstance(exc, redis.exceptions.ResponseError)
        and str(exc).startswith(("ACL failure in script", "The user executing the script"))
    )


def _forbidden(text: str) -> str:
    """Return what a reply says is not allowed, in words of our own: the rest may be an alert's."""
    if command := _COMMAND.search(text):
        return f"run the command {command[1]}"
    return "access a key: it needs ~vyrox:*" if "key" in text else "do what a script does"
