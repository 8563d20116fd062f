"""Measures page views beside alerts: `python -m benchmarks.console_beside [--keep DIR]`.

The database of `benchmarks.console` is copied, and `vyrox serve` runs on the copy. For a minute,
500 alerts a second are offered to the tenant with half of the million alerts, while a person of
that tenant opens five pages a second. No alert may be refused, and none may wait longer than 5 s.
"""

import argparse
import asyncio
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import asyncpg
import httpx

from benchmarks.console import DATABASE, Place, filled
from benchmarks.servers import (
    free_ports,
    fresh_directory,
    started,
    vyrox_environment,
    wait_until_listening,
)
from benchmarks.stores import Stores
from benchmarks.triage import RATE, send, signed_requests
from chaos.part import quantile
from tests.console.every_page import pages
from tests.console.filled_parts import SECRET, Filled, Size
from vyrox.clock import wall_clock
from vyrox.console import links, viewers
from vyrox.console.sessions import COOKIE
from vyrox.settings import Settings
from vyrox.store.database import SQLITE_FILE, open_database

VIEWS: Final = 5
"""Pages a second."""

DRAIN_S: Final = 5.0

VIEWED: Final[Sequence[tuple[str, str]]] = (
    ("/", "all"),
    ("/incidents", "open"),
    ("/incidents/{incident_id}", ""),
    ("/alerts", "all"),
    ("/alerts", "user, common"),
    ("/alerts", "host"),
    ("/alerts/{alert_id}", ""),
    ("/devices/{tenant_id}/{host:path}", "number"),
    ("/audit", "all"),
    ("/reports", ""),
    ("/tenants/{tenant_id}", "the largest"),
    ("/quarantine", "all"),
)
"""The pages that are opened, in turn."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--incidents", type=int, default=Size.incidents, help="20 alerts each")
    parser.add_argument("--keep", type=Path, help="the directory of `benchmarks.console`")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only this one")
    parser.add_argument("--views", type=int, default=VIEWS, help="pages a second")
    arguments = parser.parse_args()
    size = replace(Size(), incidents=arguments.incidents)
    for name in ("sqlite", "postgresql"):
        if arguments.database in {None, name}:
            with filled(name, size, arguments.keep) as place:
                measure(place, arguments.seconds, arguments.views)


def measure(place: Place, seconds: int, views: int) -> None:
    """Print the figures of one database."""
    name = "PostgreSQL" if place.is_postgres else "SQLite"
    print(f"\n{views} pages a second beside {RATE} alerts a second, {name}", flush=True)
    with serving(place) as (settings, environment, _):
        asyncio.run(_offer(settings, environment, place.found, seconds, views))


@contextmanager
def serving(place: Place) -> Iterator[tuple[Settings, Mapping[str, str], int]]:
    """Run `vyrox serve` on a copy; yield its settings, its environment and its process."""
    with fresh_directory() as directory:
        url = None
        if place.is_postgres:
            url = asyncio.run(_copied(str(place.settings.database_url)))
        else:
            (directory / "data").mkdir()
            for each in place.settings.data_dir.glob(f"{SQLITE_FILE}*"):
                shutil.copy(each, directory / "data")
        os.sync()  # else the service's first commits wait until the copy is on the disk
        [port] = free_ports(1)
        environment = {
            **vyrox_environment(directory, url),
            "TRIAGE_ENABLED": "true",
            "VYROX_ENCRYPTION_KEY": place.settings.encryption_keys[0],
            "CONSOLE_PORT": str(port),
        }
        settings = Settings.from_env(environment)
        with started(["-m", "vyrox", "serve"], environment, directory) as pid:
            wait_until_listening([f"127.0.0.1:{each}" for each in (settings.ingestion_port, port)])
            yield settings, environment, pid


async def _copied(url: str) -> str:
    connection = await asyncpg.connect(url.replace(f"/{DATABASE}?", "/postgres?"))
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}_copy")
        await connection.execute(f"CREATE DATABASE {DATABASE}_copy TEMPLATE {DATABASE}")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return url.replace(f"/{DATABASE}?", f"/{DATABASE}_copy?")


async def _offer(
    settings: Settings, environment: Mapping[str, str], found: Filled, seconds: int, views: int
) -> None:
    stores = Stores(settings, 1, is_read=True)
    requests = list(signed_requests(RATE * seconds, found.tenants[0], SECRET))
    took: list[float] = []
    port = environment["CONSOLE_PORT"]
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"host": f"localhost:{port}"}, timeout=60.0
    ) as client:
        await sign_in(client, settings, found.tenants[0])
        address = f"127.0.0.1:{settings.ingestion_port}"
        oldest: list[float] = []
        watching = asyncio.create_task(_watch(stores, oldest))
        sent, _ = await asyncio.gather(
            send(address, requests), _view(client, found, seconds, views, took)
        )
        oldest.append(await asyncio.to_thread(stores.oldest_waiting_s))
        watching.cancel()
        await asyncio.sleep(DRAIN_S)
        waiting = await asyncio.to_thread(stores.count, "waiting alerts")
    print(
        f"{len(requests)} alerts: {sent.refused} refused, oldest waiting {max(oldest):.1f} s "
        f"(target 5), {waiting} waiting {DRAIN_S:.0f} s later; {len(took)} pages: "
        f"p50 {1000 * quantile(took or [0], 0.5):.0f} ms, "
        f"p99 {1000 * quantile(took or [0], 0.99):.0f} ms",
        flush=True,
    )


async def sign_in(client: httpx.AsyncClient, settings: Settings, tenant_id: str) -> None:
    """Let the client see what a person of the tenant sees."""
    now = wall_clock()
    name = f"viewer-{time.time_ns():x}"
    async with open_database(settings.database_url, settings.data_dir) as database:
        await database.write(viewers.add, tenant_id, name, None, "operator", now)
        secret, _ = await database.write(links.make, name, (), now)
    origin = f"http://{client.headers['host']}"
    response = await client.post("/link", data={"secret": secret}, headers={"origin": origin})
    cookie = response.headers["set-cookie"].partition(";")[0].partition("=")[2]
    client.headers["cookie"] = f"{COOKIE}={cookie}"
    client.cookies.clear()


async def _view(
    client: httpx.AsyncClient, found: Filled, seconds: int, views: int, took: list[float]
) -> None:
    """Open so many pages a second, whatever the responses."""
    known = pages()
    began = time.monotonic()

    async def one(number: int) -> None:
        await asyncio.sleep(max(0.0, began + number / views - time.monotonic()))
        path, case = VIEWED[number % len(VIEWED)]
        at = time.monotonic()
        response = await client.get(known[path][case](found, number))
        response.raise_for_status()
        took.append(time.monotonic() - at)

    await asyncio.gather(*(one(number) for number in range(views * seconds)))


async def _watch(stores: Stores, oldest: list[float]) -> None:
    while True:
        await asyncio.sleep(1)
        oldest.append(await asyncio.to_thread(stores.oldest_waiting_s))


if __name__ == "__main__":
    main()
