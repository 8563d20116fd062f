"""A flood of malformed alerts of one tenant; the oracle is a second tenant.

Contract 16, 17 and 46. Each alert is authentic but not valid, so it is kept in quarantine.
The second tenant's alerts are accepted meanwhile, its actions carried out, and `/health` is 200.
"""

import asyncio
import contextlib
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
import msgspec
import uvloop

from chaos.load import PATIENCE_S, Load
from chaos.oracle import Lists, judge
from chaos.part import Row, Size, limit, quantile
from chaos.site import site, uncaught
from tests.ingestion import webhook
from tests.patience import PATIENT_VYROX
from tests.service import ROOT, Service

FLOODER: Final = "tenant-flooder"
TENANT: Final = "tenant-beside"
CONNECTIONS: Final = 100
SHORT_S: Final = 8.0
LONG_S: Final = 120.0
HEALTH_EVERY_S: Final = 0.1


async def _watch(url: str, answers: Counter[str]) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
        while True:
            answers[str((await client.get("/health")).status_code)] += 1
            await asyncio.sleep(HEALTH_EVERY_S)


@asynccontextmanager
async def _flooding(service: Service) -> AsyncIterator[tuple[Counter[str], Counter[str]]]:
    """Flood until the block ends; then the responses to the flood and of `/health` are there."""
    flood, health = Counter[str](), Counter[str]()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaos.malformed", str(httpx.URL(service.ingestion_url).port)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    watching = asyncio.create_task(_watch(service.ingestion_url, health))
    try:
        yield flood, health
        async with limit(2 * PATIENCE_S, "the end of the flood"):
            output, _ = await process.communicate(b"")
        flood.update(msgspec.json.decode(output, type=dict[str, int]))
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(size: Size) -> list[Row]:
    """Flood with one tenant, and use the service normally with a second."""
    lists = Lists()
    # A busy machine may take longer than the product's limits, and it would rightly respond 503.
    command = () if size.long else ("-c", PATIENT_VYROX, "serve")
    async with site() as here, here.service(*command) as service:
        load = Load(lists, here, TENANT)
        async with here.database() as database:
            await load.prepare(database)
        async with _flooding(service) as (flood, health):
            sending = asyncio.create_task(load.run(service))
            await asyncio.sleep(LONG_S if size.long else SHORT_S)
            load.stop()
            async with limit(2 * PATIENCE_S, "the last answers"):
                await sending
        async with here.database() as database:
            rows = await judge("malformed", lists, here, database)
        errors = uncaught(service)
    statuses = [answer.status for answer in load.answers]
    took_ms = [(answer.came_at - answer.sent_at) * 1000 for answer in load.answers]
    undone = [action for action in lists.actions if not action.executed]
    flooded = flood.total()
    return [
        Row(
            "malformed",
            "the flood: neither 422 nor 503",
            flooded,
            flooded - flood["422"] - flood["503"],
            str(dict(flood)),
        ),
        Row(
            "malformed",
            "the other's alerts not accepted",
            len(statuses),
            len(statuses) - statuses.count(202),
            f"p99 {quantile(took_ms, 0.99):.0f} ms",
        ),
        Row("malformed", "the other's actions not carried out", len(lists.actions), len(undone)),
        Row("malformed", "/health not 200", health.total(), health.total() - health["200"]),
        Row("malformed", "uncaught errors", flooded, len(errors), "; ".join(errors[:2])),
        *rows,
    ]


async def _send(port: int, answers: Counter[str]) -> None:
    """Send malformed alerts on one connection, each after the response to the last."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                while True:
                    text = f'{{"customer_id":"{FLOODER}","detect_id":{{}},"x":"{uuid.uuid4()}"}}'
                    sent = webhook("crowdstrike", text.encode())
                    writer.write(sent.raw().replace(b"Connection: close\r\n", b""))
                    head = await reader.readuntil(b"\r\n\r\n")
                    size = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                    await reader.readexactly(int(size))
                    answers[head[9:12].decode()] += 1
        answers["reconnected"] += 1


async def _main(port: int) -> None:
    """Flood `port` until standard input ends; print how often each response came."""
    answers = Counter[str]()
    tasks = [asyncio.create_task(_send(port, answers)) for _ in range(CONNECTIONS)]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    print(msgspec.json.encode(answers).decode(), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
