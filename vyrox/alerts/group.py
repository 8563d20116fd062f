"""The streams and the consumer group as a whole: which tenants have a stream, who reads them."""

from typing import Any, Final

import msgspec
import redis.asyncio
import redis.exceptions

from vyrox.alerts.queue import GROUP, stream_key
from vyrox.ids import is_tenant_id
from vyrox.store.redis import redis_call

SCANNED_KEYS: Final = 1000
"""Keys that Redis examines in one call while it searches for streams."""


COUNTED_STREAMS: Final = 1000
"""Streams whose lengths one call asks for."""


class OtherConsumer(msgspec.Struct, frozen=True):
    """A consumer of the group that is not Vyrox's own.

    Attributes:
        pending: Alerts that it has received and not acknowledged.
        idle_s: Seconds since it last asked for alerts.
    """

    tenant_id: str
    name: str
    pending: int
    idle_s: float


async def tenants_with_stream(client: redis.asyncio.Redis) -> list[str]:
    """Return the tenants that have a stream.

    Raises:
        QueueUnavailableError: Redis is unavailable.
    """
    async with redis_call():
        streams = [key async for key in client.scan_iter(stream_key("*"), count=SCANNED_KEYS)]
    names = (key.decode("utf-8", "replace").partition("{")[2] for key in streams)
    return [name[:-1] for name in names if is_tenant_id(name[:-1])]


async def count_entries(client: redis.asyncio.Redis) -> int:
    """Return how many alerts are in all streams together.

    Raises:
        QueueUnavailableError: Redis is unavailable.
    """
    tenant_ids = await tenants_with_stream(client)
    total = 0
    for first in range(0, len(tenant_ids), COUNTED_STREAMS):
        pipeline = client.pipeline(transaction=False)
        for tenant_id in tenant_ids[first : first + COUNTED_STREAMS]:
            pipeline.xlen(stream_key(tenant_id))
        async with redis_call():
            total += sum(await pipeline.execute())
    return total


async def other_consumers(client: redis.asyncio.Redis, own_prefix: str) -> list[OtherConsumer]:
    """Return the consumers of the group whose names do not begin with `own_prefix`.

    Raises:
        QueueUnavailableError: Redis is unavailable.
    """
    found: list[OtherConsumer] = []
    for tenant_id in await tenants_with_stream(client):
        async with redis_call():
            found += [
                OtherConsumer(tenant_id, name, each["pending"], each["idle"] / 1000)
                for each in await _consumers_of(client, tenant_id)
                if not (name := each["name"].decode("utf-8", "replace")).startswith(own_prefix)
            ]
    return found


async def _consumers_of(client: redis.asyncio.Redis, tenant_id: str) -> list[dict[str, Any]]:
    try:
        consumers: list[dict[str, Any]] = await client.xinfo_consumers(stream_key(tenant_id), GROUP)
    except redis.exceptions.ResponseError as exc:
        if "NOGROUP" in str(exc) or "no such key" in str(exc):
            return []
        raise
    return consumers
