"""The demo's second half: containment, dry and at a mock of a vendor, and the audit log."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import click
import httpx
import msgspec

from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.models import NormalizedAlert
from vyrox.trial.demo.running import (
    TENANT,
    Environment,
    Mock,
    mocked_vendors,
    run,
    say,
    serving,
    show,
)

CONFIRMED_WITHIN_S: Final = 30.0


class _Told(msgspec.Struct):
    """An event; other members are not needed."""

    outcome: str = ""


class _Effect(msgspec.Struct):
    """A change of state at the mock."""

    vendor: str
    device_id: str
    what: str


def contain_in_a_dry_run(env: Environment, url: str) -> None:
    """Isolate the first alert's host in a dry run; show what is refused and what is replayed."""
    say("A human has approved: isolate the host. Dry run is the default, so no vendor is called")
    alert = _first_alert(env)
    command = _approved("execute", alert, "HOST_ISOLATION", str(alert.device_id), url)
    once = [*command, "--request-id", str(uuid4())]
    show(once, env)
    say("The same request again is answered, not carried out")
    show(once, env)
    say("A request that was signed a minute ago is refused")
    show([*command, "--approved-at", str(int(wall_clock()) - 60)], env, expected=1)


def contain_at_a_vendor(env: Environment, directory: Path) -> None:
    """Isolate a host at a mock of CrowdStrike, lift that again, and verify the audit log."""
    with _live(env, directory) as (live, mock, url):
        alert = _first_alert(env)
        say("Isolate the host for real: once the entry is on disk, by the vendor's own device id")
        show(_approved("execute", alert, "HOST_ISOLATION", str(alert.device_id), url), live)
        _wait_for_confirmations(live, 1)
        show(["audit", "events", "--kind", "execute.outcome"], live)
        say("A third containment within the hour is refused by the guard rail")
        command = _approved("execute", alert, "HOST_ISOLATION", str(alert.device_id), url)
        show(command, live, expected=1)
        show(["audit", "events", "--kind", "execute.refused"], live)
        say("Undo it")
        show(_approved("lift", alert, "LIFT_HOST_ISOLATION", str(alert.device_id), url), live)
        _wait_for_confirmations(live, 2)
        say("What has changed at the vendor: two things, one for each approval")
        _show_effects(mock)
        _verify_the_log(live, url, directory / "export")


@contextmanager
def _live(env: Environment, directory: Path) -> Iterator[tuple[Environment, Mock, str]]:
    """Run the service out of dry run beside a mock of the vendors."""
    say("Now with DRY_RUN=false, at a mock of the vendors: credentials, and a guard rail")
    with mocked_vendors(env, directory / "mock.log") as mock:
        live = env | {"DRY_RUN": "false", "EDR_TEST_URL": mock.url}
        account = next(each for each in mock.credentials if each.vendor == "crowdstrike")
        edr = ["tenant", "edr"]
        options = ["--client-id", account.client_id, "--base-url", account.base_url]
        show(
            [*edr, "set", TENANT, "--vendor", "crowdstrike", *options],
            live,
            stdin=account.client_secret.encode(),
        )
        show([*edr, "check", TENANT], live)
        show(["tenant", "policy", TENANT, "--per-hour", "2"], live)
        with serving(live, directory / "live.log") as service:
            yield live, mock, f"http://{service.proxy}"


def _first_alert(env: Environment) -> NormalizedAlert:
    printed = run(["queue", "peek", TENANT, "--count", "1", "--json"], env).stdout
    return msgspec.json.decode(printed, type=list[NormalizedAlert])[0]


def _approved(route: str, alert: NormalizedAlert, action: str, host: str, url: str) -> list[str]:
    command = [route, "--tenant", TENANT, "--alert", alert.id, "--action", action]
    return [*command, "--host", host, "--approved-by", "jane.smith#1234", "--url", url]


def _wait_for_confirmations(env: Environment, expected: int) -> None:
    deadline = time.monotonic() + CONFIRMED_WITHIN_S
    while time.monotonic() < deadline:
        printed = run(["audit", "events", "--kind", "execute.outcome", "--json"], env).stdout
        told = [msgspec.json.decode(line, type=_Told) for line in printed.splitlines()]
        if [event.outcome for event in told].count("confirmed") >= expected:
            return
        time.sleep(0.2)  # no event tells what another process has written
    raise OperatorError(f"not confirmed within {CONFIRMED_WITHIN_S} s")


def _show_effects(mock: Mock) -> None:
    answer = httpx.get(f"{mock.url}/_mock/effects", trust_env=False)
    for effect in msgspec.json.decode(answer.content, type=list[_Effect]):
        click.echo(f"{effect.vendor}: {effect.what} {effect.device_id}")


def _verify_the_log(env: Environment, url: str, export: Path) -> None:
    say("Export the tenant's audit log, and verify it without Vyrox")
    show(["audit", "export", TENANT, "--url", url, "--out", str(export)], env)
    _run_verifier(export, expected=3)
    say("Somebody changes one character of the export")
    [file, *_] = sorted(export.glob("audit-*.jsonl"))
    file.write_bytes(file.read_bytes().replace(b"jane", b"jade", 1))
    _run_verifier(export, expected=1)
    say("Every accepted alert, refusal and outcome is an event in a chain of its own")
    show(["audit", "events", "--kind", "auth.failed"], env)


def _run_verifier(export: Path, expected: int) -> None:
    click.echo(f"$ python3 -I {export / 'verify_audit.py'} {export}")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-I", str(export / "verify_audit.py"), str(export)],
        capture_output=True,
        check=False,
    )
    click.echo(f"{done.stdout.decode()}exit code {done.returncode}")
    if done.returncode != expected:
        raise OperatorError(f"the verifier ended with {done.returncode}: {done.stderr.decode()}")
