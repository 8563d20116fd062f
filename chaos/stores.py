"""Each store goes away under load, and comes back: 503 in time, never a false 202, and recovery.

Contract 17; rows 51, 54 to 58, 65 and 66.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, cast

import msgspec

from chaos.load import Answered, Load
from chaos.oracle import Lists, judge
from chaos.part import Row, Size, limit
from chaos.site import Site, site
from tests.alerts.test_queue_unavailable import ADDED, ERRORS
from tests.conftest import new_postgres_database
from tests.fake_redis import OK, Command, fake_redis
from tests.fault_proxy import FaultProxy
from tests.postgres import Postgres
from tests.service import Service

SENDERS: Final = 12
PAUSE_S: Final = 0.03
AWAY_S: Final = 2.0
ANSWER_LIMIT_S: Final = 1.0
REFUSED_LIMIT_S: Final = 0.3
RECOVERY_LIMIT_S: Final = 2.0

Act = Callable[[], Awaitable[None]]


class Outage(msgspec.Struct, frozen=True):
    """How a store goes away and comes back; `limit_s` is for each response in between."""

    name: str
    take_away: Act
    bring_back: Act
    limit_s: float = ANSWER_LIMIT_S


async def run(size: Size) -> list[Row]:
    """Make every store fail in every way; the long form does this a tenth of `rounds` times.

    The short form may run on a busy machine. It reports how long responses took, and judges only
    their contents.
    """
    return [*await _valkey(size), *await _error_replies(), *await _postgres(size)]


def _times(size: Size) -> int:
    return max(1, size.rounds // 10) if size.long else 1


async def _valkey(size: Size) -> list[Row]:
    async with site() as here, _tcp_proxy(here.valkey.socket) as (proxy, url):
        valkey = here.valkey

        async def freeze() -> None:
            valkey.freeze()

        async def thaw() -> None:
            valkey.thaw()

        async def swallow() -> None:
            proxy.hold_requests()

        async def release() -> None:
            proxy.release()
            await proxy.hang_up()

        outages = (
            Outage("valkey killed", valkey.kill, valkey.start, REFUSED_LIMIT_S),
            Outage("valkey back empty", valkey.kill_and_empty, valkey.start, REFUSED_LIMIT_S),
            Outage("valkey frozen", freeze, thaw),
        )
        black_hole = Outage("valkey black-holed", swallow, release)
        lists = Lists()
        async with here.service() as service:
            found = await _suffer(outages * _times(size), lists, here, service, size)
        async with here.service(REDIS_URL=url) as service:
            found += await _suffer((black_hole,) * _times(size), lists, here, service, size)
            async with here.database() as database:
                return found + await judge("stores", lists, here, database)


async def _postgres(size: Size) -> list[Row]:
    with Postgres() as server:

        async def stop() -> None:
            await asyncio.to_thread(server.stop)

        async def start() -> None:
            await asyncio.to_thread(server.start)

        restart = Outage("postgresql restarted", stop, start)
        lists = Lists()
        async with (
            site(await new_postgres_database(server)) as here,
            here.service() as service,
        ):
            found = await _suffer((restart,) * _times(size), lists, here, service, size)
            async with here.database() as database:
                return found + await judge("stores, postgresql", lists, here, database)


@asynccontextmanager
async def _tcp_proxy(server_path: Path) -> AsyncIterator[tuple[FaultProxy, str]]:
    """Serve on TCP in front of a server on a unix socket."""
    proxy = FaultProxy(server_path)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1")
    try:
        port = server.sockets[0].getsockname()[1]
        yield proxy, f"redis://127.0.0.1:{port}"
    finally:
        server.close()
        proxy.release()
        await proxy.hang_up()
        await server.wait_closed()


async def _suffer(
    outages: tuple[Outage, ...], lists: Lists, here: Site, service: Service, size: Size
) -> list[Row]:
    """Let the outages happen under the load of one tenant each."""
    rows: list[Row] = []
    for outage in outages:
        async with limit(60, outage.name):
            load = Load(lists, here, f"tenant-{len(lists.tenants)}")
            rows.append(await _one(outage, load, service, size))
    return rows


async def _one(outage: Outage, load: Load, service: Service, size: Size) -> Row:
    now = asyncio.get_running_loop().time
    sending = asyncio.create_task(load.send_alerts(service, SENDERS, PAUSE_S))
    await load.answered()
    await asyncio.sleep(0.2)
    await outage.take_away()
    away_at = now()
    await asyncio.sleep(AWAY_S)
    back_from = now()
    await outage.bring_back()
    back_at = now()
    await load.answered(lambda: any(_is_true(each, back_at) for each in load.answers))
    load.stop()
    await sending
    await load.send_again(service)
    return _judge(outage, load.answers, away_at, back_from, back_at, size)


def _is_true(answer: Answered, back_at: float) -> bool:
    """Return whether the alert was accepted after the store's return."""
    return answer.came_at > back_at and answer.status == 202


def _judge(
    outage: Outage,
    answers: list[Answered],
    away_at: float,
    back_from: float,
    back_at: float,
    size: Size,
) -> Row:
    """Count what broke the promise.

    Args:
        back_from: When it began to come back: from here on a 202 may be true.
        back_at: When it was back.
    """
    asked = [each for each in answers if each.sent_at < back_from and each.came_at > away_at]
    # A request in progress when the store went may have been stored in time: the oracle decides.
    false = [
        each
        for each in asked
        if each.status == 202 and each.sent_at > away_at and each.came_at < back_from
    ]
    slowest_s = max((each.came_at - each.sent_at for each in asked), default=0.0)
    late = [each for each in asked if each.came_at - each.sent_at > outage.limit_s]
    recovery_s = min(each.came_at for each in answers if _is_true(each, back_at)) - back_at
    slow = len(late) + (recovery_s > RECOVERY_LIMIT_S)
    losses = len(false) + (not asked) + (slow if size.long else 0)
    figure = (
        f"{len(false)} false 202; slowest 503 {slowest_s:.2f} s (limit {outage.limit_s:g} s);"
        f" first 202 {recovery_s:.2f} s after its return"
    )
    return Row("stores", outage.name, len(asked), losses, figure)


async def _error_replies() -> list[Row]:
    """Return each error in turn for every command: 503, and accepted once the errors end."""
    lists = Lists()
    errors = [cast(bytes, error.values[0]) for error in ERRORS]
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(site())
        fake, url = await stack.enter_async_context(fake_redis(here.data_dir, _answer_well))
        service = await stack.enter_async_context(here.service(REDIS_URL=url))
        wrong: list[str] = []
        for number, error in enumerate(errors):
            load = Load(lists, here, f"tenant-{number}")
            fake.answer = lambda _, error=error: error + b"\r\n"  # type: ignore[misc]
            async with limit(30, f"the reply {error!r}"):
                await load.send_alert(service)
                fake.answer = _answer_well
                await load.send_again(service)
            statuses = [each.status for each in load.answers]
            if statuses[0] != 503 or statuses[-1] != 202:
                wrong.append(f"{error.decode(errors='replace')}: {statuses}")
    unexpected = len(lists.unexpected)
    figure = "; ".join(wrong[:3])
    return [Row("stores", "error replies of Redis", len(errors), len(wrong) + unexpected, figure)]


def _answer_well(command: Command) -> bytes:
    return ADDED if command[0] == b"EVALSHA" else OK
