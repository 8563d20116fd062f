"""`vyrox demo`: the main job from end to end, on free ports, with generated secrets.

Runs the commands that a user would and shows each with what it printed. Everything lives in a
temporary directory that is gone afterwards.
"""

import secrets
import tempfile
from pathlib import Path
from typing import Final
from uuid import uuid4

import click
import httpx
import msgspec

from vyrox.clock import wall_clock
from vyrox.crypto import sign
from vyrox.errors import OperatorError
from vyrox.models import Vendor
from vyrox.trial.demo.containment import contain_at_a_vendor, contain_in_a_dry_run
from vyrox.trial.demo.running import TENANT, Environment, run, say, serving, show
from vyrox.trial.simulate.request import GENERIC_FIELD_MAP, build_request
from vyrox.trial.simulate.scenarios import SCENARIOS

_SENT: Final[dict[Vendor, tuple[str, ...]]] = {
    "crowdstrike": ("mimikatz", "lateral-movement --all-stages"),
    "sentinelone": ("psexec --all-stages",),
    "defender": ("lsass-dump",),
    "generic": ("backup",),
}


class _Onboarded(msgspec.Struct):
    secret: str


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
        say("Start the service: one process, with SQLite and a Valkey of its own")
        with serving(env, directory / "log") as service:
            click.echo(f"$ vyrox serve\nwebhooks on http://{service.ingestion}")
            click.echo(f"containment and audit on http://{service.proxy}")
            # For the simulator alone: to the service these variables are default secrets.
            url = f"http://{service.ingestion}/webhook"
            env |= vendor_secrets | {"VYROX_URL": url}
            _send_alerts(env)
            _send_again(env)
            _send_unreadable(env)
            contain_in_a_dry_run(env, f"http://{service.proxy}")
        contain_at_a_vendor(env, directory)
        say("The service has stopped cleanly. Next: README.md, “Onboard a vendor”.")


def _onboard(env: Environment, directory: Path) -> Environment:
    """Return the variables in which the simulator looks for each vendor's secret."""
    say(f"Onboard the tenant {TENANT} for four vendors")
    field_map = directory / "field-map.json"
    field_map.write_bytes(msgspec.json.encode(GENERIC_FIELD_MAP))
    made: Environment = {}
    for vendor in _SENT:
        options = ["--field-map", str(field_map)] if vendor == "generic" else []
        command = ["tenant", "add", TENANT, "--vendor", vendor, *options]
        click.echo(f"$ vyrox {' '.join(command)}")
        printed = run([*command, "--json"], env).stdout
        made[f"{vendor.upper()}_WEBHOOK_SECRET"] = msgspec.json.decode(
            printed, type=_Onboarded
        ).secret
    return made


def _send_alerts(env: Environment) -> None:
    say("Send signed alerts, as each vendor does")
    for scenario in (scenario for scenarios in _SENT.values() for scenario in scenarios):
        show(["simulate", *scenario.split()], env)
    say("A wrong secret and an unknown tenant get one and the same answer")
    show(["simulate", "mimikatz"], env | {"CROWDSTRIKE_WEBHOOK_SECRET": "wrong"}, expected=1)
    show(["simulate", "mimikatz", "--tenant", "nobody"], env, expected=1)
    say("What waits for triage")
    show(["queue", "peek", TENANT], env)


def _send_again(env: Environment) -> None:
    say("The same bytes once more: the same alert, queued once")
    secret = env["CROWDSTRIKE_WEBHOOK_SECRET"]
    request = build_request(
        SCENARIOS["mimikatz"], 1, TENANT, secret, env["VYROX_URL"], wall_clock(), uuid4()
    )
    answers = [_post(request.url, request.headers, request.body) for _ in range(2)]
    if answers[0].content != answers[1].content:
        raise OperatorError("a redelivery was taken for a new alert")


def _send_unreadable(env: Environment) -> None:
    say("A payload that the field map does not fit is refused, and kept until it can be replayed")
    body = b'{"event":{"id":"42"},"note":"no device, no severity"}'
    signature = sign(body, env["GENERIC_WEBHOOK_SECRET"])
    _post(f"{env['VYROX_URL']}/generic/{TENANT}", {"x-vyrox-signature": signature}, body)
    show(["queue", "quarantine", "list", TENANT], env)
    show(["queue", "stats"], env)


def _post(url: str, headers: dict[str, str], body: bytes) -> httpx.Response:
    answer = httpx.post(url, headers=headers, content=body, trust_env=False)
    click.echo(f"POST {url}\n{answer.status_code} {answer.text}")
    return answer
