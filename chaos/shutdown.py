"""SIGTERM under load: every accepted request is completed, both listeners close, all is cleaned up.

Contract 23; rows 92 and 93. A request counts as accepted if its row, or its entry, exists.
"""

import asyncio
import random
import signal
import tempfile
from pathlib import Path
from typing import Final

import httpx
import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from chaos.kill import SEED
from chaos.load import Load
from chaos.oracle import Lists, judge
from chaos.part import Row, Size, limit, quantile
from chaos.site import site, uncaught
from tests import audit
from tests.ingestion import SECRET, webhook
from tests.polling import until
from tests.service import Service, running_service
from tests.test_serve import is_refused, port_of
from vyrox.store.database import Database
from vyrox.store.tables import alerts
from vyrox.store.valkey import is_running

EXIT_LIMIT_S: Final = 30.0
CLOSED_LIMIT_S: Final = 1.0
MOMENT_S: Final = 0.4


class _Stop(msgspec.Struct, frozen=True):
    """How one service has ended."""

    status: int
    exit_s: float
    closed_s: float
    """Until both ports refused connections."""
    last_event: str
    errors: list[str]

    @property
    def is_clean(self) -> bool:
        return (
            self.status == 0
            and self.exit_s < EXIT_LIMIT_S
            and self.last_event == "stopped"  # the last line of the outermost `finally`
            and not self.errors
        )


async def run(size: Size) -> list[Row]:
    """Stop under load, `rounds` times; and once with a half-sent body, which takes 20 s."""
    async with asyncio.TaskGroup() as group:
        under_load = group.create_task(_under_load(size))
        half_sent = group.create_task(_half_sent())
    return [*under_load.result(), half_sent.result()]


async def _under_load(size: Size) -> list[Row]:
    moments = random.Random(SEED)
    lists = Lists()
    loads: list[Load] = []
    stops: list[_Stop] = []
    cut_off = refused = 0
    async with site() as here:
        for number in range(size.rounds):
            load = Load(lists, here, f"tenant-{number}")
            async with here.database() as database:
                await load.prepare(database, processes=2)
            async with limit(90, f"stop {number}"), here.service() as service:
                for earlier in loads[-1:]:
                    await earlier.send_again(service)
                stops.append(await _stopped(service, load, moments.uniform(0, MOMENT_S)))
            refused += len(load.refused) + len(load.undone)
            loads.append(load)
            async with here.database() as database:
                cut_off += await _accepted_and_cut_off(database, lists, load)
        async with here.service() as service, here.database() as database:
            await loads[-1].send_again(service)
            rows = await judge("shutdown", lists, here, database)
    # How fast the ports close is judged on a quiet machine.
    closed_limit_s = CLOSED_LIMIT_S if size.long else EXIT_LIMIT_S
    unclean = [stop for stop in stops if not stop.is_clean or stop.closed_s >= closed_limit_s]
    slowest = quantile([stop.exit_s for stop in stops], 1.0)
    closed = quantile([stop.closed_s for stop in stops], 1.0)
    figure = f"exit within {slowest:.2f} s, ports closed within {closed:.2f} s; {unclean[:2] or ''}"
    return [
        Row("shutdown", "SIGTERM under load: not clean", size.rounds, len(unclean), figure),
        Row(
            "shutdown",
            "accepted requests that got no answer",
            len(lists.sent) + len(lists.actions),
            cut_off,
            f"{refused} refused or not taken",
        ),
        *rows,
    ]


async def _stopped(service: Service, load: Load, moment_s: float) -> _Stop:
    running = asyncio.create_task(load.run(service))
    async with limit(20, "the first answer"):
        await load.answered()
    await asyncio.sleep(moment_s)
    stop = await _stop(service)
    await running
    return stop


async def _stop(service: Service) -> _Stop:
    now = asyncio.get_running_loop().time
    began_at = now()
    service.signal(signal.SIGTERM)
    ports = [port_of(service.ingestion_url), port_of(service.proxy_url)]

    async def closed() -> bool:
        return all([await is_refused(port) for port in ports])

    async with limit(10, "both ports to refuse connections"):
        await until(closed)
    closed_at = now()
    status = await service.ended()
    return _Stop(
        status=status,
        exit_s=now() - began_at,
        closed_s=closed_at - began_at,
        last_event=str(service.lines[-1]["event"]),
        errors=uncaught(service),
    )


async def _accepted_and_cut_off(database: Database, lists: Lists, load: Load) -> int:
    """Return how many requests were completed without a response to their senders."""
    stored = await database.read(_stored, load.tenant_id)
    acknowledged = {each.body for each in lists.acknowledged}
    hosts = {entry["host"] for entry in await audit.entries(database, load.tenant_id)}
    alerts_cut_off = [
        sent for sent in load.cut_off if sent.body in stored and sent.body not in acknowledged
    ]
    return len(alerts_cut_off) + sum(action.host in hosts for action in load.actions_cut_off)


def _stored(connection: Connection, tenant_id: str) -> set[bytes]:
    query = sa.select(alerts.c.raw).where(alerts.c.tenant_id == tenant_id)
    return {bytes(raw) for raw in connection.execute(query).scalars()}


async def _half_sent() -> Row:
    """Stop while a body is half sent, with the stores that the service itself has started."""
    with tempfile.TemporaryDirectory(prefix="vx-") as path:
        data_dir = Path(path)
        async with (
            limit(60, "the end, with a half-sent body"),
            running_service(data_dir, CROWDSTRIKE_WEBHOOK_SECRET=SECRET) as service,
        ):
            port = port_of(service.ingestion_url)
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(webhook("crowdstrike").raw()[:-10])
            await writer.drain()
            async with httpx.AsyncClient(base_url=service.ingestion_url) as client:
                await client.get("/health")  # the response comes after those to earlier requests
            stop = await _stop(service)
            writer.close()
        valkey_left = await is_running(data_dir)
    losses = (not stop.is_clean) + valkey_left
    figure = f"exit {stop.status} after {stop.exit_s:.1f} s; Valkey left running: {valkey_left}"
    return Row("shutdown", "SIGTERM with a half-sent body: not clean", 1, losses, figure)
