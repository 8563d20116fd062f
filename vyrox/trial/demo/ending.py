"""The end of a demo that is kept: the console is open, and stays open until Ctrl-C."""

import select
import signal
import sys
import threading
from typing import Final

import click

from vyrox.clock import wall_clock
from vyrox.trial.demo.channel import Channel
from vyrox.trial.demo.happenings import EXTORTION, EXTORTION_AGO_MINUTES
from vyrox.trial.demo.onboarding import APPROVER, OTHER_TENANT, TENANT
from vyrox.trial.demo.terminal import Terminal, say, say_next, show_command
from vyrox.trial.demo.week import Sender, wait_until_judged
from vyrox.trial.simulate.scenarios import scenario_of

PAUSE_S: Final = 0.2


class Ending:
    """The console, with something in it to decide."""

    def __init__(self, terminal: Terminal, channel: Channel, sender: Sender, other: Sender) -> None:
        """`sender` sends to the tenant's webhooks, `other` to those of another tenant."""
        self._terminal = terminal
        self._channel = channel
        self._sender = sender
        self._other = other

    def play(self, discord_url: str, incident: str) -> None:
        """Open the console, and return after Ctrl-C.

        Args:
            discord_url: Of the fake Discord.
            incident: The incident of the story.

        Raises:
            OperatorError: A step did not end as it must.
        """
        # Handled first: a signal between the last line and the wait would end the demo as failed.
        stop = threading.Event()
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, lambda *_: stop.set())
        self._attack()
        self._add_other_tenant()
        self._say_what_to_try(discord_url, incident)
        self._say_how_to_decide()
        say("Now look at it all in the console. This link works once, within 10 minutes")
        self._show_link()
        more = " Enter: another link" if sys.stdin.isatty() else ""
        say_next(f"Ctrl-C here stops it and deletes its directory.{more}")
        while not stop.is_set():
            self._wait(stop)

    def _attack(self) -> None:
        now = wall_clock()
        for stage, minutes in enumerate(EXTORTION_AGO_MINUTES, 1):
            self._sender.send(EXTORTION, stage, now - 60 * minutes)
        wait_until_judged(self._terminal)
        self._channel.wait_for(lambda shown: shown.buttons != [])

    def _add_other_tenant(self) -> None:
        psexec = scenario_of("psexec")
        for stage in range(1, len(psexec.stages) + 1):
            self._other.send(psexec, stage, wall_clock() - 60 * (20 - stage))
        wait_until_judged(self._terminal)
        self._terminal.run(["viewer", "add", OTHER_TENANT, APPROVER, "--home", TENANT])

    def _show_link(self) -> None:
        command = ["console", "link", APPROVER]
        show_command(" ".join(["vyrox", *command]))
        printed = self._terminal.run(command)
        click.secho(next(line.strip() for line in printed.splitlines() if "#" in line), bold=True)

    def _say_what_to_try(self, discord_url: str, incident: str) -> None:
        say("Eight more alerts have come, from mail to impact, and what Vyrox proposes waits")
        say_next("It is still running. Try in another terminal:")
        self._terminal.show_exports()
        for command in (
            f"incident show {incident}",
            "simulate ransomware-precursor --all-stages",
            f"lease list {TENANT}",
            "audit events --follow",
        ):
            click.echo(f"$ vyrox {command}")
        click.echo(f"$ curl {discord_url}/_fake/messages")

    def _say_how_to_decide(self) -> None:
        say_next("To decide in the console: open this, make a passkey, and confirm it:")
        link = self._terminal.run(["approver", "link", TENANT, APPROVER])
        click.echo(next(line.strip() for line in link.splitlines() if "/enrol#" in line))
        click.echo(f"$ vyrox approver confirm {TENANT} {APPROVER}")

    def _wait(self, stop: threading.Event) -> None:
        """Wait a moment; show another link when the person has pressed Enter."""
        if not sys.stdin.isatty():
            stop.wait()
        elif select.select([sys.stdin], [], [], PAUSE_S)[0]:
            if sys.stdin.readline():
                self._show_link()
            else:
                stop.wait()  # the terminal is gone, and has sent a signal
