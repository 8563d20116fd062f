"""Measures what an alert, a page and an action cost: `python -m benchmarks.capacity`.

For each database: processor time by part, rows, bytes of the write-ahead log, and how much each
table grows with its indexes. What an idle service uses in the same time is taken off. The sizes in
`docs/scaling.md` are made of these figures by `benchmarks.model`.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import httpx

from benchmarks.clicks import PAGES, sign, wait_until
from benchmarks.console import filled
from benchmarks.console_beside import VIEWED, serving, sign_in
from benchmarks.metering import (
    IDLE_S,
    Meter,
    PostgresMeter,
    SqliteMeter,
    Used,
    postmaster,
    tree_cpu_s,
)
from benchmarks.model import Cost, Costs, table
from benchmarks.postgres import create
from benchmarks.servers import vyrox
from benchmarks.triage import send, signed_requests
from chaos.site import site
from tests.approvals.people import ORIGIN, Person
from tests.console.every_page import pages
from tests.console.filled_parts import Size
from tests.postgres import Postgres

SLOW: Final = 20
FAST: Final = 300
"""Alerts a second: each with a commit of its own, and many together."""

SECONDS: Final = 12
ACTIONS: Final = PAGES // 2
VIEWS: Final = 240
TABLES_SHOWN: Final = 9
SETTLED_S: Final = 120
SIZE: Final = replace(Size(), incidents=2_000, giant=2_000, tenants=5, hosts=200, others=500)


@dataclass
class Bench:
    """One database with a service on it."""

    name: str
    meter: Meter
    idle: Used | None = None

    def measure(self, what: str, count: int, run: Callable[[], None]) -> Used:
        """Run it, print what one of `count` has used, and return it."""
        if self.idle is None:
            # What an idle service uses is only to be seen over time.
            self.idle = self._used(lambda: time.sleep(IDLE_S)).each(IDLE_S)
            self._print("idle, a second", self.idle)
        began = time.monotonic()
        used = self._used(run).minus(self.idle, time.monotonic() - began).each(count)
        if isinstance(self.meter, SqliteMeter):
            used.wal = self._log(count, run)
        self._print(what, used)
        return used

    def _log(self, count: int, run: Callable[[], None]) -> float:
        """Run it again with a log that is kept; return how many bytes one of `count` has written.

        The processor time is that of the first run, in which the log is written back as always.
        """
        with self.meter.keeping_the_log():
            before = self.meter.wal()
            time.sleep(IDLE_S)  # as above, of the log
            idle = (self.meter.wal() - before) / IDLE_S
            before, began = self.meter.wal(), time.monotonic()
            run()
            written = self.meter.wal() - before - idle * (time.monotonic() - began)
        print(f"{self.name}: idle, a second: log {idle:.0f} bytes")
        return written / count

    def _used(self, run: Callable[[], None]) -> Used:
        before = self.meter.before()
        run()
        return self.meter.after().minus(before)

    def _print(self, what: str, used: Used) -> None:
        cpu = ", ".join(f"{part} {1000 * each:.2f}" for part, each in used.cpu_s.items())
        print(
            f"{self.name}: {what}: CPU ms {cpu}; rows {sum(used.rows.values()):.2f}, "
            f"grows {sum(used.bytes.values()):.0f} bytes, log {used.wal:.0f}; "
            f"load {os.getloadavg()[0]:.1f}"
        )
        largest = sorted(used.bytes.items(), key=lambda item: -item[1])
        for of, size in largest[:TABLES_SHOWN]:
            if size >= 1 or used.rows[of]:
                print(f"    {of:<22}{used.rows[of]:>8.2f} rows{size:>9.0f} bytes", flush=True)


@contextmanager
def _bench(
    name: str, pid: int, data: Path, server: Postgres | None, url: str | None
) -> Iterator[Bench]:
    if server is None or url is None:
        # Its Valkey is its child.
        service = {
            "service": lambda: tree_cpu_s(pid, children=False),
            "Valkey": lambda: tree_cpu_s(pid, children=True) - tree_cpu_s(pid, children=False),
        }
        yield Bench(name, SqliteMeter(data, service))
        return
    chief = postmaster(server)
    parts = {
        "service": lambda: tree_cpu_s(pid, children=False),
        "Valkey": lambda: tree_cpu_s(pid, children=True) - tree_cpu_s(pid, children=False),
        "PostgreSQL": lambda: tree_cpu_s(chief, children=True),
    }
    yield Bench(name, PostgresMeter(url, parts))


def alerts(name: str, server: Postgres | None, *, triage: bool) -> list[Used]:
    """Measure alerts, with the worker or without: one at a time, and many together."""
    found = []
    url = None if server is None else asyncio.run(create(server, f"capacity_{triage}".lower()))
    extra = {"TRIAGE_ENABLED": "true" if triage else "false"}
    with vyrox(url, extra=extra) as running:
        assert running.stores is not None  # noqa: S101  (Vyrox's own)
        stores = running.stores
        first = 0

        def offer(count: int, rate: int) -> Callable[[], None]:
            def run() -> None:
                nonlocal first
                requests = list(signed_requests(count, first=first))
                first += count
                sent = asyncio.run(send(running.addresses["webhook"], requests, rate))
                assert not sent.refused  # noqa: S101  (the figures would be of something else)
                while triage and stores.count("waiting alerts"):
                    time.sleep(0.5)  # another process judges; there is no event of that

            return run

        place = stores.data_dir
        with _bench(name, running.pid, place, server, url) as bench:
            offer(500, FAST)()  # the first alerts of a service take longer
            what = "alert with verdict and incident" if triage else "alert"
            for rate in (SLOW, FAST):
                count = SECONDS * rate
                found.append(bench.measure(f"{what}, {rate}/s", count, offer(count, rate)))
    return found


def views(name: str) -> Used:
    """Measure pages of the console, in a database of 42,000 alerts."""
    with (
        filled("sqlite" if name == "SQLite" else "postgresql", SIZE, None) as place,
        serving(place) as (settings, environment, pid),
    ):
        port = environment["CONSOLE_PORT"]
        known = pages()

        def look(count: int) -> Callable[[], None]:
            return lambda: asyncio.run(_look(count))

        async def _look(count: int) -> None:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers={"host": f"localhost:{port}"},
                timeout=60.0,
            ) as client:
                await sign_in(client, settings, place.found.tenants[0])
                for number in range(count):
                    path, case = VIEWED[number % len(VIEWED)]
                    response = await client.get(known[path][case](place.found, number))
                    response.raise_for_status()

        with _bench(name, pid, settings.data_dir, place.server, settings.database_url) as bench:
            look(24)()
            time.sleep(SETTLED_S)  # what a start leaves to do, and autovacuum after the filling
            return bench.measure("page", VIEWS, look(VIEWS))


async def actions(name: str, server: Postgres | None) -> Used:
    """Measure actions that a person approves with a passkey, until the vendor has confirmed."""
    url = None if server is None else await create(server, "capacity_actions")
    async with site(url) as here, here.database() as database:
        await here.give_credentials(database, "acme-corp")
        async with here.service(CONSOLE_ORIGIN=ORIGIN) as service:
            person = Person("acme-corp", "person")
            await person.enrol(database)
            async with person.browser(service.console_url) as browser:
                with _bench(name, service.process.pid, here.data_dir, server, url) as bench:

                    async def decide(count: int) -> None:
                        hosts = {here.vendor.add_host() for _ in range(count)}
                        for host in hosts:
                            proposal = await person.propose(database, host)
                            click = await sign(browser, proposal)
                            assert await click()  # noqa: S101  (else nothing is measured)
                        await wait_until(lambda: hosts <= here.vendor.changed_at.keys(), 30)
                        await asyncio.sleep(3)  # the state is read back

                    loop = asyncio.get_running_loop()

                    def run(count: int) -> Callable[[], None]:
                        return lambda: asyncio.run_coroutine_threadsafe(
                            decide(count), loop
                        ).result()

                    await asyncio.to_thread(run(4))
                    return await asyncio.to_thread(bench.measure, "action", ACTIONS, run(ACTIONS))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("SQLite", "PostgreSQL"), help="only this one")
    only = parser.parse_args().database
    for name in ("SQLite", "PostgreSQL"):
        if only in {None, name}:
            measure(name)


def measure(name: str) -> None:
    """Print the figures of one database, and what loads take by them."""
    view = views(name)
    server = Postgres(fsync=True) if name == "PostgreSQL" else None
    with server or nullcontext():
        alerts(name, server, triage=False)
        single, storm = alerts(name, server, triage=True)
        action = asyncio.run(actions(name, server))
    print(f"\n{table(Costs(*map(_cost, (single, storm, view, action))))}\n", flush=True)


def _cost(used: Used) -> Cost:
    kept = used.bytes["audit_log"]
    return Cost(
        cpu_ms=1000 * sum(used.cpu_s.values()),
        wal=used.wal,
        kept=kept,
        held=sum(used.bytes.values()) - kept,
    )


if __name__ == "__main__":
    main()
