"""kill -9 of the service while it judges alerts: at each step of triage, and at random moments.

Contract 52, 54, 55 and 58. On SQLite, and on PostgreSQL with two containers at once, of which one
dies at the step and the other one a moment later. Then a storm of identical alerts.
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet

from chaos.load import Load
from chaos.oracle import Lists
from chaos.part import HangError, Row, Size, limit
from chaos.site import Site, site, uncaught
from chaos.triage_load import URGENT, Alerts, detection, pour
from chaos.triage_oracle import TARGETS, judge
from chaos.triage_service import STEPS
from tests.conftest import new_postgres_database
from tests.notify.receiver import Receiver, receiving
from tests.notify.samples import SECRET
from tests.postgres import Postgres
from tests.service import Service
from vyrox.clock import wall_clock
from vyrox.notify import targets
from vyrox.store.database import Database
from vyrox.store.encryption import open_vault

COMMAND: Final = ("-m", "chaos.triage_service")
TENANTS: Final = ("acme", "initech", "umbrella")
SENDERS: Final = 4
PAUSE_S: Final = 0.03
STEP_LIMIT_S: Final = 30.0
MOMENT_S: Final = 0.5
RANDOM: Final = "a random moment"
EMPTIED: Final = "a random moment, and Valkey comes back empty"
WAYS: Final = (*STEPS, RANDOM, EMPTIED)
TIMES: Final = 4
"""A step counts at the first to this time that it is reached."""

PAIR_ROUNDS_IN_SHORT: Final = 3
STORM: Final = 10_000


async def run(size: Size) -> list[Row]:
    """Kill on both databases, beside each other, and while a storm is sent."""
    opening = asyncio.Lock()
    with Postgres() as postgres:
        url = await new_postgres_database(postgres)
        each = size.rounds if size.long else len(WAYS)
        pairs = size.rounds if size.long else PAIR_ROUNDS_IN_SHORT
        found = await asyncio.gather(
            _kill("triage", None, 1, each, opening),
            _kill("triage, two containers", url, 2, pairs, opening),
            _storm(opening),
        )
    return [row for rows in found for row in rows]


@asynccontextmanager
async def _database(here: Site, opening: asyncio.Lock) -> AsyncIterator[Database]:
    """Open the database beside the service: one at a time, as migrations have to be."""
    async with AsyncExitStack() as stack:
        async with opening:
            database = await stack.enter_async_context(here.database())
        yield database


class _Place:
    """A site with a receiver, on which `containers` services run at once."""

    def __init__(self, here: Site, receiver: Receiver, containers: int, key: str) -> None:
        self.site = here
        self.receiver = receiver
        self._containers = containers
        self._key = key
        self.seen: list[Service] = []

    async def add_targets(self, database: Database, tenant_id: str) -> None:
        vault = open_vault((self._key,), self.site.data_dir)
        for name in TARGETS:
            sealed = targets.seal(vault, tenant_id, f"{self.receiver.url}/{name}", SECRET)
            await database.write(
                targets.add_target, sealed, ("127.0.0.1", "vyrox", "review"), wall_clock()
            )

    async def start(self, stack: AsyncExitStack, step: str, on: int) -> list[Service]:
        """Start the containers; the first one dies at `step`."""
        environment = {
            "TRIAGE_ENABLED": "true",
            "NOTIFY_ALLOWED_HOSTS": "127.0.0.1",
            "NOTIFY_PER_HOUR": "10000",
            "VYROX_ENCRYPTION_KEY": self._key,
        }
        first = {"KILL_STEP": step, "KILL_ON": str(on)} if step in STEPS else {}
        services = await asyncio.gather(
            *(
                stack.enter_async_context(
                    self.site.service(
                        *COMMAND,
                        **environment,
                        **(first if number == 0 else {}),
                        VYROX_DATA_DIR=str(self._data_dir(number)),
                    )
                )
                for number in range(self._containers)
            )
        )
        if first:
            services[0].signal(signal.SIGUSR1)
        self.seen += services
        return list(services)

    def _data_dir(self, number: int) -> Path:
        directory = self.site.data_dir
        if number:
            directory = directory.with_name(f"data-{number}")
            directory.mkdir(exist_ok=True)
        return directory


async def _kill(
    part: str, database_url: str | None, containers: int, rounds: int, opening: asyncio.Lock
) -> list[Row]:
    lists, alerts, moments = Lists(), Alerts(containers), random.Random(containers)
    interrupted: list[Load] = []
    missed: list[str] = []
    async with site(database_url) as here, receiving() as receiver:
        place = _Place(here, receiver, containers, Fernet.generate_key().decode())
        async with _database(here, opening) as database:
            for tenant_id in TENANTS:
                await place.add_targets(database, tenant_id)
        for number, step in enumerate(_steps(containers, rounds)):
            alerts.begin(number)
            receiver.behaviours.extend((500, 500))
            loads = [Load(lists, here, name, alerts.body) for name in TENANTS]
            interrupted += loads
            on = 1 if "take-over" in step else moments.randint(1, TIMES)
            async with AsyncExitStack() as stack:
                services = await place.start(stack, step, on)
                if not await _kill_under_load(services, loads, step, moments):
                    missed.append(step)
                if step == EMPTIED:
                    await here.valkey.kill_and_empty()
                    await here.valkey.start()
        receiver.behaviours.clear()  # what is left to send is accepted
        async with AsyncExitStack() as stack:
            services = await place.start(stack, RANDOM, 1)
            for load in interrupted:
                await load.send_again(services[0])
            database = await stack.enter_async_context(_database(here, opening))
            rows = await judge(part, lists, here, database, receiver.received)
            bad = await _end(services)
    errors = [line for service in place.seen for line in uncaught(service)]
    return [
        Row(
            part, "rounds of kill -9", rounds, len(missed), f"not reached: {missed}" * bool(missed)
        ),
        *rows,
        Row(
            part,
            "ended badly, and uncaught",
            len(place.seen),
            len(errors) + bad,
            "; ".join(errors[:3]),
        ),
    ]


def _steps(containers: int, rounds: int) -> Iterator[str]:
    """Yield where to kill.

    Of two containers, the other one may be first to take over, so none waits for that.
    """
    steps = list(WAYS)
    if containers > 1:
        steps.remove("after the take-over")
        # A short run reaches the steps with a commit in them first.
        steps.sort(key=lambda step: "commit" not in step and "settling" not in step)
    return islice(cycle(steps), rounds)


async def _kill_under_load(
    services: Sequence[Service], loads: Sequence[Load], step: str, moments: random.Random
) -> bool:
    """Send until all are dead; return whether the first one died at the step."""
    running = asyncio.gather(
        *(load.send_alerts(service, SENDERS, PAUSE_S) for load in loads for service in services)
    )
    first, *others = services
    if step not in STEPS:
        await asyncio.sleep(moments.uniform(0.2, 0.2 + MOMENT_S))
        first.signal(signal.SIGKILL)
    reached = True
    try:
        async with limit(STEP_LIMIT_S, step):
            await first.ended()
    except HangError:
        reached = False
        first.signal(signal.SIGKILL)
    for other in others:
        await asyncio.sleep(moments.uniform(0, MOMENT_S))
        other.signal(signal.SIGKILL)
        await other.ended()
    async with limit(30, "the end of the senders"):
        await running
    return reached


async def _end(services: Sequence[Service]) -> int:
    """Let the services end; return how many did not with exit code 0."""
    for service in services:
        service.signal(signal.SIGTERM)
    return sum([await service.ended() != 0 for service in services])


async def _storm(opening: asyncio.Lock) -> list[Row]:
    """Send identical alerts as fast as possible; the service is killed in the middle."""
    part = "triage, storm"
    lists = Lists()
    lists.tenants.append(TENANTS[0])
    waiting = [detection(TENANTS[0], "ws-1", URGENT, None) for _ in range(STORM)]
    lists.sent.update(waiting)
    async with site() as here, receiving() as receiver:
        place = _Place(here, receiver, 1, Fernet.generate_key().decode())
        async with _database(here, opening) as database:
            await place.add_targets(database, TENANTS[0])
        began = time.perf_counter()
        async with AsyncExitStack() as stack:
            [service] = await place.start(stack, RANDOM, 1)
            await pour(lists, TENANTS[0], waiting, service, STORM // 2)
            service.signal(signal.SIGKILL)
            await service.ended()
        async with AsyncExitStack() as stack:
            [service] = await place.start(stack, RANDOM, 1)
            await pour(lists, TENANTS[0], waiting, service, 0)
            sent_s = time.perf_counter() - began
            database = await stack.enter_async_context(_database(here, opening))
            rows = await judge(part, lists, here, database, receiver.received)
            took_s = time.perf_counter() - began
            bad = await _end([service])
    incidents = next(row.done for row in rows if row.what == "incidents without alerts")
    messages = len({(each.path, each.id) for each in receiver.received})
    return [
        Row(
            part,
            "identical alerts that are not one incident and one message",
            STORM,
            (incidents != 1) + (messages != len(TARGETS)) + bad,
            f"sent in {sent_s:.1f} s, judged in {took_s:.1f} s",
        ),
        *rows,
    ]
