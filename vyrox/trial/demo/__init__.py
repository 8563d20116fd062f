"""The demo: one story from an alert to the proof, with every command as one would type it.

For a person at a terminal, a week of made-up history comes before it, and the console stays open.
"""

import secrets
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from vyrox.clock import wall_clock
from vyrox.models import Vendor
from vyrox.trial.demo.channel import Channel
from vyrox.trial.demo.clock import SharedClock
from vyrox.trial.demo.ending import Ending
from vyrox.trial.demo.onboarding import (
    OTHER_TENANT,
    TENANT,
    add_rules,
    add_tenant,
    add_vendor,
    name_approver,
    say_serving,
    set_up,
)
from vyrox.trial.demo.servers import Discord, Mock, announced, serving
from vyrox.trial.demo.story import Story
from vyrox.trial.demo.terminal import Run, Terminal, say, say_next
from vyrox.trial.demo.week import DAYS, Sender, Week, first_day

PROPOSALS_WAIT_S: Final = 86_400
"""Of a demo that is kept: its proposal is to wait for as long as the person looks."""


def play(run: Run, *, keep: bool) -> None:
    """Play the whole story, in a temporary directory.

    Args:
        run: Runs one `vyrox` command.
        keep: Make a week of history up first, and leave the console open until Ctrl-C.

    Raises:
        OperatorError: A step did not end as it must.
    """
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _: sys.exit(128 + number))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vyrox-demo-")))
        env = _environment()
        terminal = Terminal(run, directory, env)
        clock, now = SharedClock(directory / "clock"), wall_clock()
        if keep:
            clock.begin(first_day(now).timestamp())
        mock = stack.enter_context(announced("mock-edr", Mock, env, directory, clock))
        discord = stack.enter_context(announced("fake-discord", Discord, env, directory, clock))
        env |= {"EDR_TEST_URL": mock.url, **discord.settings}
        channel = Channel(discord)
        with clock.used():
            set_up(terminal, mock)
            senders = _past(terminal, mock, channel, clock, now) if keep else None
        clock.end()
        if keep:
            env["APPROVAL_TTL_SECONDS"] = str(PROPOSALS_WAIT_S)
        addresses, log = stack.enter_context(serving(env, directory))
        if senders is None:
            say_serving(addresses)
            name_approver(terminal, channel)
        story = Story(terminal, log, channel)
        story.play()
        if senders is not None:
            Ending(terminal, channel, *senders).play(discord.url, story.incident)
    say_next("The service is stopped, its directory deleted. Next: README.md, “Onboard a vendor”.")


def _environment() -> dict[str, str]:
    port = _free_port()
    public = f"http://127.0.0.1:{port}"
    return {
        "VYROX_HMAC_SECRET": secrets.token_hex(32),
        "DRY_RUN": "no",
        "INGESTION_HOST": "127.0.0.1",
        "INGESTION_PORT": str(port),
        "PROXY_PORT": str(_free_port()),
        "CONSOLE_PORT": str(_free_port()),
        "PUBLIC_URL": public,
        "VYROX_URL": f"{public}/webhook",
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _past(
    terminal: Terminal, mock: Mock, channel: Channel, clock: SharedClock, now: float
) -> tuple[Sender, Sender]:
    """Make the days before `now`. Return what sends to the webhooks of the two tenants."""
    others: tuple[Vendor, ...] = ("sentinelone", "defender")
    secrets = {each: add_vendor(terminal, mock, each) for each in others}
    sender = Sender(
        terminal, TENANT, {**secrets, "crowdstrike": terminal.env["CROWDSTRIKE_WEBHOOK_SECRET"]}
    )
    add_rules(terminal)
    secret = add_tenant(terminal, OTHER_TENANT, "sentinelone")
    other = Sender(terminal, OTHER_TENANT, {"sentinelone": secret})
    with serving(terminal.env, terminal.directory, clock) as (addresses, log):
        say_serving(addresses)
        name_approver(terminal, channel)
        say(f"{DAYS} days are made up: real payloads, judged by this service, its clock set back")
        count = Week(terminal, sender, clock, log, channel).play(now)
        click.echo(f"{count} alerts of {DAYS} days. From here on its clock is right")
    return sender, other
