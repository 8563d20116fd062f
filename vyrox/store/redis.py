"""The Redis client: every command is sent once, has a time limit, and fails with one error."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import redis.asyncio
import redis.asyncio.connection
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from vyrox import metrics
from vyrox.errors import QueueForbiddenError, QueueUnavailableError
from vyrox.models import Sentinels

CALL_TIMEOUT_S: Final = 0.8
"""Longest that a call to Redis may take. A webhook must get its response within a second."""


@asynccontextmanager
async def connect(url: str | Sentinels) -> AsyncIterator[redis.asyncio.Redis]:
    """Yield a client for `url` that sends every command once, and close it at the end.

    By default redis-py retries ten times: one XADD became eleven, and one second a minute. Its
    timeout is not used either. It is built on `asyncio.wait_for`, which in Python 3.11 can lose a
    cancellation: then our own time limits fail, and a background task does not end. `redis_call`
    limits the time instead.
    """
    options: dict[str, Any] = {
        "socket_timeout": None,
        "socket_connect_timeout": CALL_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": 16,
        "protocol": 2,
        "client_name": "vyrox",
    }
    async with AsyncExitStack() as stack:
        if isinstance(url, Sentinels):
            client = await _of_sentinels(stack, url, options)
        else:
            client = redis.asyncio.Redis.from_url(url, **options)
        await stack.enter_async_context(client)
        yield client


async def _of_sentinels(
    stack: AsyncExitStack, sentinels: Sentinels, options: dict[str, Any]
) -> redis.asyncio.Redis:
    """Return a client of the primary, which each new connection asks the Sentinels for."""
    said = redis.asyncio.connection.parse_url(sentinels.url)
    kind = said.pop("connection_class", None)
    is_tls = kind is not None and issubclass(kind, redis.asyncio.SSLConnection)
    tls = {"ssl": True} if is_tls else {}
    del said["host"]
    username, password = sentinels.login
    asked = {name: value for name, value in said.items() if name.startswith("ssl_")} | tls
    found = redis.asyncio.Sentinel(  # type: ignore[no-untyped-call]
        sentinels.hosts,
        sentinel_kwargs={
            **options,
            **asked,
            "username": username or None,
            "password": password or None,
        },
        **{**options, **said, **tls},
    )
    for sentinel in found.sentinels:
        await stack.enter_async_context(sentinel)
    client: redis.asyncio.Redis = found.master_for(sentinels.service)
    return client


async def send(client: redis.asyncio.Redis, *command: str | bytes | int) -> object:
    """Send one command and return its reply. Use it inside `redis_call`.

    It is what `execute_command` does for this client, without the layers for retries, hooks and
    measurements, which cost as much as the call.
    """
    pool = client.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        await connection.send_command(*command)
        reply: object = await connection.read_response()
        return reply
    finally:
        await pool.release(connection)


_COMMAND: Final = re.compile(r"run the '([a-z|_-]{1,40})' command")


_MEANS: Final = {
    "MISCONF": "MISCONF: it cannot write to its disk",
    "OOM": "OOM: its memory is full",
    "READONLY": "READONLY: it is a replica",
}
"""What codes of Redis say, for people."""


@asynccontextmanager
async def redis_call() -> AsyncIterator[None]:
    """Limit a call to Redis to CALL_TIMEOUT_S, and turn every failure into one kind of error.

    A call that times out closes its connection, so that no later call gets its reply.

    Raises:
        QueueForbiddenError: The Redis user lacks a right. The text names the command.
        QueueUnavailableError: Redis failed. The command may still have been executed.
    """
    try:
        with metrics.REDIS.timed():
            async with asyncio.timeout(CALL_TIMEOUT_S):
                yield
    except TimeoutError as exc:
        raise QueueUnavailableError(f"no reply within {CALL_TIMEOUT_S} s") from exc
    except (redis.exceptions.RedisError, OSError) as exc:
        if _is_forbidden(exc):
            raise QueueForbiddenError(f"the Redis user may not {_forbidden(str(exc))}") from exc
        # The text of a reply can quote the command, and so an alert: only its code is kept.
        is_reply = isinstance(exc, redis.exceptions.ResponseError)
        reason = str(exc).partition(" ")[0] if is_reply else str(exc)
        reason = _MEANS.get(reason, reason)
        raise QueueUnavailableError(f"{type(exc).__name__}: {reason}") from exc


def _is_forbidden(exc: Exception) -> bool:
    # A forbidden command within a script is reported without the code NOPERM.
    return isinstance(exc, redis.exceptions.NoPermissionError) or (
        isinstance(exc, redis.exceptions.ResponseError)
        and str(exc).startswith(("ACL failure in script", "The user executing the script"))
    )


def _forbidden(text: str) -> str:
    """Return what a reply reports as forbidden, without its text, which can quote an alert."""
    if command := _COMMAND.search(text):
        return f"run the command {command[1]}"
    return "access a key: it needs ~vyrox:*" if "key" in text else "do what a script does"
