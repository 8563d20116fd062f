"""What happens in the demo, once the service runs."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from vyrox.errors import OperatorError
from vyrox.trial.demo.servers import Log
from vyrox.trial.demo.terminal import Terminal, echo, lines_with, say, say_next, show_command

TENANT: Final = "acme-corp"
INCIDENT: Final = f"{TENANT}-1"
BACKUP: Final = f"{TENANT}-2"

ATTACK_STAGES: Final = 8
BACKUP_STAGES: Final = 3

JUDGED_WITHIN_S: Final = 30.0

REASONS: Final = 2
"""Families of which the demo prints the reason."""


class _Incident(msgspec.Struct, frozen=True):
    id: str
    alerts: int


class _Incidents(msgspec.Struct, frozen=True):
    incidents: list[_Incident]


class _Proposal(msgspec.Struct, frozen=True):
    command: list[str]


class _Shown(msgspec.Struct, frozen=True):
    proposal: _Proposal


class Story:
    """Alerts, an incident, an approval, a containment and its proof, against a running service."""

    def __init__(self, terminal: Terminal, log: Log) -> None:
        """`log` is the service's."""
        self._terminal = terminal
        self._log = log

    def play(self) -> None:
        """Play it.

        Raises:
            OperatorError: A step did not end as it must.
        """
        self._receive()
        self._judge()
        self._contain()
        self._prove()

    def _receive(self) -> None:
        say("Alerts come in, signed as CrowdStrike signs: each stored, queued, and only then 202")
        secret = self._terminal.env["CROWDSTRIKE_WEBHOOK_SECRET"]
        show_command(f"export CROWDSTRIKE_WEBHOOK_SECRET={secret}")
        attack = ["simulate", "lateral-movement", "--all-stages"]
        self._terminal.show(attack, lines_with("stage 1:", f"stage {ATTACK_STAGES}:"))
        self._wait_until_judged({INCIDENT: ATTACK_STAGES})
        backup = ["simulate", "backup", "--all-stages", "--vendor", "crowdstrike"]
        self._terminal.show(backup, lines_with("stage 1:"))
        self._wait_until_judged({INCIDENT: ATTACK_STAGES, BACKUP: BACKUP_STAGES})

    def _judge(self) -> None:
        say("Triage has judged them. The eight are one urgent incident; the backup is closed")
        self._terminal.show(["incident", "show", INCIDENT], _essence)
        self._terminal.show(["incident", "show", BACKUP], _essence)

    def _contain(self) -> None:
        say("Jane runs the command it printed. The audit entry is on disk before the vendor acts")
        shown = self._terminal.run(["incident", "show", INCIDENT, "--json"])
        command = msgspec.json.decode(shown, type=_Shown).proposal.command
        self._terminal.show([*command[1:], "--approved-by", "jane"], lines_with("200 "))
        say_next("The host's state is read back at the vendor: it is isolated")
        self._log.wait_for("execute.confirmed")
        events = ["audit", "events", "--kind", "execute.outcome"]
        self._terminal.show(events, lines_with("outcome: "))

    def _prove(self) -> None:
        say("The tenant's audit log, checked without Vyrox")
        self._terminal.show(["audit", "export", TENANT, "--out", "audit"], lines_with())
        self._verify(expected=3)
        say_next("Somebody changes one character of the export")
        [file, *_] = sorted((self._terminal.directory / "audit").glob("audit-*.jsonl"))
        file.write_bytes(file.read_bytes().replace(b"jane", b"jade", 1))
        self._verify(expected=1)

    def _wait_until_judged(self, expected: dict[str, int]) -> None:
        # The service reports no verdict to other processes, so the demo asks until it is there.
        deadline, found = time.monotonic() + JUDGED_WITHIN_S, list[_Incident]()
        while time.monotonic() < deadline:
            printed = self._terminal.run(["incident", "list", "--json"])
            found = msgspec.json.decode(printed, type=_Incidents).incidents
            if {each.id: each.alerts for each in found} == expected:
                return
        raise OperatorError(f"not judged within {JUDGED_WITHIN_S} s: {found}")

    def _verify(self, expected: int) -> None:
        command = ["-I", "audit/verify_audit.py", "audit"]
        show_command(" ".join(["python3", *command]))
        done = subprocess.run(  # noqa: S603
            [sys.executable, *command],
            cwd=self._terminal.directory,
            capture_output=True,
            check=False,
        )
        echo(done.stdout.decode().splitlines(), lines_with("LINKS HOLD", "NOT SHOWN", "TAMPERED"))
        if done.returncode != expected:
            raise OperatorError(f"the verifier ended with {done.returncode}")


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
