"""`/execute` with the service killed at the worst moments (contract 19, 22, 23, 27, 30 and 32).

The vendor stops in the middle of a call, and there the service is killed. Then it starts again, and
the caller repeats the request. Each action must have one entry before it and one outcome after it,
and must not be repeated if the repetition could do harm.
"""

import asyncio
import resource
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import httpx
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection

from tests import audit
from tests.conftest import ready_postgres_database
from tests.polling import until
from tests.postgres import Postgres
from tests.proxy import (
    NOWHERE,
    TENANT,
    Fields,
    Proxied,
    encoded,
    export_headers,
    proxied,
    signed,
    wanted,
)
from tests.service import HMAC_SECRET, Service, running_service
from tests.vendor import FakeVendor, add_alert, give_credentials
from vyrox.settings import Settings
from vyrox.store.database import Database, open_database
from vyrox.store.tables import claims, devices

EXECUTED: Final = {"status": "executed", "dry_run": False}
REPLAYED: Final = {"status": "replayed", "dry_run": False}
SENDERS: Final = 16
KEY: Final = Fernet.generate_key().decode()


class Site:
    """A service's database and its vendor's record, read from outside the service."""

    def __init__(self, data_dir: Path, database_url: str | None) -> None:
        self.settings = Settings(
            hmac_secret=HMAC_SECRET,
            data_dir=data_dir,
            database_url=database_url,
            redis_url=NOWHERE,
            dry_run=False,
            encryption_keys=(KEY,),
        )
        self._calls = data_dir / "calls"
        self._environment = {
            "DRY_RUN": "false",
            "PATIENT_STORES": "true",
            "REDIS_URL": NOWHERE,
            "VENDOR_CALLS": str(self._calls),
            "VYROX_ENCRYPTION_KEY": KEY,
        }
        if database_url is not None:
            self._environment["DATABASE_URL"] = database_url.replace("+asyncpg", "")

    @asynccontextmanager
    async def service(
        self, stops: str = "", data_dir: Path | None = None, **extra: str
    ) -> AsyncIterator[Service]:
        """Run the service. Its vendor stops `before` or `after` it has acted, or never."""
        async with self._database(None) as database:
            await give_credentials(database, [TENANT], vault=MultiFernet([Fernet(KEY)]))
            await add_alert(database, TENANT, "alt_abc123")
        async with running_service(
            data_dir or self.settings.data_dir,
            *("-m", "tests.acting_service"),
            **{**self._environment, "VENDOR_STOPS": stops, **extra},
        ) as service:
            yield service

    def calls(self) -> list[tuple[str, str]]:
        """Return (host, hash of the entry) of each call of the vendor."""
        if not self._calls.exists():
            return []
        lines = self._calls.read_text().splitlines()
        return [(host, entry) for host, entry in (line.split() for line in lines)]

    @asynccontextmanager
    async def _database(self, opened: Proxied | None) -> AsyncIterator[Database]:
        if opened is not None:
            yield opened.database
            return
        async with open_database(self.settings.database_url, self.settings.data_dir) as database:
            yield database

    async def entries(self, opened: Proxied | None = None) -> list[audit.Entry]:
        """Return the tenant's actions, verified from the first one on."""
        async with self._database(opened) as database:
            return await audit.entries(database, TENANT)

    async def outcomes(self, opened: Proxied | None = None) -> list[tuple[object, object]]:
        """Return (hash of the entry, outcome) of each outcome event, in order."""
        async with self._database(opened) as database:
            found = await audit.events(database, TENANT, "execute.outcome")
        return [(event["entry"], event["outcome"]) for event in found]

    async def expire(self, opened: Proxied | None = None, **columns: float) -> None:
        """Set columns of every claim to the past, as if time had passed."""
        async with self._database(opened) as database:
            await database.write(_change_claims, columns)

    async def states(self, opened: Proxied | None = None) -> list[str]:
        """Return the state of every claim."""
        async with self._database(opened) as database:
            return await database.read(_states)


def _change_claims(connection: Connection, columns: dict[str, float]) -> None:
    connection.execute(claims.update().values(columns))
    if "lease_until" in columns:
        connection.execute(devices.update().values(lease_until=columns["lease_until"]))


def _states(connection: Connection) -> list[str]:
    return list(connection.execute(sa.select(claims.c.state)).scalars())


@pytest.fixture
def site(data_dir: Path, database_url: str | None) -> Site:
    return Site(data_dir, database_url)


@pytest.fixture
def sqlite_site(data_dir: Path) -> Site:
    return Site(data_dir, None)


@asynccontextmanager
async def client_of(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.proxy_url, timeout=20) as client:
        yield client


async def ask(client: httpx.AsyncClient, fields: Fields) -> httpx.Response:
    body = encoded(fields)
    return await client.post("/execute", content=body, headers=signed(body))


def again(fields: Fields) -> Fields:
    """Return a retry, which is signed again."""
    return {**wanted(), **fields, "approved_at": wanted()["approved_at"]}


async def killed_in_the_call(service: Service, fields: Fields) -> None:
    """Kill -9 the service during its call of the vendor."""
    async with client_of(service) as client:
        asking = asyncio.create_task(ask(client, fields))
        await service.wait_for("vendor.stopped")
        service.signal(signal.SIGKILL)
        await service.ended()
        await asyncio.wait([asking])
        assert isinstance(asking.exception(), httpx.TransportError)  # the caller got no response


async def check_after_the_kill(site: Site, stops: str, action: str) -> None:
    fields = wanted(action_type=action)
    async with site.service(stops) as service:
        await killed_in_the_call(service, fields)
    [entry] = await site.entries()
    acted = [(fields["host"], entry["hash"])] * (stops == "after")
    assert site.calls() == acted
    assert await site.outcomes() == []

    vendor = FakeVendor()
    async with proxied(site.settings, vendor) as running:
        # While the attempt may still be running, no other attempt acts.
        assert (await running.execute(again(fields))).status_code == 409
        assert (await running.execute(again({**fields, "host": "another"}))).status_code == 422
    await site.expire(lease_until=0)
    unknown = (entry["hash"], "outcome_unknown")
    async with proxied(site.settings, vendor) as running:

        async def is_unknown() -> bool:
            return await site.outcomes(running) == [unknown]

        await until(is_unknown)
        if action == "PROCESS_KILL":
            assert (await running.execute(again(fields))).status_code == 409
            await site.expire(running, expires_at=0)
        assert vendor.asked == []
        assert (await running.execute(again(fields))).json() == EXECUTED
        assert (await running.execute(again(fields))).json() == REPLAYED
    first, second = await site.entries()
    assert first == entry
    assert await site.outcomes() == [unknown, (second["hash"], "confirmed")]
    assert [receipt.hash for _, _, receipt in vendor.asked] == [second["hash"]]


@pytest.mark.parametrize(
    ("stops", "action"),
    [
        pytest.param("before", "HOST_ISOLATION", id="before_an_isolation", marks=pytest.mark.long),
        pytest.param("after", "PROCESS_KILL", id="after_a_kill"),
    ],
)
async def test_killed_in_a_call_of_the_vendor_contract_22(
    sqlite_site: Site, stops: str, action: str
) -> None:
    """Killed between the commit and the act, and between the act and its record.

    Vyrox cannot distinguish them. The entry exists in both cases. An isolation may be repeated, a
    kill not for 600 s.
    """
    await check_after_the_kill(sqlite_site, stops, action)


@pytest.mark.long
async def test_killed_in_a_call_of_the_vendor_on_postgresql_contract_22(
    data_dir: Path, postgres: Postgres
) -> None:
    site = Site(data_dir, await ready_postgres_database(postgres))
    await check_after_the_kill(site, "after", "HOST_ISOLATION")


async def send_until_killed(
    service: Service, acknowledged: set[str], wanted_by_host: dict[str, Fields], enough: int
) -> None:
    """Request many actions; kill -9 the service when enough were acknowledged."""
    numbers = count()

    async def send(client: httpx.AsyncClient) -> None:
        while True:
            host = f"host-{next(numbers)}"
            wanted_by_host[host] = wanted(host=host)
            try:
                answer = await ask(client, wanted_by_host[host])
            except httpx.TransportError:
                return
            assert (answer.status_code, answer.json()) == (200, EXECUTED)
            acknowledged.add(host)
            if len(acknowledged) == enough:
                service.signal(signal.SIGKILL)

    async with client_of(service) as client:
        await asyncio.gather(*(send(client) for _ in range(SENDERS)))
    assert await service.ended() == -signal.SIGKILL


@pytest.mark.long
async def test_killed_under_load_contract_27(site: Site) -> None:
    """Every acknowledged action has exactly one entry, and every entry has an outcome."""
    acknowledged: set[str] = set()
    wanted_by_host: dict[str, Fields] = {}
    async with site.service() as service:
        await send_until_killed(service, acknowledged, wanted_by_host, enough=100)
    entries = await site.entries()
    hosts = {str(entry["hash"]): str(entry["host"]) for entry in entries}
    assert set(Counter(hosts.values()).values()) == {1}
    assert acknowledged <= set(hosts.values()) <= set(wanted_by_host)
    # The audit log has an entry for each action; it may have more.
    called = {hosts[entry] for _, entry in site.calls()}
    assert acknowledged <= called
    assert max(Counter(site.calls()).values()) == 1

    await site.expire(lease_until=0)
    vendor = FakeVendor()
    async with proxied(site.settings, vendor) as running:

        async def settled() -> bool:
            return "in_flight" not in await site.states(running)

        await until(settled)
        outcomes = dict(await site.outcomes(running))
        assert set(outcomes) == set(hosts)
        assert set(outcomes.values()) <= {"confirmed", "outcome_unknown"}
        for host, fields in wanted_by_host.items():
            recorded = {outcomes[entry] for entry in hosts if hosts[entry] == host}
            answer = await running.execute(again(fields))
            assert answer.json() == (REPLAYED if recorded == {"confirmed"} else EXECUTED)
            assert host not in acknowledged or recorded == {"confirmed"}
    after = await site.entries()
    assert after[: len(entries)] == entries
    assert len(after) == len(entries) + len(vendor.asked)
    assert len(await site.outcomes()) == len(after)


@pytest.mark.long
async def test_two_services_on_one_chain_neither_fork_nor_fail_contract_30(
    data_dir: Path, postgres: Postgres
) -> None:
    """Both get every request. One carries it out; the other never responds with 500."""
    site = Site(data_dir, await ready_postgres_database(postgres))
    second = data_dir / "second"
    second.mkdir()
    hosts = [f"host-{number}" for number in range(150)]
    answers: dict[str, list[httpx.Response]] = {}
    async with AsyncExitStack() as stack:
        clients = []
        for directory in (data_dir, second):
            service = await stack.enter_async_context(site.service(data_dir=directory))
            clients.append(await stack.enter_async_context(client_of(service)))
        waiting = iter(hosts)

        async def send() -> None:
            for host in waiting:
                fields = wanted(host=host)  # approved now: an approval is good for 30 s
                answers[host] = await asyncio.gather(*(ask(client, fields) for client in clients))

        await asyncio.gather(*(send() for _ in range(SENDERS)))
    assert len(answers) == len(hosts)
    for both in answers.values():
        assert {answer.status_code for answer in both} <= {200, 409}
        assert [answer.json() for answer in both].count(EXECUTED) == 1
    entries = await site.entries()
    assert Counter(entry["host"] for entry in entries) == Counter(answers.keys())
    hashes = [entry["hash"] for entry in entries]
    assert sorted(entry for _, entry in site.calls()) == sorted(map(str, hashes))
    assert dict(await site.outcomes()) == dict.fromkeys(hashes, "confirmed")


@pytest.mark.long
async def test_full_disk_stops_actions_and_nothing_else_contract_32(sqlite_site: Site) -> None:
    """No entry, so no action. The export works, and so does all else once there is space."""
    fields = wanted()
    async with sqlite_site.service() as service, client_of(service) as client:
        assert (await ask(client, wanted())).status_code == 200
        limits = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1, limits[1]))
        for _ in range(2):
            refused = await ask(client, fields)
            assert (refused.status_code, refused.json()) == (500, {"detail": "internal error"})
        exported = await client.get(
            "/audit/export", params={"tenant_id": TENANT}, headers=export_headers()
        )
        assert (exported.status_code, len(exported.json())) == (200, 1)
        assert (await client.get("/health")).status_code == 200
        assert len(sqlite_site.calls()) == 1
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, limits)

        async def carried_out() -> bool:
            answer = await ask(client, again(fields))
            assert answer.status_code in {200, 500}
            return answer.status_code == 200

        await until(carried_out)
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    hashes = [entry["hash"] for entry in await sqlite_site.entries()]
    assert [entry for _, entry in sqlite_site.calls()] == hashes
    assert await sqlite_site.outcomes() == [(entry, "confirmed") for entry in hashes]


async def test_sigterm_waits_for_the_action_and_its_record_contract_23(
    sqlite_site: Site,
) -> None:
    """The vendor never responds, so the deadline ends the call, and the outcome is recorded."""
    fields = wanted()
    async with sqlite_site.service("after", EDR_DEADLINE_SECONDS="1") as service:
        async with client_of(service) as client:
            asking = asyncio.create_task(ask(client, fields))
            await service.wait_for("vendor.stopped")
            service.signal(signal.SIGTERM)
            answer = await asking
        assert (answer.status_code, answer.json()) == (502, {"detail": "vendor error"})
        assert await service.ended() == 0
    [entry] = await sqlite_site.entries()
    assert await sqlite_site.outcomes() == [(entry["hash"], "outcome_unknown")]
    assert await sqlite_site.states() == []


@pytest.mark.long
async def test_sigterm_finishes_what_was_accepted_under_load_contract_23(
    sqlite_site: Site,
) -> None:
    """Every accepted request gets its response."""
    answers: list[httpx.Response] = []
    numbers = count()
    async with sqlite_site.service() as service:

        async def send(client: httpx.AsyncClient) -> None:
            with suppress(httpx.TransportError):  # when the service accepts no more requests
                while True:
                    answers.append(await ask(client, wanted(host=f"host-{next(numbers)}")))
                    if len(answers) == 50:
                        service.signal(signal.SIGTERM)

        async with client_of(service) as client:
            await asyncio.gather(*(send(client) for _ in range(SENDERS)))
        assert await service.ended() == 0
    assert {answer.status_code for answer in answers} == {200}
    entries = await sqlite_site.entries()
    assert len(entries) == len(answers) == len(sqlite_site.calls())
    assert dict(await sqlite_site.outcomes()) == dict.fromkeys(
        (entry["hash"] for entry in entries), "confirmed"
    )
