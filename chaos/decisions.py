"""kill -9 between a click, its commit, its answer and the dispatch; and Discord in trouble.

Contract 62, 66 and 67. A person decides at the fake Discord, or with a passkey on a socket of the
console. After each kill the service starts again and the person looks, and presses again if the
decision is not there. In `decisions, late` it starts again when the 60 s are over. In `decisions,
two containers` another one runs beside it, on PostgreSQL.
"""

import asyncio
import signal
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec

from chaos.decisions_oracle import ACT_WITHIN_S, judge
from chaos.decisions_place import (
    PAUSE_S,
    STEP_LIMIT_S,
    Click,
    Place,
    found_message,
    open_place,
    until,
)
from chaos.decisions_service import STEPS
from chaos.part import HangError, Row, Size, limit
from tests.approvals.people import is_open
from tests.conftest import new_postgres_database
from tests.postgres import Postgres
from vyrox.clock import wall_clock
from vyrox.trial.fake_discord.faults import Fault

MARGIN_S: Final = 2.0

ACTED_LIMIT_S: Final = 20.0
"""From a passkey to the vendor, on a busy machine."""

REACHED_LIMIT_S: Final = 5.0

JOINED_LIMIT_S: Final = 100.0
"""The messages are up to date so soon after Discord is back: it is tried every 30 s, and then takes
5 edits in 5 s."""

APPROVED_ONLY: Final = {"discord": "before the answer", "passkey": "before the dispatch"}
"""After a kill there, a proposal is approved, and nothing has begun."""

TROUBLES: Final = (
    Fault(kind="away", count=10_000),
    Fault(kind="slow", seconds=4.0, count=10_000),
    Fault(kind="status", status=429, count=10_000),
    Fault(kind="status", status=503, count=10_000),
)


async def run(size: Size) -> list[Row]:
    """Kill in both channels, in time and late, and trouble Discord: all beside each other."""
    each = max(1, size.rounds // len(STEPS)) if size.long else 1
    opening = asyncio.Lock()
    with Postgres() as postgres:
        url = await new_postgres_database(postgres)
        found = await asyncio.gather(
            *(_kill(channel, each, opening) for channel in APPROVED_ONLY),
            *(_be_late(channel, step, opening) for channel, step in APPROVED_ONLY.items()),
            _kill_one_of_two(each, url, opening),
            _trouble(opening),
        )
    return [row for some in found for row in some]


async def _kill(channel: str, times: int, opening: asyncio.Lock) -> list[Row]:
    part = f"decisions, {channel}"
    missed: list[str] = []
    async with open_place(opening) as place:
        for step in [step for _ in range(times) for step in STEPS]:
            click = await place.propose()
            if not await _die(place, click, channel, step):
                missed.append(step)
            async with place.service() as service:
                if (await place.stored(click)).approved_at is None:
                    await place.decide(click, channel, service)
                await _ended(place, click)
                # It finishes the action in progress.
                service.signal(signal.SIGTERM)
                await service.ended()
        rounds = Row(part, "rounds of kill -9", len(place.clicks), len(missed), ", ".join(missed))
        return [rounds, *await judge(part, place, are_late=False)]


async def _kill_one_of_two(times: int, url: str, opening: asyncio.Lock) -> list[Row]:
    """Kill the container in which the person decides. The other one may be first to dispatch."""
    part = "decisions, two containers"
    reached = 0
    async with open_place(opening, url) as place, place.service(number=1) as other:
        for step in [step for _ in range(times) for step in STEPS]:
            click = await place.propose()
            async with place.service(step) as service:
                await place.decide(click, "passkey", service)
                with suppress(HangError):
                    async with limit(REACHED_LIMIT_S, step):
                        await service.ended()
                        reached += 1
            if (await place.stored(click)).approved_at is None:
                await place.decide(click, "passkey", other)
            await _ended(place, click)
        other.signal(signal.SIGTERM)
        await other.ended()
        rounds = Row(
            part, "rounds of kill -9", len(place.clicks), int(not reached), f"{reached} at the step"
        )
        return [rounds, *await judge(part, place, are_late=False)]


async def _be_late(channel: str, step: str, opening: asyncio.Lock) -> list[Row]:
    part = f"decisions, {channel}, late"
    async with open_place(opening) as place:
        click = await place.propose()
        missed = not await _die(place, click, channel, step)
        approved_at = (await place.stored(click)).approved_at or 0.0
        await asyncio.sleep(max(0.0, approved_at + ACT_WITHIN_S + MARGIN_S - wall_clock()))
        async with place.service():
            await _ended(place, click)
        rounds = Row(part, "rounds of kill -9", 1, int(missed), step)
        return [rounds, *await judge(part, place, are_late=True)]


async def _die(place: Place, click: Click, channel: str, step: str) -> bool:
    """Decide, and return whether the service died at the step."""
    async with place.service(step) as service:
        await place.decide(click, channel, service)
        try:
            async with limit(STEP_LIMIT_S, step):
                await service.ended()
        except HangError:
            return False
    return True


async def _ended(place: Place, click: Click) -> None:
    """Return when the proposal is not to be carried out any more."""
    async with limit(STEP_LIMIT_S, "the end of a proposal"):
        while (await place.stored(click)).stored_state in {"pending", "approved"}:  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_S)


async def _trouble(opening: asyncio.Lock) -> list[Row]:
    """Decide with passkeys while Discord is away, slow or limiting."""
    part = "decisions, Discord in trouble"
    slow: list[str] = []
    async with open_place(opening) as place, place.service() as service:
        async with place.person.browser(service.console_url) as browser:
            for fault in TROUBLES:
                shown = await place.propose()
                await until(partial(found_message, place.fake, shown), "the message")
                place.fake.faults.append(msgspec.structs.replace(fault))
                for click in (shown, await place.propose()):
                    await place.sign(click, browser)
                    if not await _is_acted(place, click):
                        slow.append(fault.kind)
                place.fake.faults.clear()
        stale = await _stale(place)
        judged = await judge(part, place, are_late=False, service=service)
    decided = len(place.clicks)
    return [
        Row(part, "decisions that waited for Discord", decided, len(slow), ", ".join(slow)),
        Row(part, "messages not up to date when it was back", decided, len(stale)),
        *judged,
    ]


async def _is_acted(place: Place, click: Click) -> bool:
    with suppress(HangError):
        await until(
            lambda: place.site.vendor.changed_at.get(click.host), "the vendor", ACTED_LIMIT_S
        )
    return click.host in place.site.vendor.changed_at


async def _stale(place: Place) -> list[Click]:
    """Return whose messages do not show the decision, once they had time to."""

    def wrong() -> list[Click]:
        found = [(click, found_message(place.fake, click)) for click in place.clicks]
        return [
            click
            for click, message in found
            if message is None or is_open(message) or "**Approved**" not in str(message["content"])
        ]

    with suppress(HangError):
        await until(lambda: None if wrong() else True, "the messages", JOINED_LIMIT_S)
    return wrong()
