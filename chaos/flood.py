"""Thousands of unauthenticated clients on the public port, while `/execute` is used."""

import asyncio
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import msgspec
from cryptography.fernet import Fernet, MultiFernet

from chaos.flooder import Seen
from chaos.inprocess import DISCORD
from chaos.part import Row, Size, quantile
from tests.ingestion import SECRET, webhook
from tests.proxy import TENANT, encoded, signed, wanted
from tests.sample_alerts import unfinished
from tests.service import ROOT, Service, running_service
from tests.vendor import add_alert, give_credentials
from vyrox.store.database import open_database

STRANGERS: Final = 2000
EXECUTES_PER_S: Final = 5
EXECUTE_P99_MS: Final = 250.0
SHORT_S: Final = 10
LONG_S: Final = 60
LIMIT_S: Final = 30.0

FEW_FILES: Final = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from vyrox.cli import main
main()
"""
"""`vyrox` where the process may open 128 files."""

IDLE: Final = 300
LINES_PER_S: Final = 10
RECOVERY_S: Final = 2.0
WATCHED_S: Final = 5


@asynccontextmanager
async def acting_service(directory: Path) -> AsyncIterator[Service]:
    """Run the service with a vendor that acts, and TENANT with credentials for it."""
    key = Fernet.generate_key().decode()
    async with open_database(None, directory) as database:
        await give_credentials(database, [TENANT], vault=MultiFernet([Fernet(key)]))
        await add_alert(database, TENANT, "alt_abc123")
    async with running_service(
        directory,
        *("-m", "tests.acting_service"),
        DRY_RUN="false",
        VENDOR_CALLS=str(directory / "calls"),
        VYROX_ENCRYPTION_KEY=key,
        CROWDSTRIKE_WEBHOOK_SECRET=SECRET,
        SENTINELONE_WEBHOOK_SECRET=SECRET,
        DEFENDER_WEBHOOK_SECRET=SECRET,
        GENERIC_WEBHOOK_SECRET=SECRET,
        DISCORD_APPLICATION_ID=DISCORD.application_id,
        DISCORD_PUBLIC_KEY=DISCORD.public_key,
        DISCORD_BOT_TOKEN=DISCORD.bot_token,
    ) as service:
        yield service
        await _end(service)


async def _end(service: Service) -> None:
    """Stop the service as an operator does, and its Valkey with it."""
    service.signal(signal.SIGTERM)
    await service.ended()


@asynccontextmanager
async def _flooding(port: int) -> AsyncIterator[list[Seen]]:
    """Flood `port` until the block ends; then the list has the result."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaos.flooder", str(port), str(STRANGERS)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    seen: list[Seen] = []
    try:
        yield seen
        async with asyncio.timeout(2 * LIMIT_S):
            output, _ = await process.communicate(b"")
        seen.append(msgspec.json.decode(output, type=Seen))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class _Executions:
    """Requests to `/execute` at a steady pace, and their responses."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.answers: Counter[str] = Counter()
        self.took_ms: list[float] = []

    async def run(self, seconds: float) -> None:
        """Send EXECUTES_PER_S for `seconds`, none waiting for another."""
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * EXECUTES_PER_S)):
                group.create_task(self._one(f"host-{number}"))
                await asyncio.sleep(1 / EXECUTES_PER_S)

    async def _one(self, host: str) -> None:
        body = encoded(wanted(host=host))
        began = time.perf_counter()
        try:
            answer = await self._client.post("/execute", content=body, headers=signed(body))
            self.answers[str(answer.status_code)] += 1
        except httpx.HTTPError as exc:
            self.answers[type(exc).__name__] += 1
        self.took_ms.append((time.perf_counter() - began) * 1000)

    @property
    def failed(self) -> int:
        """Return how many were not carried out."""
        return self.answers.total() - self.answers["200"]


def _port(url: str) -> int:
    return httpx.URL(url).port or 80


async def _flood(size: Size) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="vx-") as path:
        async with (
            acting_service(Path(path)) as service,
            httpx.AsyncClient(base_url=service.proxy_url, timeout=LIMIT_S) as client,
        ):
            quiet, flooded = _Executions(client), _Executions(client)
            await quiet.run(2)
            async with _flooding(_port(service.ingestion_url)) as found:
                await asyncio.sleep(3)  # until the unauthenticated clients are connected
                await flooded.run(LONG_S if size.long else SHORT_S)
            done = (Path(path) / "calls").read_text().splitlines()
        async with open_database(None, Path(path)) as database:
            stored = {alert_id for _, alert_id in await unfinished(database)}
    (seen,) = found
    p99 = quantile(flooded.took_ms, 0.99)
    before = quantile(quiet.took_ms, 0.99)
    acted_once = len(done) == len(set(done)) == quiet.answers["200"] + flooded.answers["200"]
    lost = sum(seen.alerts.values()) - seen.alerts.get("202", 0) - seen.alerts.get("503", 0)
    return [
        Row(
            "flood",
            f"/execute during {STRANGERS} connections of strangers: not carried out once",
            flooded.answers.total(),
            # A busy machine may miss the limit of a commit: 500, and nothing is done.
            flooded.failed - (0 if size.long else flooded.answers["500"]) + (not acted_once),
            f"p99 {p99:.0f} ms (alone {before:.0f} ms); {dict(flooded.answers)}",
        ),
        Row(
            "flood",
            f"/execute p99 above {EXECUTE_P99_MS:.0f} ms",
            flooded.answers.total(),
            int(size.long and p99 > EXECUTE_P99_MS),  # a busy machine is no loss in the short form
            f"{p99:.0f} ms; {seen.connections} connections of strangers",
        ),
        Row(
            "flood",
            "honest alerts meanwhile: neither 202 nor 503",
            sum(seen.alerts.values()),
            lost,
            f"p99 {seen.alert_p99_ms:.0f} ms; {seen.alerts}",
        ),
        Row(
            "flood",
            "acknowledged alerts lost",
            len(seen.acknowledged),
            len(set(seen.acknowledged) - stored),
        ),
    ]


async def _few_files(size: Size) -> list[Row]:
    """Open more connections than the process may open files; everything else must continue."""
    with tempfile.TemporaryDirectory(prefix="vx-") as path:
        async with running_service(
            Path(path), "-c", FEW_FILES, "serve", CROWDSTRIKE_WEBHOOK_SECRET=SECRET
        ) as service:
            failed: Counter[str] = Counter()
            with ExitStack() as stack:
                address = ("127.0.0.1", _port(service.ingestion_url))
                for _ in range(IDLE):
                    stack.enter_context(socket.create_connection(address, timeout=LIMIT_S))
                logged = len(service.output)
                for _ in range(WATCHED_S * EXECUTES_PER_S):
                    failed.update(await _probe(service))
                    await asyncio.sleep(1 / EXECUTES_PER_S)
                lines = [
                    line
                    for line in service.lines[logged:]
                    if line["event"] not in {"alert.accepted", "execute.dry_run"}
                ]
            began = time.perf_counter()
            while await _probe(service):
                await asyncio.sleep(0.05)
                if time.perf_counter() - began > LIMIT_S:
                    break
            recovered_s = time.perf_counter() - began
            await _end(service)
    return [
        Row(
            "flood",
            f"128 files, {IDLE} idle connections: requests that failed on either listener",
            3 * WATCHED_S * EXECUTES_PER_S,
            failed.total(),
            f"{dict(failed) or ''} back after {recovered_s:.2f} s",
        ),
        Row(
            "flood",
            f"128 files, {IDLE} idle connections: log lines above {LINES_PER_S}/s",
            len(lines),
            max(0, len(lines) - LINES_PER_S * WATCHED_S)
            + int(size.long and recovered_s > RECOVERY_S),
            str(Counter(str(line["event"]) for line in lines).most_common(3)),
        ),
    ]


async def _probe(service: Service) -> list[str]:
    """Return what failed of one request to each of three routes, on new connections."""
    sent = webhook("crowdstrike")
    body = encoded(wanted())
    failed = []
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        for name, url, content, headers, status in (
            ("alert", service.ingestion_url + sent.path, sent.body, dict(sent.headers), 202),
            ("execute", service.proxy_url + "/execute", body, signed(body), 200),
            ("health", service.proxy_url + "/health", None, {}, 200),
        ):
            try:
                method = "GET" if content is None else "POST"
                answer = await client.request(method, url, content=content, headers=headers)
                if answer.status_code != status:
                    failed.append(f"{name} {answer.status_code}")
            except httpx.HTTPError as exc:
                failed.append(f"{name} {type(exc).__name__}")
    return failed


async def run(size: Size) -> list[Row]:
    """Flood a service with room, then one with few files."""
    return [*await _flood(size), *await _few_files(size)]
