"""A user of Redis with some rights only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio


@asynccontextmanager
async def redis_user(
    client: redis.asyncio.Redis, redis_url: str, *rights: str
) -> AsyncIterator[str]:
    """Make a user with `rights`; give the URL by which it connects."""
    run = client.execute_command
    await run("ACL", "SETUSER", "some", "reset", "on", ">word", *rights)  # type: ignore[no-untyped-call]
    try:
        yield redis_url.replace("unix://", "unix://some:word@")
    finally:
        await run("ACL", "DELUSER", "some")  # type: ignore[no-untyped-call]
