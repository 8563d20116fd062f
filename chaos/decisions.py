"""kill -9 between a click, its commit, its answer and the dispatch; and Discord in trouble.

Contract 62, 66 and 67. A person decides at the fake Discord, or with a passkey on a socket of the
console. After each kill the service starts again and the person looks, and presses again if the
decision is not there. In `decisions, late` it starts again when the 60 s are over.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeVar

import httpx
import msgspec

from chaos.decisions_service import STEPS
from chaos.part import HangError, Row, Size, limit
from chaos.site import Site, let_leases_lapse, site, uncaught
from tests.approvals.people import Person, is_open, message_about, open_channel, settings
from tests.console.running import Browser
from tests.service import Service
from vyrox.approvals import rows
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.rows import StoredProposal
from vyrox.chain.entry import Stream
from vyrox.chain.export import pages
from vyrox.chain.verify import NothingToCheckError, verify_approvals
from vyrox.clock import wall_clock
from vyrox.store.database import Database
from vyrox.trial.fake_discord.app import FakeDiscord
from vyrox.trial.fake_discord.faults import Fault
from vyrox.trial.mock_edr.serve import serving

T = TypeVar("T")

COMMAND: Final = ("-m", "chaos.decisions_service")
TENANT: Final = "acme-corp"
ACT_WITHIN_S: Final = 60.0
"""From the quorum to the last change at the vendor, as promised."""

STEP_LIMIT_S: Final = 40.0
PAUSE_S: Final = 0.1
MARGIN_S: Final = 2.0
QUIET_S: Final = 2.0
"""How long the last service runs without a further action, once the leases are over."""

ACTED_LIMIT_S: Final = 20.0
"""From a passkey to the vendor, on a busy machine."""

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


class Click(msgspec.Struct):
    """A proposal, and what its approver knows of the decision.

    Attributes:
        is_acknowledged: The response said that the decision counts.
    """

    proposal: Proposed
    host: str
    is_acknowledged: bool = False


class Place:
    """A site with a fake Discord, a tenant and an approver."""

    def __init__(self, here: Site, fake: FakeDiscord, url: str, database: Database) -> None:
        self.site = here
        self.fake = fake
        self.database = database
        self.person = Person(TENANT, "ann")
        self.clicks: list[Click] = []
        self.seen: list[Service] = []
        self._settings = settings(fake, url)

    @asynccontextmanager
    async def service(self, step: str | None = None) -> AsyncIterator[Service]:
        """Run the service; it dies at `step`."""
        command = () if step is None else COMMAND
        extra = {} if step is None else {"KILL_STEP": step}
        async with self.site.service(*command, **self._settings, **extra) as service:
            self.fake.world.endpoint = f"{service.ingestion_url}/interactions"
            self.seen.append(service)
            yield service

    async def propose(self) -> Click:
        host = self.site.vendor.add_host()
        click = Click(await self.person.propose(self.database, host), host)
        self.clicks.append(click)
        return click

    async def press(self, click: Click) -> None:
        """Press Approve at the fake Discord, as soon as the message is there."""
        message = await until(lambda: _found(self.fake, click), "the message")
        if not is_open(message):
            return
        answer = await self.fake.clicks.press(str(message["id"]), "a", self.person.account)
        # Type 7 changes the message; otherwise Vyrox says to the person what is so.
        click.is_acknowledged |= answer.status == httpx.codes.OK and answer.kind == 7

    async def sign(self, click: Click, browser: Browser) -> None:
        """Approve with the passkey in the console."""
        try:
            response = await browser.decide(click.proposal.proposal_id)
        except httpx.TransportError:
            return  # the service is dead
        click.is_acknowledged |= response.status_code == httpx.codes.OK

    async def decide(self, click: Click, channel: str, service: Service) -> None:
        if channel == "discord":
            await self.press(click)
            return
        async with self.person.browser(service.console_url) as browser:
            await self.sign(click, browser)

    async def stored(self, click: Click) -> StoredProposal:
        return await self.database.read(rows.require, TENANT, click.proposal.proposal_id)


def _found(fake: FakeDiscord, click: Click) -> dict[str, object] | None:
    return message_about(fake, click.proposal)


async def until(find: Callable[[], T | None], what: str, within_s: float = STEP_LIMIT_S) -> T:
    """Return what `find` returns, as soon as it is something. Raises HangError."""
    async with limit(within_s, what):
        while (found := find()) is None:  # noqa: ASYNC110  (another process makes it so)
            await asyncio.sleep(PAUSE_S)
        return found


async def run(size: Size) -> list[Row]:
    """Kill in both channels, in time and late, and trouble Discord: all beside each other."""
    each = max(1, size.rounds // len(STEPS)) if size.long else 1
    opening = asyncio.Lock()
    found = await asyncio.gather(
        *(_kill(channel, each, opening) for channel in APPROVED_ONLY),
        *(_be_late(channel, step, opening) for channel, step in APPROVED_ONLY.items()),
        _trouble(opening),
    )
    return [row for some in found for row in some]


@asynccontextmanager
async def _place(opening: asyncio.Lock) -> AsyncIterator[Place]:
    """Make one. `opening` is for migrations, of which this process can run one at a time."""
    fake = FakeDiscord()
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(site())
        url = await stack.enter_async_context(serving(fake))
        async with opening:
            database = await stack.enter_async_context(here.database())
        await here.give_credentials(database, TENANT)
        place = Place(here, fake, url, database)
        await open_channel(database, TENANT, fake)
        await place.person.enrol(database)
        yield place


async def _kill(channel: str, times: int, opening: asyncio.Lock) -> list[Row]:
    part = f"decisions, {channel}"
    missed: list[str] = []
    async with _place(opening) as place:
        for step in [step for _ in range(times) for step in STEPS]:
            click = await place.propose()
            if not await _die(place, click, channel, step):
                missed.append(step)
            async with place.service() as service:
                if (await place.stored(click)).approved_at is None:
                    await place.decide(click, channel, service)
                await _ended(place, click)
        rounds = Row(part, "rounds of kill -9", len(place.clicks), len(missed), ", ".join(missed))
        return [rounds, *await _judge(part, place, are_late=False)]


async def _be_late(channel: str, step: str, opening: asyncio.Lock) -> list[Row]:
    part = f"decisions, {channel}, late"
    async with _place(opening) as place:
        click = await place.propose()
        missed = not await _die(place, click, channel, step)
        approved_at = (await place.stored(click)).approved_at or 0.0
        await asyncio.sleep(max(0.0, approved_at + ACT_WITHIN_S + MARGIN_S - wall_clock()))
        async with place.service():
            await _ended(place, click)
        rounds = Row(part, "rounds of kill -9", 1, int(missed), step)
        return [rounds, *await _judge(part, place, are_late=True)]


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
    async with _place(opening) as place, place.service() as service:
        async with place.person.browser(service.console_url) as browser:
            for fault in TROUBLES:
                shown = await place.propose()
                await until(partial(_found, place.fake, shown), "the message")
                place.fake.faults.append(msgspec.structs.replace(fault))
                for click in (shown, await place.propose()):
                    await place.sign(click, browser)
                    if not await _is_acted(place, click):
                        slow.append(fault.kind)
                place.fake.faults.clear()
        stale = await _stale(place)
        judged = await _judge(part, place, are_late=False, service=service)
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
        found = [(click, _found(place.fake, click)) for click in place.clicks]
        return [
            click
            for click, message in found
            if message is None or is_open(message) or "**Approved**" not in str(message["content"])
        ]

    with suppress(HangError):
        await until(lambda: None if wrong() else True, "the messages", JOINED_LIMIT_S)
    return wrong()


async def _judge(
    part: str, place: Place, *, are_late: bool, service: Service | None = None
) -> list[Row]:
    """Compare what the persons know, the rows, the vendor's changes and the log."""
    if service is None:
        await let_leases_lapse(place.database)
        async with place.service() as last:
            await asyncio.sleep(QUIET_S)
            last.signal(signal.SIGTERM)
            status = await last.ended()
    else:
        service.signal(signal.SIGTERM)
        status = await service.ended()
    states = [(click, await place.stored(click)) for click in place.clicks]
    effects, changed_at = place.site.vendor.effects, place.site.vendor.changed_at
    late = [
        click
        for click, stored in states
        if changed_at.get(click.host, 0.0) > (stored.approved_at or 0.0) + ACT_WITHIN_S
    ]
    lost = [c for c, stored in states if c.is_acknowledged and stored.approved_at is None]
    expected = "lapsed" if are_late else "dispatched"
    other = [stored.stored_state for _, stored in states if stored.stored_state != expected]
    errors = [line for each in place.seen for line in uncaught(each)]
    count = len(place.clicks)
    return [
        Row(part, "decisions acknowledged and lost", _acknowledged(place), len(lost)),
        Row(part, "devices changed twice", effects.total(), sum(n > 1 for n in effects.values())),
        Row(part, "changes later than 60 s, or without an approval", effects.total(), len(late)),
        Row(part, f"proposals not {expected}", count, len(other), ", ".join(other)),
        await _verified(part, place),
        Row(
            part,
            "ended badly, and uncaught",
            len(place.seen),
            len(errors) + int(status != 0),
            "; ".join(errors[:3]),
        ),
    ]


def _acknowledged(place: Place) -> int:
    return sum(click.is_acknowledged for click in place.clicks)


async def _verified(part: str, place: Place) -> Row:
    """Check the export as an auditor does; each change at the vendor has a proven action."""
    effects = set(place.site.vendor.effects)
    actions, events = await _export(place, "actions"), await _export(place, "events")
    what = "actions that an auditor does not find proven"
    try:
        report = verify_approvals(actions, events)
    except NothingToCheckError:  # no action at all, as it should be after 60 s
        return Row(part, what, 0, len(effects))
    proven = {each.action.host for each in report.findings if each.not_proven is None}
    wrong = len(effects - proven) + len(report.failures)
    figure = "; ".join(str(each) for each in report.failures[:2])
    return Row(part, what, len(report.findings), wrong, figure)


async def _export(place: Place, stream: Stream) -> str:
    path = place.site.data_dir / f"{stream}.ndjson"
    lines = [line async for page in pages(place.database, TENANT, stream) for line in page]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)
