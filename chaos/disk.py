"""SQLite is full, and commits fail: rows 86 and 87, contract 32.

If a commit fails, the caller gets 503 or 500 and no action is carried out. If the commit happened
all the same, the next attempt finds its rows. Nothing is restarted to recover.
"""

import asyncio
import signal
import sqlite3
from contextlib import closing
from typing import Final

from chaos.load import Load
from chaos.oracle import Lists, judge
from chaos.part import Row, Size, limit
from chaos.site import Site, let_leases_lapse, site, uncaught

COMMAND: Final = ("-m", "chaos.faulty_service")
FAIL_EVERY: Final = 4
SPARE_PAGES: Final = 150
REFUSALS: Final = 40
RECOVERY_LIMIT_S: Final = 2.0


async def run(size: Size) -> list[Row]:
    """Let commits fail, then let the disk be full."""
    async with site() as here:
        lists = Lists()
        found = [await _failing_commits(lists, here, 20.0 if size.long else 2.0)]
        found.append(await _full(lists, here, size))
        async with here.database() as database:
            await let_leases_lapse(database)
            async with here.service() as service:
                found += await judge("disk", lists, here, database)
                service.signal(signal.SIGTERM)
                await service.ended()
    return found


async def _failing_commits(lists: Lists, here: Site, seconds: float) -> Row:
    load = await _prepared(lists, here)
    async with here.service(*COMMAND, FAIL_EVERY=str(FAIL_EVERY)) as service:
        # A service that cannot write while it starts ends, with the reason; that is right.
        service.signal(signal.SIGUSR2)
        await service.wait_for("chaos.failing")
        sending = asyncio.create_task(load.run(service))
        await asyncio.sleep(seconds)
        load.stop()
        async with limit(60, "the senders, while commits fail"):
            await sending
        failed = [line for line in service.lines if line["event"] == "chaos.commit_failed"]
        errors = uncaught(service)
        service.signal(signal.SIGTERM)
        status = await service.ended()
    async with here.database() as database:
        await let_leases_lapse(database)
    async with here.service() as service:
        await load.send_again(service)
    figure = (
        f"{_refused(load)} webhooks refused; exit {status}; {errors[:2] or 'no uncaught error'}"
    )
    losses = (status != 0) + len(errors) + (not failed)
    return Row("disk", f"every {FAIL_EVERY}th commit fails", len(failed), losses, figure)


async def _full(lists: Lists, here: Site, size: Size) -> Row:
    load = await _prepared(lists, here)
    with closing(sqlite3.connect(here.data_dir / "vyrox.db")) as connection:
        [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
    now = asyncio.get_running_loop().time
    async with here.service(*COMMAND, MAX_PAGES=str(pages + SPARE_PAGES)) as service:
        sending = asyncio.create_task(load.run(service))
        async with limit(60, "the disk to be full, and to be cured"):
            await load.answered(lambda: _refused(load) >= REFUSALS)
            effects = here.vendor.effects.total()
            service.signal(signal.SIGUSR1)
            await service.wait_for("chaos.cured")
            cured_at = now()
            await load.answered(lambda: load.answers[-1].status == 202)
            recovery_s = now() - cured_at
            load.stop()
            await sending
            await load.send_again(service)
        errors = uncaught(service)
    figure = (
        f"{effects} actions before; first 202 {recovery_s:.2f} s after the cure;"
        f" {errors[:2] or 'no uncaught error'}"
    )
    slow = size.long and recovery_s > RECOVERY_LIMIT_S
    return Row("disk", "full", _refused(load), len(errors) + slow, figure)


def _refused(load: Load) -> int:
    return sum(answer.status == 503 for answer in load.answers)


async def _prepared(lists: Lists, here: Site) -> Load:
    load = Load(lists, here, f"tenant-{len(lists.tenants)}")
    async with here.database() as database:
        await load.prepare(database)
    return load
