"""`vyrox demo`: the main job from end to end, on free ports, with generated secrets.

Runs the commands that a user would and shows each with what it printed. Everything lives in a
temporary directory that is gone afterwards.
"""

import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import click
import httpx
import msgspec

from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import OperatorError
from vyrox.models import NormalizedAlert, Vendor
from vyrox.simulate.request import GENERIC_FIELD_MAP, build_request
from vyrox.simulate.scenarios import SCENARIOS

TENANT: Final = "acme-corp"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0

_SENT: Final[dict[Vendor, tuple[str, ...]]] = {
    "crowdstrike": ("mimikatz", "lateral-movement --all-stages"),
    "sentinelone": ("psexec --all-stages",),
    "defender": ("lsass-dump",),
    "generic": ("backup",),
}

Environment = dict[str, str]


class _Onboarded(msgspec.Struct):
    secret: str


class _Serving(msgspec.Struct):
    """The log line that names the addresses; other lines have neither."""

    ingestion: str = ""
    proxy: str = ""


@click.command()
def demo() -> None:
    """Run the main job end to end: onboard, send alerts, contain a host, verify the audit log."""
    with tempfile.TemporaryDirectory(prefix="vyrox-demo-") as path:
        directory = Path(path)
        env = {
            "VYROX_DATA_DIR": str(directory / "data"),
            "VYROX_HMAC_SECRET": secrets.token_hex(32),
            "INGESTION_HOST": "127.0.0.1",
            "INGESTION_PORT": "0",
            "PROXY_PORT": "0",
        }
        vendor_secrets = _onboard(env, directory)
        _say("Start the service: one process, with SQLite and a Valkey of its own")
        with _serving(env, directory / "log") as serving:
            click.echo(f"$ vyrox serve\nwebhooks on http://{serving.ingestion}")
            click.echo(f"containment and audit on http://{serving.proxy}")
            # For the simulator alone: to the service these variables are default secrets.
            url = f"http://{serving.ingestion}/webhook"
            env |= vendor_secrets | {"VYROX_URL": url}
            _send_alerts(env)
            _send_again(env)
            _send_unreadable(env)
            _contain(env, f"http://{serving.proxy}")
            _verify(env, f"http://{serving.proxy}", directory / "export")
        _say("The service has stopped cleanly. Next: README.md, “Onboard a vendor”.")


def _onboard(env: Environment, directory: Path) -> Environment:
    """Return the variables in which the simulator looks for each vendor's secret."""
    _say(f"Onboard the tenant {TENANT} for four vendors")
    field_map = directory / "field-map.json"
    field_map.write_bytes(msgspec.json.encode(GENERIC_FIELD_MAP))
    made: Environment = {}
    for vendor in _SENT:
        options = ["--field-map", str(field_map)] if vendor == "generic" else []
        command = ["tenant", "add", TENANT, "--vendor", vendor, *options]
        click.echo(f"$ vyrox {' '.join(command)}")
        printed = _vyrox([*command, "--json"], env).stdout
        made[f"{vendor.upper()}_WEBHOOK_SECRET"] = msgspec.json.decode(
            printed, type=_Onboarded
        ).secret
    return made


def _send_alerts(env: Environment) -> None:
    _say("Send signed alerts, as each vendor does")
    for scenario in (scenario for scenarios in _SENT.values() for scenario in scenarios):
        _show(["simulate", *scenario.split()], env)
    _say("A wrong secret and an unknown tenant get one and the same answer")
    _show(["simulate", "mimikatz"], env | {"CROWDSTRIKE_WEBHOOK_SECRET": "wrong"}, expected=1)
    _show(["simulate", "mimikatz", "--tenant", "nobody"], env, expected=1)
    _say("What waits for triage")
    _show(["queue", "peek", TENANT], env)


def _send_again(env: Environment) -> None:
    _say("The same bytes once more: the same alert, queued once")
    secret = env["CROWDSTRIKE_WEBHOOK_SECRET"]
    request = build_request(
        SCENARIOS["mimikatz"], 1, TENANT, secret, env["VYROX_URL"], wall_clock(), uuid4()
    )
    answers = [_post(request.url, request.headers, request.body) for _ in range(2)]
    if answers[0].content != answers[1].content:
        raise OperatorError("a redelivery was taken for a new alert")


def _send_unreadable(env: Environment) -> None:
    _say("A payload that the field map does not fit is refused, and kept until it can be replayed")
    body = b'{"event":{"id":"42"},"note":"no device, no severity"}'
    signature = sign(body, env["GENERIC_WEBHOOK_SECRET"])
    _post(f"{env['VYROX_URL']}/generic/{TENANT}", {"x-vyrox-signature": signature}, body)
    _show(["queue", "quarantine", "list", TENANT], env)
    _show(["queue", "stats"], env)


def _contain(env: Environment, url: str) -> None:
    _say("A human has approved: isolate the host. Dry run is the default, so no vendor is called")
    [alert] = msgspec.json.decode(
        _vyrox(["queue", "peek", TENANT, "--count", "1", "--json"], env).stdout,
        type=list[NormalizedAlert],
    )
    command = ["execute", "--tenant", TENANT, "--alert", alert.id, "--action", "HOST_ISOLATION"]
    command += ["--host", str(alert.device_id), "--approved-by", "jane.smith#1234", "--url", url]
    once = [*command, "--request-id", str(uuid4())]
    _show(once, env)
    _say("The same request again is answered, not carried out")
    _show(once, env)
    _say("A request that was signed a minute ago is refused")
    _show([*command, "--approved-at", str(int(wall_clock()) - 60)], env, expected=1)


def _verify(env: Environment, url: str, export: Path) -> None:
    _say("Export the tenant's audit log, and verify it without Vyrox")
    _show(["audit", "export", TENANT, "--url", url, "--out", str(export)], env)
    _run_verifier(export, expected=3)
    _say("Somebody changes one character of the export")
    [file] = export.glob("audit-*.jsonl")
    file.write_bytes(file.read_bytes().replace(b"jane", b"jade", 1))
    _run_verifier(export, expected=1)
    _say("Every accepted alert, refusal and outcome is an event in a chain of its own")
    _show(["audit", "events", "--kind", "auth.failed"], env)
    _show(["audit", "events", "--kind", "execute.outcome"], env)


def _run_verifier(export: Path, expected: int) -> None:
    click.echo(f"$ python3 {export / 'verify_audit.py'} {export}")
    done = subprocess.run(  # noqa: S603  (our own)
        [sys.executable, "-I", str(export / "verify_audit.py"), str(export)],
        capture_output=True,
        check=False,
    )
    click.echo(f"{done.stdout.decode()}exit code {done.returncode}")
    if done.returncode != expected:
        raise OperatorError(f"the verifier ended with {done.returncode}: {done.stderr.decode()}")


def _post(url: str, headers: dict[str, str], body: bytes) -> httpx.Response:
    answer = httpx.post(url, headers=headers, content=body, trust_env=False)
    click.echo(f"POST {url}\n{answer.status_code} {answer.text}")
    return answer


@contextmanager
def _serving(env: Environment, log: Path) -> Iterator[_Serving]:
    """Run the service; give the addresses of its listeners.

    Raises:
        OperatorError: It did not start, or did not stop cleanly.
    """
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "vyrox", "serve"]
        process = subprocess.Popen(command, env=env, stderr=stderr)  # noqa: S603  (our own)
    try:
        yield _addresses(process, log)
        process.send_signal(signal.SIGTERM)
        if (status := process.wait(STOP_TIMEOUT_S)) != 0:
            raise OperatorError(f"the service stopped with exit code {status}:\n{log.read_text()}")
    finally:
        process.kill()
        process.wait()


def _addresses(process: subprocess.Popen[bytes], log: Path) -> _Serving:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_bytes().splitlines():
            if line.startswith(b"{") and line.endswith(b"}"):
                serving = msgspec.json.decode(line, type=_Serving)
                if serving.ingestion:
                    return serving
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise OperatorError(f"the service did not start:\n{log.read_text()}")


def _show(command: list[str], env: Environment, expected: int = 0) -> None:
    click.echo(f"$ vyrox {' '.join(command)}")
    done = _vyrox(command, env, expected)
    click.echo(done.stdout.decode() + done.stderr.decode(), nl=False)


def _vyrox(
    command: list[str], env: Environment, expected: int = 0
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and return what it printed.

    Raises:
        OperatorError: It ended with another exit code than `expected`.
    """
    done = subprocess.run(  # noqa: S603  (our own)
        [sys.executable, "-m", "vyrox", *command], env=env, capture_output=True, check=False
    )
    if done.returncode != expected:
        raise OperatorError(
            f"vyrox {' '.join(command)}: exit code {done.returncode}\n{done.stderr.decode()}"
        )
    return done


def _say(text: str) -> None:
    click.secho(f"\n# {text}", bold=True)
