"""Rehearses a rolling upgrade: `python -m chaos.upgrade REVISION`.

Two containers with the code of an older revision, out of git, serve one PostgreSQL and one Valkey.
Alerts come all the time, as from a vendor behind a load balancer: what does not get 202 is sent
again, to the next container. With `--actions`, hosts are contained and lifted meanwhile at a mock
vendor, with approvals, through whichever container. Then a container with this code starts, and
migrates; an old one is stopped, one more new one starts, and the other old one is stopped.
Afterwards each alert must be stored once and have its verdict, no action may be done twice or
without its entry, and every chain must verify. What each kind of container answered in each phase
is printed, and what they logged.
"""

import argparse
import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from cryptography.fernet import Fernet

from benchmarks.load import SECRET
from benchmarks.postgres import create
from benchmarks.servers import (
    ROOT,
    free_ports,
    fresh_directory,
    vyrox_environment,
    wait_until_listening,
)
from benchmarks.triage import signed_requests
from chaos.upgrade_actions import Actions, actions
from chaos.valkey import Valkey
from chaos.vendor import Vendor, vendor
from tests.approvals.people import ORIGIN
from tests.postgres import Postgres
from vyrox.store.database import open_database

TENANTS: Final = ("acme-corp", "globex", "initech")
AGAIN_S: Final = 0.2
DRAIN_S: Final = 60.0
PATIENCE_S: Final = 30.0

_STORED: Final = (
    "SELECT tenant_id, raw_id, count(*) AS number, bool_and(finished_at IS NOT NULL) AS is_done "
    "FROM alerts WHERE raw_id IS NOT NULL GROUP BY 1, 2"
)
_NEW: Final = {"id": "gen_random_uuid()::text", "hostname": "'pc-' || n % 5000"}
_NONE: Final = ("dedup_key", "raw_id")


@dataclass
class Container:
    """One `vyrox serve`, of one of the two versions."""

    kind: str
    process: subprocess.Popen[bytes]
    port: int
    private_url: str
    console_url: str
    log: Path
    is_ready: bool = False

    async def stop(self) -> None:
        """End it as a platform does: no new alerts, then SIGTERM."""
        self.is_ready = False
        self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, PATIENCE_S)


@dataclass
class Rehearsal:
    """What runs, and what was seen."""

    old: Path
    directory: Path
    url: str
    redis: str
    key: str
    vendor: Vendor | None = None
    containers: list[Container] = field(default_factory=list)
    phase: str = "before"
    answers: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    longest_s: dict[str, float] = field(default_factory=dict)
    accepted: set[tuple[str, str]] = field(default_factory=set)
    is_ending: bool = False

    def environment(self, kind: str, place: Path) -> Mapping[str, str]:
        """Return the settings of a container, or of a command."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.old if kind == "old" else ROOT),
            **vyrox_environment(place, self.url),
            "VYROX_ENCRYPTION_KEY": self.key,
            "REDIS_URL": self.redis,
            "TRIAGE_ENABLED": "true",
            "CROWDSTRIKE_WEBHOOK_SECRET": SECRET,
            "LOG_FORMAT": "json",
            "CONSOLE_ORIGIN": ORIGIN,
            "CONSOLE_PORT": str(free_ports(1)[0]),
            **({} if self.vendor is None else self.vendor.environment),
            "EDR_DEADLINE_SECONDS": "30",
        }

    def living(self) -> list[Container]:
        """Return the containers to which a load balancer would send requests."""
        return [each for each in self.containers if each.is_ready]

    async def start(self, kind: str) -> Container:
        """Start one, and return once its port is open. Raises RuntimeError if it ends instead."""
        place = self.directory / f"{len(self.containers)}-{kind}"
        place.mkdir()
        environment = self.environment(kind, place)
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", "vyrox", "serve"],
                cwd=environment["PYTHONPATH"],
                env=environment,
                stdout=log,
                stderr=log,
            )
        port, *others = (
            int(environment[name]) for name in ("INGESTION_PORT", "PROXY_PORT", "CONSOLE_PORT")
        )
        private, console = (f"http://127.0.0.1:{number}" for number in others)
        started = Container(kind, process, port, private, console, place / "log")
        self.containers.append(started)
        listening = asyncio.create_task(
            asyncio.to_thread(
                wait_until_listening, [f"127.0.0.1:{number}" for number in (port, *others)]
            )
        )
        while not listening.done():
            if process.poll() is not None:
                listening.cancel()
                raise RuntimeError((place / "log").read_text().strip().splitlines()[-1])
            await asyncio.sleep(0.05)
        await listening
        started.is_ready = True
        return started


def main() -> None:
    """Print what was seen. Exits with 1 if an alert was lost, or stored twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="of git: the code of the old containers")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each phase")
    parser.add_argument("--rate", type=float, default=30.0, help="alerts a second")
    parser.add_argument("--rows", type=int, default=0, help="older alerts that are stored before")
    parser.add_argument(
        "--actions", action="store_true", help="contain and lift hosts, too (from schema 0026 on)"
    )
    given = parser.parse_args()
    with Postgres(fsync=True) as server, fresh_directory() as directory:
        old = directory / "old"
        packed = subprocess.run(
            ["git", "archive", "--end-of-options", given.revision],
            cwd=ROOT,
            check=False,
            capture_output=True,
        )
        if packed.returncode != 0:
            parser.error(packed.stderr.decode(errors="replace").strip())
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(old, filter="data")
        sys.exit(asyncio.run(_rehearse(server, old, directory, given)))


async def _rehearse(server: Postgres, old: Path, directory: Path, given: argparse.Namespace) -> int:
    url = await create(server, "upgrade")
    valkey = Valkey(directory / "valkey")
    await valkey.start()
    rehearsal = Rehearsal(old, directory, url, valkey.url, Fernet.generate_key().decode())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(valkey.kill)
        stack.push_async_callback(_stop_all, rehearsal)
        if given.actions:
            rehearsal.vendor = await stack.enter_async_context(vendor())
        count = await stack.enter_async_context(_sending(rehearsal, given.rate))
        asked = await _roll(rehearsal, given.seconds, given.rows)
        rehearsal.is_ending = True
        sent = await count()
        return max(await _judged(rehearsal, sent), await _judged_actions(rehearsal, asked))


async def _stop_all(rehearsal: Rehearsal) -> None:
    for each in rehearsal.containers:
        if each.process.poll() is None:
            await each.stop()


async def _judged_actions(rehearsal: Rehearsal, asked: Actions | None) -> int:
    if asked is None:
        return 0
    async with open_database(rehearsal.url, rehearsal.directory) as database:
        return int(not await asked.judge(database, rehearsal.directory))


async def _roll(rehearsal: Rehearsal, seconds: float, rows: int) -> Actions | None:
    first, second = [await rehearsal.start("old") for _ in range(2)]
    async with AsyncExitStack() as stack:
        asked = None
        if rehearsal.vendor is not None:
            args = (rehearsal.vendor, rehearsal.url, rehearsal.directory, rehearsal.key)
            asked = await stack.enter_async_context(actions(*args, rehearsal.living))
        await asyncio.sleep(seconds)
        if rows:
            await _fill(rehearsal.url, rows)
        rehearsal.phase = "the first new one starts, and migrates"
        began = time.monotonic()
        await rehearsal.start("new")
        print(f"the first new one opened its port after {time.monotonic() - began:.1f} s")
        rehearsal.phase = "two old ones and a new one"
        await asyncio.sleep(seconds)
        rehearsal.phase = "an old one stops, a new one starts"
        await first.stop()
        await rehearsal.start("new")
        rehearsal.phase = "an old one and two new ones"
        await asyncio.sleep(seconds)
        rehearsal.phase = "the last old one stops"
        await second.stop()
        rehearsal.phase = "new ones alone"
        await asyncio.sleep(seconds)
    try:
        await rehearsal.start("old")
    except RuntimeError as exc:
        print(f"an old container that is started again ends: {exc}")
    else:
        print("an old container that is started again serves")
    return asked


async def _fill(url: str, rows: int) -> None:
    """Store copies of a finished alert, in whatever columns this schema has."""
    connection = await asyncpg.connect(url)
    try:
        finished = "SELECT * FROM alerts WHERE finished_at IS NOT NULL LIMIT 1"
        while (found := await connection.fetchrow(finished)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        names = [name for name in found.keys() if name not in _NONE]  # noqa: SIM118
        values = ", ".join(_NEW.get(name, f"one.{name}") for name in names)
        statement = (
            f"INSERT INTO alerts ({', '.join(names)}) SELECT {values} "  # noqa: S608
            f"FROM ({finished}) AS one, generate_series(1, {rows:d}) AS n"
        )
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def _sending(rehearsal: Rehearsal, rate: float) -> AsyncIterator:  # type: ignore[type-arg]
    tasks: list[asyncio.Task[None]] = []

    async def go_on(client: httpx.AsyncClient) -> None:
        streams = [signed_requests(10**6, tenant) for tenant in TENANTS]
        number = 0
        while not rehearsal.is_ending:
            tenant = TENANTS[number % len(TENANTS)]
            if rehearsal.living():
                _, request = next(streams[number % len(TENANTS)])
                raw_id = f"ldt:{number // len(TENANTS)}"
                delivering = _deliver(rehearsal, client, tenant, raw_id, request)
                tasks.append(asyncio.create_task(delivering))
                number += 1
            await asyncio.sleep(1 / rate)

    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
        going_on = asyncio.create_task(go_on(client))

        async def count() -> int:
            await going_on
            await asyncio.gather(*tasks)
            return len(tasks)

        try:
            yield count
        finally:
            going_on.cancel()


async def _deliver(
    rehearsal: Rehearsal, client: httpx.AsyncClient, tenant: str, raw_id: str, request: bytes
) -> None:
    head, _, body = request.partition(b"\r\n\r\n")
    signature = next(
        line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"x-vyrox")
    )
    headers = {"x-vyrox-signature": signature.decode(), "content-type": "application/json"}
    turn = hash((tenant, raw_id))
    while True:
        living = rehearsal.living()
        chosen = living[turn % len(living)]
        phase, began = rehearsal.phase, time.monotonic()
        try:
            response = await client.post(
                f"http://127.0.0.1:{chosen.port}/webhook/crowdstrike", content=body, headers=headers
            )
            answer = str(response.status_code)
        except httpx.TransportError as exc:
            answer = type(exc).__name__
        took = time.monotonic() - began
        rehearsal.longest_s[phase] = max(took, rehearsal.longest_s.get(phase, 0.0))
        rehearsal.answers[phase, chosen.kind, answer] += 1
        if answer == "202":
            rehearsal.accepted.add((tenant, raw_id))
            return
        turn += 1
        await asyncio.sleep(AGAIN_S)


async def _judged(rehearsal: Rehearsal, sent: int) -> int:
    connection = await asyncpg.connect(rehearsal.url)
    deadline = time.monotonic() + DRAIN_S
    while True:
        rows = await connection.fetch(_STORED)
        waiting = sum(not row["is_done"] for row in rows)
        if not waiting or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.5)
    await connection.close()
    stored = {(row["tenant_id"], row["raw_id"]) for row in rows}
    lost = len(rehearsal.accepted - stored)
    twice = sum(row["number"] - 1 for row in rows)
    for phase, longest in rehearsal.longest_s.items():
        print(f"{phase}: the longest answer took {longest:.2f} s")
        for (of, kind, answer), number in sorted(rehearsal.answers.items()):
            if of == phase:
                print(f"    {kind}: {answer} {number:,} times")
    for each in rehearsal.containers:
        logged = Counter(_troubles(each.log))
        print(f"container {each.kind}: logged {dict(logged) or 'no warning and no error'}")
    verified = [await asyncio.to_thread(_verified, rehearsal, tenant) for tenant in TENANTS]
    print(
        f"{sent} alerts sent, {len(rehearsal.accepted)} accepted, {lost} lost, {twice} stored "
        f"twice, {waiting} without a verdict; {sum(verified)} of {len(TENANTS)} chains verify"
    )
    return int(bool(lost or twice or waiting) or not all(verified))


def _troubles(log: Path) -> Iterator[str]:
    for line in log.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            found = json.loads(line)
            if found["level"] in ("warning", "error"):
                yield " ".join(str(found.get(name, "")) for name in ("event", "reason"))[:120]


def _verified(rehearsal: Rehearsal, tenant: str) -> bool:
    command = ["-m", "vyrox", "audit", "verify", "--links-only", "--live", tenant]
    environment = rehearsal.environment("new", rehearsal.directory)
    return not subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True
    ).returncode


if __name__ == "__main__":
    main()
