"""Measures from a click to the vendor: `python -m benchmarks.clicks [--seconds N]`.

Approvers decide at the fake Discord, or with a passkey in the console, at 1 and at 20 decisions a
second; PAGES each, because the service keeps so many open pages of a person. Each decision approves
the isolation of a host of its own at the mock of CrowdStrike. Both run in this process; its time is
in the figures. A click begins when its request is sent; the vendor's call is when the mock isolates
the host. The proposals, the messages and the texts to be signed are there before. The fake Discord
does not limit the bot: Discord itself allows 5 edits in 5 s of one channel.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from math import ceil
from typing import Final

import httpx

from benchmarks.servers import Server
from chaos.part import quantile
from chaos.site import Site, site
from tests.approvals.people import Person, is_open, message_about, open_channel, settings
from tests.console.running import Browser
from vyrox.approvals.proposing import Proposed
from vyrox.approvals.statements import MAX_OPEN
from vyrox.clock import wall_clock
from vyrox.trial.fake_discord.app import FakeDiscord
from vyrox.trial.fake_discord.clicks import UPDATE
from vyrox.trial.mock_edr.serve import serving

TENANT: Final = "acme-corp"
RATES: Final = (1, 20)
UNLIMITED: Final = 10**9
WAIT_S: Final = 30.0
PAUSE_S: Final = 0.05

PAGES: Final = MAX_OPEN // 2
"""Pages that a person can have open: each has a text to approve and one to reject."""

MESSAGES_S: Final = 300.0
"""How long the service may take to post all messages before the clicks begin."""

Click = Callable[[], Awaitable[bool]]
"""Decides, and returns whether the response said that it counts."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    measure(parser.parse_args().seconds)


def measure(seconds: int) -> None:
    """Print the figures of both channels, with `seconds` for each."""
    for channel in ("Discord", "passkey"):
        for rate in RATES:
            asyncio.run(_measure(channel, rate, seconds))


async def _measure(channel: str, rate: int, seconds: int) -> None:
    fake = FakeDiscord()
    fake.buckets.limit = fake.buckets.global_per_s = UNLIMITED
    people = [Person(TENANT, f"person-{n}") for n in range(ceil(rate * seconds / PAGES))]
    async with site() as here, serving(fake) as url, here.database() as database:
        await here.give_credentials(database, TENANT)
        await open_channel(database, TENANT, fake)
        for person in people:
            await person.enrol(database)
        async with here.service(**settings(fake, url)) as service:
            fake.world.endpoint = f"{service.ingestion_url}/interactions"
            hosts = [here.vendor.add_host() for _ in range(rate * seconds)]
            proposals = [await people[0].propose(database, host) for host in hosts]
            await wait_until(lambda: _open_messages(fake) >= len(hosts), MESSAGES_S)
            async with AsyncExitStack() as stack:
                clicks: list[Click] = []
                for number, person in enumerate(people):
                    own = proposals[number * PAGES : (number + 1) * PAGES]
                    if channel == "Discord":
                        clicks += [_press(fake, person, each) for each in own]
                    else:
                        opened = person.browser(service.console_url)
                        browser = await stack.enter_async_context(opened)
                        clicks += [await sign(browser, each) for each in own]
                server = Server(service.process.pid, {})
                used = server.cpu_s()
                figures = await _decide(channel, rate, here, hosts, clicks)
                used = 1000 * (server.cpu_s() - used) / len(hosts)
                print(f"{figures}; {used:.0f} ms of processor each", flush=True)


def _open_messages(fake: FakeDiscord) -> int:
    return sum(map(is_open, fake.world.messages()))


async def _decide(
    channel: str, rate: int, here: Site, hosts: Sequence[str], clicks: Sequence[Click]
) -> str:
    """Click at the rate, whatever the responses, and return the figures."""
    began = time.monotonic()
    sent: dict[str, float] = {}
    answers: list[float] = []
    refused = 0

    async def one(number: int) -> None:
        nonlocal refused
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        sent[hosts[number]] = wall_clock()
        refused += not await clicks[number]()
        answers.append(wall_clock() - sent[hosts[number]])

    await asyncio.gather(*map(one, range(len(hosts))))
    await wait_until(lambda: len(here.vendor.changed_at) >= len(hosts), WAIT_S)
    calls = [at - sent[host] for host, at in here.vendor.changed_at.items()]
    return (
        f"{channel}, {rate}/s: {len(hosts)} clicks, {refused} refused, {len(calls)} acted on; "
        f"answer {_shown(answers)}; vendor {_shown(calls)}"
    )


def _press(fake: FakeDiscord, person: Person, proposal: Proposed) -> Click:
    message = message_about(fake, proposal)
    assert message is not None  # noqa: S101  (it was waited for)

    async def click() -> bool:
        answer = await fake.clicks.press(str(message["id"]), "a", person.account)
        return answer.status == httpx.codes.OK and answer.kind == UPDATE

    return click


async def sign(browser: Browser, proposal: Proposed) -> Click:
    """Get the text to be signed before, as the page does; the passkey signs in the click."""
    issued = await browser.statements(proposal.proposal_id)

    async def click() -> bool:
        answered = browser.answered(issued["approve"])
        response = await browser.post(f"/approvals/{proposal.proposal_id}", answered)
        return response.status_code == httpx.codes.OK

    return click


async def wait_until(holds: Callable[[], bool], within_s: float) -> None:
    """Wait until it holds, or so long. What is missing then shows in the figures."""
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:  # noqa: ASYNC110  (of another process)
        await asyncio.sleep(PAUSE_S)


def _shown(seconds: list[float]) -> str:
    p50, p99 = (1000 * quantile(seconds, share) for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"


if __name__ == "__main__":
    main()
