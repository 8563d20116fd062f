"""kill -9 of the service under load, at random moments; in some rounds Valkey dies with it.

Contract 14 to 17, 19, 22, 27, 30 and 32; rows 48, 49, 51, 80 and 89.
"""

import asyncio
import random
import signal
from contextlib import AsyncExitStack
from itertools import cycle
from typing import Final

from chaos.load import Load
from chaos.oracle import Lists, judge
from chaos.part import Row, Size, limit
from chaos.site import Site, let_leases_lapse, site
from tests.conftest import new_postgres_database
from tests.postgres import Postgres
from tests.service import Service

MOMENT_S: Final = 0.6
"""The kill comes within so long after the first response."""

WAYS: Final = ("service", "service", "service and valkey", "service, and valkey comes back empty")

SEED: Final = 1
"""The seed of the moments. Two runs differ all the same, because the machine's timing does."""


async def run(size: Size) -> list[Row]:
    """Kill on both databases, a quarter of the rounds on PostgreSQL."""
    on_postgres = size.rounds // 4
    found = await _kill(None, size.rounds - on_postgres, "kill")
    with Postgres() as postgres:
        return found + await _kill(
            await new_postgres_database(postgres), on_postgres, "kill, postgresql"
        )


async def _kill(database_url: str | None, rounds: int, part: str) -> list[Row]:
    moments = random.Random(SEED)
    lists = Lists()
    loads: list[Load] = []
    async with site(database_url) as here:
        for number, way in zip(range(rounds), cycle(WAYS), strict=False):
            load = Load(lists, here, f"tenant-{number}")
            async with here.database() as database:
                await let_leases_lapse(database)
                await load.prepare(database)
            async with limit(60, f"round {number}"), here.service() as service:
                await _send_all_again(loads, service)
                loads = [load]
                await _kill_under_load(here, service, load, way, moments.uniform(0, MOMENT_S))
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(here.database())
            await let_leases_lapse(database)
            service = await stack.enter_async_context(here.service())
            await _send_all_again(loads, service)
            rows = await judge(part, lists, here, database)
            service.signal(signal.SIGTERM)
            status = await service.ended()
    return [
        Row(part, "rounds of kill -9", rounds, int(status != 0), f"exit {status} at the end"),
        *rows,
    ]


async def _send_all_again(loads: list[Load], service: Service) -> None:
    for load in loads:
        await load.send_again(service)


async def _kill_under_load(
    here: Site, service: Service, load: Load, way: str, moment_s: float
) -> None:
    running = asyncio.create_task(load.run(service))
    async with limit(20, "the first answer"):
        await load.answered()
    await asyncio.sleep(moment_s)
    service.signal(signal.SIGKILL)
    if way.endswith("empty"):
        await here.valkey.kill_and_empty()
    elif way.endswith("valkey"):
        await here.valkey.kill()
    async with limit(30, "the end of the senders"):
        await running
    await service.ended()
    if "valkey" in way:
        await here.valkey.start()
