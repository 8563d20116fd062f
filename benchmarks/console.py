"""Measures the processor time of the console's pages: `python -m benchmarks.console`.

It fills a database with 1,000,000 alerts, 50,000 incidents and 100 tenants, of which the first has
half of everything, and asks for every page in process, with the session of a person who sees the
first tenant and with that of a person who sees all. The time is that of this process, and with
PostgreSQL of the server's as well. `--keep DIR` keeps the databases for the next run.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy import Connection
from starlette.applications import Starlette

from benchmarks.load import HMAC_SECRET
from benchmarks.servers import fresh_directory
from tests.console.every_page import UNMEASURED, Address, pages
from tests.console.filled import fill
from tests.console.filled_parts import Filled, Size
from tests.console.running import Running, quiet
from tests.postgres import Postgres
from tests.vendor import give_credentials
from vyrox.clock import wall_clock
from vyrox.console import viewers
from vyrox.console.sessions import COOKIE, begin
from vyrox.serve import COLLECTOR_THRESHOLDS
from vyrox.settings import Settings
from vyrox.store.database import open_database
from vyrox.store.encryption import open_vault
from vyrox.store.tables import passkeys

TARGET_MS: Final = 50.0
REQUESTS: Final = 200
WARM_UP: Final = 3
BUSY: Final = 503
DATABASE: Final = "console"


@dataclass(frozen=True)
class Place:
    """Where one filled database is, and what is in it."""

    settings: Settings
    found: Filled
    server: Postgres | None

    @property
    def is_postgres(self) -> bool:
        """Whether it is in PostgreSQL."""
        return self.server is not None


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="for each page")
    parser.add_argument("--incidents", type=int, default=Size.incidents, help="20 alerts each")
    parser.add_argument("--keep", type=Path, help="a directory for the databases")
    parser.add_argument("--only", default="", help="pages whose path contains this")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only this one")
    parser.add_argument("--all", action="store_true", help="print every line, not the slow ones")
    arguments = parser.parse_args()
    size = replace(Size(), incidents=arguments.incidents)
    for name in ("sqlite", "postgresql"):
        if arguments.database in {None, name}:
            with filled(name, size, arguments.keep) as place:
                asyncio.run(measure(place, arguments.requests, arguments.only, arguments.all))


@contextmanager
def filled(name: str, size: Size, keep: Path | None) -> Iterator[Place]:
    """Fill a database, or find that of an earlier run."""
    with fresh_directory() as fresh:
        directory = (keep or fresh).resolve() / f"{name}-{size.incidents}"
        directory.mkdir(parents=True, exist_ok=True)
        if name == "sqlite":
            yield asyncio.run(_filled(directory, size))
            return
        with Postgres(fsync=True, directory=directory / "server") as server:
            asyncio.run(_create(server.url("postgres")))
            yield asyncio.run(_filled(directory, size, server))


async def _create(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetch("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        # Else a query may run in processes of its own, whose time is not counted.
        await connection.execute("ALTER SYSTEM SET max_parallel_workers_per_gather = 0")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


async def _filled(directory: Path, size: Size, server: Postgres | None = None) -> Place:
    url = None if server is None else server.url(DATABASE)
    key = directory / "key"
    if not key.exists():
        key.write_bytes(Fernet.generate_key())
    data = directory / "data"
    data.mkdir(exist_ok=True)
    settings = Settings(
        hmac_secret=HMAC_SECRET,
        data_dir=data,
        database_url=url,
        triage_enabled=False,
        encryption_keys=(key.read_bytes().decode(),),
    )
    notes = directory / "filled"
    if not notes.exists():
        began = time.perf_counter()
        vault = open_vault(settings.encryption_keys, data)
        async with open_database(url, data) as database:
            found = await fill(database, vault, size, wall_clock())
            await give_credentials(database, found.tenants, vault=vault)
            await database.write(_settle, timeout_s=600.0)
        notes.write_bytes(msgspec.json.encode(found))
        print(f"filled in {time.perf_counter() - began:.0f} s", flush=True)
    found = msgspec.json.decode(notes.read_bytes(), type=Filled)
    return Place(settings, found, server)


def _settle(connection: Connection) -> None:
    """Give PostgreSQL its statistics, as its autovacuum does after a while."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE")


async def people(running: Running, found: Filled) -> dict[str, str]:
    """Return the session of a person of one tenant, and that of one who sees all of them."""
    first, *others = found.tenants
    sessions = {"1 tenant": await _session(running, "solo", first, ())}
    sessions[f"{len(found.tenants)} tenants"] = await _session(running, "wide", first, others)
    return sessions


async def _session(running: Running, name: str, tenant_id: str, others: Sequence[str]) -> str:
    """Begin a session of an approver with a passkey, who is made in the first run."""
    query = sa.select(passkeys.c.credential_id).where(passkeys.c.approver == name)
    key = await running.database.read(lambda connection: connection.execute(query).scalar())
    now = wall_clock()
    if key is None:
        browser = await running.person(name, tenant_id)
        for each in others:
            await running.database.write(viewers.add, each, name, tenant_id, "operator", now)
        return browser.client.cookies[COOKIE]
    return await running.database.write(begin, tenant_id, name, key, now)


def _settle_interpreter() -> None:
    """Collect garbage as seldom as the service does."""
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    gc.collect()
    gc.freeze()


async def measure(place: Place, requests: int, only: str, everything: bool) -> None:
    """Print the processor time of every page."""
    name = "PostgreSQL" if place.is_postgres else "SQLite"
    print(f"\nthe console, {name}, {requests} requests of each page", flush=True)
    async with quiet(place.settings) as running:
        for person, cookie in (await people(running, place.found)).items():
            found = place.found
            if person == "1 tenant":
                found = msgspec.structs.replace(found, tenants=found.tenants[:1])
            slow = 0
            for path, addresses in pages().items():
                if path in UNMEASURED or only not in path:
                    continue
                for case, address in addresses.items():
                    servers = await _servers(running) if place.is_postgres else []
                    took = await _times(running, address, found, cookie, requests, servers)
                    slow += took[-1] > TARGET_MS
                    if everything or took[-1] > TARGET_MS / 2:
                        print(_line(person, path, case, took), flush=True)
            print(f"{person}: {slow} pages are over {TARGET_MS:.0f} ms", flush=True)


def _line(person: str, path: str, case: str, took: Sequence[float]) -> str:
    p50, p99 = took
    name = f"{path} ({case})" if case else path
    mark = "  OVER" if p99 > TARGET_MS else ""
    return f"{person:<12} {name:<64} p50 {p50:6.1f}  p99 {p99:6.1f} ms{mark}"


async def _times(
    running: Running,
    address: Address,
    found: Filled,
    cookie: str,
    requests: int,
    servers: Sequence[Path],
) -> tuple[float, float]:
    took: list[float] = []
    app = running.app.state.console_app
    for number in range(-WARM_UP, requests):
        if number == 0:
            _settle_interpreter()
        url = address(found, abs(number))
        try:
            began = _used_s(servers)
            status = await ask(app, url, cookie)
            used = _used_s(servers) - began
        except OSError:  # a connection of the pool was closed, and its server's process has ended
            servers = await _servers(running)
            continue
        if status == BUSY:  # the machine did not let it end in time; it does not count
            print(f"  {url} was answered with {status}", flush=True)
            continue
        if status not in {200, 303}:
            raise SystemExit(f"benchmark: {url} was answered with {status}")
        if number >= 0:
            took.append(1000 * used)
    took.sort()
    return took[len(took) // 2], took[min(len(took) - 1, int(0.99 * len(took)))]


async def ask(app: Starlette, url: str, cookie: str) -> int:
    """Ask for a page as a browser does, and return the status."""
    path, _, query = url.partition("?")
    statuses: list[int] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [
            (b"host", b"localhost:8002"),
            (b"cookie", f"{COOKIE}={cookie}".encode()),
            (b"sec-fetch-site", b"same-origin"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8002),
        "state": {},
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    return statuses[0]


async def _servers(running: Running) -> list[Path]:
    """Return where the times of PostgreSQL's processes for Vyrox are."""
    query = sa.text("SELECT pid FROM pg_stat_activity WHERE application_name = 'vyrox'")
    found = await running.database.read(_pids, query)
    return [Path(f"/proc/{pid}/schedstat") for pid in found]


def _used_s(servers: Sequence[Path]) -> float:
    """Return the processor time of this process and of the servers'; raise OSError if one ended."""
    return time.process_time() + sum(int(each.read_text().split()[0]) for each in servers) / 1e9


def _pids(connection: Connection, query: sa.TextClause) -> list[int]:
    return list(connection.execute(query).scalars())


if __name__ == "__main__":
    main()
