"""kill -9 at each step of a request: before each line of the product that the request executes.

Contract 14, 15, 17, 19, 22, 27 and 32; rows 50, 80 and 85. One alert and one action run at the
same time, so a kill interrupts both. The lines are a sample at even distances: as many as there are
rounds, so `ROUNDS=4000` kills at each of them.
"""

import signal
from typing import Final

from chaos.load import Load
from chaos.oracle import Lists, judge
from chaos.part import Row, Size, limit
from chaos.site import Site, let_leases_lapse, site

KILLS_IN_SHORT: Final = 8
COMMAND: Final = ("-m", "chaos.traced_service")


async def run(size: Size) -> list[Row]:
    """Kill at the lines; both requests are sent again after each."""
    lists = Lists()
    async with site() as here:
        lines = await _count(lists, here)
        step = max(1, lines // (size.rounds if size.long else KILLS_IN_SHORT))
        points = range(step // 2 + 1, lines, step)
        killed = 0
        for point in points:
            killed += await _kill_at(lists, here, point)
        async with here.database() as database:
            await let_leases_lapse(database)
            async with here.service() as service:
                rows = await judge("steps", lists, here, database)
                service.signal(signal.SIGTERM)
                await service.ended()
    figure = f"at {killed} of {lines} lines; {len(points) - killed} were not reached"
    # That most are not reached would mean that nothing is killed where it should be.
    too_few = int(killed < len(points) / 2)
    return [Row("steps", "kills at a line", len(points), too_few, figure), *rows]


async def _count(lists: Lists, here: Site) -> int:
    """Return how many lines the two requests execute."""
    load = await _prepared(lists, here, "tenant-counted")
    async with here.service(*COMMAND, KILL_AT="0") as service:
        async with limit(30, "the two requests that are counted"):
            service.signal(signal.SIGUSR1)
            await service.wait_for("chaos.counting")
            await load.send_once(service)
        service.signal(signal.SIGUSR2)
        counted = await service.wait_for("chaos.counted")
    return int(str(counted["lines"]))


async def _kill_at(lists: Lists, here: Site, point: int) -> bool:
    """Send both requests, and once more after the kill; return whether there was one."""
    load = await _prepared(lists, here, f"tenant-{point}")
    async with here.service(*COMMAND, KILL_AT=str(point)) as service:
        service.signal(signal.SIGUSR1)
        async with limit(30, f"the kill at line {point}"):
            await service.wait_for("chaos.counting")
            await load.send_once(service)
            was_killed = bool(load.refused or load.undone)
            if was_killed:
                await service.ended()
    async with here.database() as database:
        await let_leases_lapse(database)
    if was_killed:
        async with here.service() as service:
            await load.send_again(service)
    return was_killed


async def _prepared(lists: Lists, here: Site, tenant_id: str) -> Load:
    load = Load(lists, here, tenant_id)
    async with here.database() as database:
        await load.prepare(database, processes=1)
    return load
