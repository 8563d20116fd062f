"""What happens in the demo, once the service runs."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final
from uuid import uuid4

import click
import msgspec

from vyrox.errors import OperatorError
from vyrox.models import NormalizedAlert
from vyrox.trial.demo.running import (
    TENANT,
    Environment,
    echo,
    run,
    say,
    say_next,
    show,
    show_command,
)

CONFIRMED_WITHIN_S: Final = 30.0

OTHER_HOST: Final = "file-srv-02"
"""A host of the mock that the alert does not name."""


class _Event(msgspec.Struct):
    """An event; other members are not needed."""

    outcome: str = ""


class Story:
    """An alert, an approval, a containment and its proof, against a running service."""

    def __init__(self, env: Environment, directory: Path) -> None:
        self._env = env
        self._directory = directory

    def run(self) -> None:
        """Play it.

        Raises:
            OperatorError: A step did not end as it must.
        """
        say("An alert comes in, signed as CrowdStrike signs: stored, queued, and only then 202")
        secret = self._env["CROWDSTRIKE_WEBHOOK_SECRET"]
        show_command(f"export CROWDSTRIKE_WEBHOOK_SECRET={secret}")
        show(["simulate", "mimikatz"], self._env, self._directory)
        alert = self._first_alert()
        click.echo(f"{alert.vendor_severity} on {alert.hostname}: {alert.process_cmdline}")
        self._contain(alert)
        self._prove()

    def _contain(self, alert: NormalizedAlert) -> None:
        say(
            "Jane has approved: isolate the host. The audit entry is on disk before the vendor acts"
        )
        command = ["execute", "--tenant", TENANT, "--alert", alert.id, "--action", "HOST_ISOLATION"]
        approved = ["--approved-by", "jane", "--request-id", str(uuid4())]
        isolate = [*command, "--host", str(alert.device_id), *approved]
        show(isolate, self._env, self._directory)
        say_next("The same request again is answered, not carried out")
        show(isolate, self._env, self._directory, typed="!!")
        say_next("Another host than the alert's is refused")
        other = [*command, "--host", OTHER_HOST, "--approved-by", "jane"]
        show(other, self._env, self._directory, expected=1)
        say_next("The host's state is read back at the vendor: it is isolated")
        events = ["audit", "events", "--kind", "execute.outcome", "--json"]
        show_command(" ".join(["vyrox", *events]))
        for outcome in self._wait_until_confirmed(events):
            click.echo(f'{{"kind":"execute.outcome", … "outcome":"{outcome}", … }}')

    def _prove(self) -> None:
        say("The tenant's audit log, checked without Vyrox")
        show(["audit", "export", TENANT, "--out", "audit"], self._env, self._directory)
        self._verify(expected=3)
        say_next("Somebody changes one character of the export")
        [file, *_] = sorted((self._directory / "audit").glob("audit-*.jsonl"))
        file.write_bytes(file.read_bytes().replace(b"jane", b"jade", 1))
        self._verify(expected=1)

    def _first_alert(self) -> NormalizedAlert:
        command = ["queue", "peek", TENANT, "--count", "1", "--json"]
        printed = run(command, self._env, self._directory).stdout
        return msgspec.json.decode(printed, type=list[NormalizedAlert])[0]

    def _wait_until_confirmed(self, command: list[str]) -> list[str]:
        deadline = time.monotonic() + CONFIRMED_WITHIN_S
        while time.monotonic() < deadline:
            lines = run(command, self._env, self._directory).stdout.splitlines()
            outcomes = [msgspec.json.decode(line, type=_Event).outcome for line in lines]
            if "confirmed" in outcomes:
                return outcomes
            time.sleep(0.2)  # no event says what another process has written
        raise OperatorError(f"not confirmed within {CONFIRMED_WITHIN_S} s")

    def _verify(self, expected: int) -> None:
        command = ["-I", "audit/verify_audit.py", "audit"]
        show_command(" ".join(["python3", *command]))
        done = subprocess.run(  # noqa: S603
            [sys.executable, *command], cwd=self._directory, capture_output=True, check=False
        )
        echo(done.stdout.decode())
        if done.returncode != expected:
            raise OperatorError(f"the verifier ended with {done.returncode}")
