"""Runs several containers on one PostgreSQL and one Valkey: `python -m benchmarks.scale_out`.

Each container is a `vyrox serve` of its own. Alerts of five tenants go to all of them in turn, each
20th one to two of them at nearly the same time; people open pages at all of them; each action is
asked for at two of them at once. Afterwards nothing may be lost or stored twice, each action
must have happened once at the vendor, and every chain must verify.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import asyncpg
import httpx
from cryptography.fernet import Fernet

from benchmarks.console_beside import sign_in
from benchmarks.load import HMAC_SECRET
from benchmarks.metering import postmaster, tree_cpu_s
from benchmarks.postgres import create
from benchmarks.servers import (
    ROOT,
    free_ports,
    fresh_directory,
    started,
    vyrox_environment,
    wait_until_listening,
)
from benchmarks.stores import onboard
from benchmarks.triage import Sent, send, signed_requests
from chaos.part import quantile
from chaos.valkey import Valkey
from chaos.vendor import Vendor, vendor
from tests.postgres import Postgres
from tests.proxy import encoded, signed, wanted
from vyrox.clock import wall_clock
from vyrox.settings import Settings
from vyrox.store.database import open_database

TENANTS: Final = tuple(f"bench-{number}" for number in range(5))
AGAIN_EVERY: Final = 20
VIEWS: Final = 2
ACTIONS: Final = 1
"""Pages and actions a second."""

ORIGIN: Final = "http://localhost:8002"
PAGES: Final = ("/", "/incidents", "/alerts", "/audit")
WARM_UP_RATE: Final = 32
LOOK_S: Final = 0.1
DRAIN_S: Final = 20.0

_OLDEST: Final = "SELECT min(received_at) FROM alerts WHERE finished_at IS NULL"
_LOCKED: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = "
    "'advisory'"
)
_STORED: Final = "SELECT tenant_id, raw_id, count(*) AS number FROM alerts GROUP BY 1, 2"


@dataclass
class Found:
    """What was seen."""

    oldest_s: list[float] = field(default_factory=list)
    locked: list[int] = field(default_factory=list)
    views_s: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    hosts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where everything is."""

    server: Postgres
    url: str
    valkey: Valkey
    valkey_pid: int
    at_vendor: Vendor
    containers: Sequence[tuple[Settings, int]]
    environment: Mapping[str, str]

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time of each part."""
        return {
            **{
                f"container {number}": tree_cpu_s(pid, children=True)
                for number, (_, pid) in enumerate(self.containers, 1)
            },
            "PostgreSQL": tree_cpu_s(postmaster(self.server), children=True),
            "Valkey": tree_cpu_s(self.valkey_pid, children=False),
            "load": time.process_time(),
        }


def main() -> None:
    """Print a line for each number of containers and each rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--containers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rates", type=int, nargs="+", default=[60, 120, 200])
    arguments = parser.parse_args()
    with Postgres(fsync=True) as server:
        for containers in arguments.containers:
            for rate in arguments.rates:
                asyncio.run(_measure(server, containers, rate, arguments.seconds))


async def _measure(server: Postgres, containers: int, rate: int, seconds: int) -> None:
    async with _running(server, f"scale_{containers}_{rate}", containers) as place:
        requests = offered(rate * seconds)
        found = Found()
        addresses = [f"127.0.0.1:{each.ingestion_port}" for each, _ in place.containers]
        await _warm_up(addresses)
        watching = asyncio.create_task(_watch(place.url, found))
        before, began = place.cpu_s(), time.monotonic()
        sent, *_ = await asyncio.gather(
            send(addresses, [(None, body) for _, _, body in requests], rate),
            _view(place, seconds, found),
            _act(place, seconds, found),
        )
        took = time.monotonic() - began
        cpu = {name: (used - before[name]) / took for name, used in place.cpu_s().items()}
        drained = await _drained(place.url)
        watching.cancel()
        print(
            f"\n{containers} containers, {rate} alerts/s for {seconds} s, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        print("  " + await _judged(place, requests, sent, found))
        print(
            f"  answers p50 {1000 * quantile(sent.took, 0.5):.0f}, "
            f"p99 {1000 * quantile(sent.took, 0.99):.0f} ms; oldest waiting "
            f"{max(found.oldest_s):.1f} s, none {drained:.1f} s after the end; pages p50 "
            f"{1000 * quantile(found.views_s, 0.5):.0f}, "
            f"p99 {1000 * quantile(found.views_s, 0.99):.0f} ms; "
            f"waiting for a chain {sum(found.locked) / len(found.locked):.2f} on average, "
            f"{max(found.locked)} at most"
        )
        print(
            "  processors: " + ", ".join(f"{name} {used:.2f}" for name, used in cpu.items()),
            flush=True,
        )


async def _warm_up(addresses: Sequence[str]) -> None:
    """Send some alerts first: the first ones of a new container take longer, and may be refused."""
    requests = list(signed_requests(5 * WARM_UP_RATE, TENANTS[0], first=10**6))
    await send(addresses, requests, WARM_UP_RATE)


def offered(count: int) -> list[tuple[str, str, bytes]]:
    """Return tenant, the vendor's id, and the bytes of so many requests, repeated ones included."""
    each = [
        [
            (tenant, f"ldt:{number}", body)
            for number, (_, body) in enumerate(signed_requests(count // len(TENANTS) + 1, tenant))
        ]
        for tenant in TENANTS
    ]
    requests: list[tuple[str, str, bytes]] = []
    for number, request in enumerate(chain.from_iterable(zip(*each, strict=True))):
        requests += [request] * (2 if number % AGAIN_EVERY == 0 else 1)
    return requests[:count]


@asynccontextmanager
async def _running(server: Postgres, name: str, containers: int) -> AsyncIterator[Place]:
    url = await create(server, name)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(fresh_directory())
        valkey = Valkey(directory / "valkey")
        await valkey.start()
        stack.push_async_callback(valkey.kill)
        at_vendor = await stack.enter_async_context(vendor())
        key = Fernet.generate_key().decode()
        same = {
            **at_vendor.environment,
            "REDIS_URL": valkey.url,
            "VYROX_ENCRYPTION_KEY": key,
            "TRIAGE_ENABLED": "true",
            "CONSOLE_ORIGIN": ORIGIN,
        }
        running = []
        environment: dict[str, str] = {}
        for number in range(containers):
            place = directory / str(number)
            place.mkdir()
            [console] = free_ports(1)
            environment = {**vyrox_environment(place, url), **same, "CONSOLE_PORT": str(console)}
            settings = Settings.from_env(environment)
            if number == 0:
                await asyncio.to_thread(onboard, settings, len(TENANTS))
                async with open_database(url, settings.data_dir) as database:
                    for tenant in TENANTS:
                        await at_vendor.give_credentials(database, tenant, key)
            pid = stack.enter_context(started(["-m", "vyrox", "serve"], environment, place))
            wait_until_listening([f"127.0.0.1:{settings.ingestion_port}", f"127.0.0.1:{console}"])
            running.append((settings, pid))
        await asyncio.sleep(3)  # what a start leaves to do
        yield Place(server, url, valkey, valkey.pid, at_vendor, running, environment)


async def _watch(url: str, found: Found) -> None:
    connection = await asyncpg.connect(url)
    number = 0
    try:
        while True:
            await asyncio.sleep(LOOK_S)
            found.locked.append(await connection.fetchval(_LOCKED))
            number += 1
            if number % 10 == 0:
                oldest = await connection.fetchval(_OLDEST)
                found.oldest_s.append(0.0 if oldest is None else wall_clock() - oldest)
    finally:
        await connection.close()


async def _drained(url: str) -> float:
    """Return how long it took until no alert waited."""
    connection = await asyncpg.connect(url)
    began = time.monotonic()
    while (  # noqa: ASYNC110  (of other processes)
        await connection.fetchval(_OLDEST) and time.monotonic() < began + DRAIN_S
    ):
        await asyncio.sleep(LOOK_S)
    await connection.close()
    return time.monotonic() - began


async def _view(place: Place, seconds: int, found: Found) -> None:
    """Open pages at all containers in turn, with one session."""
    async with httpx.AsyncClient(
        headers={"host": ORIGIN.removeprefix("http://")}, timeout=30.0, trust_env=False
    ) as client:
        settings, _ = place.containers[0]
        client.base_url = httpx.URL(f"http://127.0.0.1:{settings.console_port}")
        await sign_in(client, settings, TENANTS[0])
        began = time.monotonic()
        for number in range(VIEWS * seconds):
            await asyncio.sleep(max(0.0, began + number / VIEWS - time.monotonic()))
            settings, _ = place.containers[number % len(place.containers)]
            at = time.monotonic()
            response = await client.get(
                f"http://127.0.0.1:{settings.console_port}{PAGES[number % len(PAGES)]}"
            )
            response.raise_for_status()
            found.views_s.append(time.monotonic() - at)


async def _act(place: Place, seconds: int, found: Found) -> None:
    """Ask for each action at two containers at once."""
    async with httpx.AsyncClient(timeout=30.0, trust_env=False) as client:
        for number in range(ACTIONS * seconds):
            host = place.at_vendor.add_host()
            tenant = TENANTS[number % len(TENANTS)]
            body = encoded(wanted(tenant_id=tenant, host=host))
            headers = signed(body, HMAC_SECRET)
            asked = [place.containers[(number + n) % len(place.containers)][0] for n in (0, 1)]
            answers = await asyncio.gather(
                *(
                    client.post(
                        f"http://127.0.0.1:{each.proxy_port}/execute", content=body, headers=headers
                    )
                    for each in asked
                )
            )
            found.hosts.append(host)
            found.answers.update(str(each.status_code) for each in answers)
            await asyncio.sleep(1 / ACTIONS)


async def _judged(
    place: Place, requests: Sequence[tuple[str, str, bytes]], sent: Sent, found: Found
) -> str:
    """Return what is stored for what was accepted."""
    connection = await asyncpg.connect(place.url)
    rows = {
        (row["tenant_id"], row["raw_id"]): row["number"] for row in await connection.fetch(_STORED)
    }
    await connection.close()
    accepted = {requests[number][:2] for number in sent.accepted}
    lost = [each for each in accepted if each not in rows]
    twice = sum(number - 1 for number in rows.values())
    effects: Counter[str] = place.at_vendor.effects
    wrong = [host for host in found.hosts if effects[host] != 1]
    verified = [await asyncio.to_thread(_verified, place, tenant) for tenant in TENANTS]
    return (
        f"{len(requests)} deliveries of {len({each[:2] for each in requests})} alerts: "
        f"{sent.refused} refused, {len(lost)} lost, {twice} stored twice; {len(found.hosts)} "
        f"actions, each asked for twice: {len(wrong)} not once at the vendor, answers "
        f"{dict(found.answers)}; {sum(verified)} of {len(verified)} tenants' chains verify"
    )


def _verified(place: Place, tenant: str) -> bool:
    command: list[Any] = [
        sys.executable,
        "-m",
        "vyrox",
        "audit",
        "verify",
        "--links-only",
        "--live",
    ]
    environment = {"PATH": os.environ["PATH"], **place.environment}
    done = subprocess.run([*command, tenant], cwd=ROOT, env=environment, capture_output=True)
    if done.returncode:
        print(done.stdout.decode() + done.stderr.decode())
    return done.returncode == 0


if __name__ == "__main__":
    main()
