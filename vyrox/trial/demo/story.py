"""What happens in the demo, once the service runs."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from vyrox.errors import OperatorError
from vyrox.trial.demo.channel import Channel, Shown
from vyrox.trial.demo.onboarding import TENANT
from vyrox.trial.demo.servers import Log
from vyrox.trial.demo.terminal import Terminal, echo, lines_with, say, say_next, show_command

ATTACK_STAGES: Final = 8
BACKUP_STAGES: Final = 3

JUDGED_WITHIN_S: Final = 30.0

DECISIVE: Final = lines_with("Action:", "Name:", "Decide by:", "SHA-256:", "[Approve]")
"""What the demo shows of a message that asks for a decision."""

VERDICT: Final = lines_with(
    "LINKS HOLD", "CHECKPOINT HOLDS", "TAMPERED", "    PROVEN", "FAILED", "    the signature"
)
"""What the demo shows of the verifier's report."""

_DECIDED: Final = b'"approval.decided"'

REASONS: Final = 2
"""Families of which the demo prints the reason."""


class _Incident(msgspec.Struct, frozen=True):
    id: str
    number: int
    alerts: int


class _Incidents(msgspec.Struct, frozen=True):
    incidents: list[_Incident]


class Story:
    """Alerts, an incident, an approval, a containment and its proof, against a running service."""

    def __init__(self, terminal: Terminal, log: Log, channel: Channel) -> None:
        """`log` is the service's. Its incidents are the tenant's next ones."""
        self._terminal = terminal
        self._log = log
        self._channel = channel
        before = max((each.number for each in self._incidents()), default=0)
        self.incident = f"{TENANT}-{before + 1}"
        self._backup = f"{TENANT}-{before + 2}"

    def play(self) -> None:
        """Play it, when the approver has a name.

        Raises:
            OperatorError: A step did not end as it must.
        """
        self._receive()
        self._judge()
        self._approve()
        self._prove()

    def _receive(self) -> None:
        say("Alerts come in, signed as CrowdStrike signs: each stored, queued, and only then 202")
        secret = self._terminal.env["CROWDSTRIKE_WEBHOOK_SECRET"]
        show_command(f"export CROWDSTRIKE_WEBHOOK_SECRET={secret}")
        attack = ["simulate", "lateral-movement", "--all-stages"]
        self._terminal.show(attack, lines_with("stage 1:", f"stage {ATTACK_STAGES}:"))
        self._wait_until_judged({self.incident: ATTACK_STAGES})
        backup = ["simulate", "backup", "--all-stages", "--vendor", "crowdstrike"]
        self._terminal.show(backup, lines_with("stage 1:"))
        self._wait_until_judged({self.incident: ATTACK_STAGES, self._backup: BACKUP_STAGES})

    def _judge(self) -> None:
        say("Triage has judged them. The eight are one urgent incident; the backup is closed")
        self._terminal.show(["incident", "show", self.incident], _essence)
        self._terminal.show(["incident", "show", self._backup], lines_with("band ", "status "))

    def _approve(self) -> None:
        say("Vyrox proposes that by itself, for 4 hours. Discord shows what Jane decides on")
        proposal = self._channel.wait_for(lambda shown: shown.buttons != [])
        echo(_message(proposal), DECISIVE)
        say_next("Jane presses Approve. Vyrox isolates the host, and reads that back at the vendor")
        self._channel.approve(proposal)
        self._log.wait_for("execute.confirmed")
        done = self._channel.wait_for(
            lambda shown: shown.id == proposal.id and "confirms" in shown.content
        )
        echo(_message(done), lines_with("Approved"))

    def _prove(self) -> None:
        say("The audit log and Jane's proof in it, checked without Vyrox")
        self._terminal.show(["audit", "export", TENANT, "--out", "audit"], lines_with())
        self._verify(expected=0)
        say_next("Somebody changes one character of the proof")
        # The export has a file for each day. The decision is of the newest, if not of a moment
        # before midnight.
        files = sorted((self._terminal.directory / "audit").glob("events-*.jsonl"))
        *_, file = (each for each in files if _DECIDED in each.read_bytes())
        file.write_bytes(_forged(file.read_bytes()))
        self._verify(expected=1)

    def _wait_until_judged(self, expected: dict[str, int]) -> None:
        # The service reports no verdict to other processes, so the demo asks until it is there.
        deadline, found = time.monotonic() + JUDGED_WITHIN_S, list[_Incident]()
        while time.monotonic() < deadline:
            found = self._incidents()
            if expected.items() <= {each.id: each.alerts for each in found}.items():
                return
        raise OperatorError(f"not judged within {JUDGED_WITHIN_S} s: {found}")

    def _incidents(self) -> list[_Incident]:
        """Return the tenant's newest incidents."""
        printed = self._terminal.run(["incident", "list", "--limit", "200", "--json"])
        return msgspec.json.decode(printed, type=_Incidents).incidents

    def _verify(self, expected: int) -> None:
        command = ["-I", "audit/verify_audit.py", "audit"]
        show_command(" ".join(["python3", *command]))
        done = subprocess.run(  # noqa: S603
            [sys.executable, *command],
            cwd=self._terminal.directory,
            capture_output=True,
            check=False,
        )
        echo(done.stdout.decode().splitlines(), VERDICT)
        if done.returncode != expected:
            raise OperatorError(f"the verifier ended with {done.returncode}")


def _message(shown: Shown) -> list[str]:
    """Return the lines of a message, and its buttons."""
    buttons = " ".join(f"[{button}]" for button in shown.buttons)
    return [f"  {line}" for line in [*shown.content.splitlines(), buttons]]


def _forged(events: bytes) -> bytes:
    """Return an export in which the last digit of the signature of a decision is another."""
    lines = events.splitlines(keepends=True)
    for place, line in enumerate(lines):
        before, name, after = line.partition(b'"signature":"')
        if _DECIDED in line and name:
            signature, quote, rest = after.partition(b'"')
            digit = b"0" if signature[-1:] != b"0" else b"1"
            lines[place] = before + name + signature[:-1] + digit + quote + rest
    return b"".join(lines)


def _essence(lines: Sequence[str]) -> Iterator[int]:
    """Yield the places of the lines of an incident that decide: what it is, why, what to do."""
    section, entries = "", 0
    for place, line in enumerate(lines):
        if not line.startswith(" "):
            section, entries = line, 0
        entries += line.startswith("  ") and not line.startswith("   ")
        if (
            line.startswith(("band ", "status ", "alerts "))
            or (section == "Why" and 0 < entries <= REASONS and "    alert " not in line)
            or (section == "Proposed action" and entries == 1 and "none: " not in line)
        ):
            yield place
