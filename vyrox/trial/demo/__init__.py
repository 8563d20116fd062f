"""`vyrox demo`: one story from an alert to the proof, with every command as one would type it."""

import secrets
import signal
import socket
import tempfile
import threading
from pathlib import Path

import click

from vyrox.trial.demo.running import (
    TENANT,
    WIDTH,
    Environment,
    Mock,
    mocked_vendors,
    say,
    say_next,
    serving,
    show,
    show_command,
)
from vyrox.trial.demo.story import Story


@click.command()
@click.option("--keep", is_flag=True, help="Leave it running until Ctrl-C, and say what to try.")
def demo(keep: bool) -> None:
    """Show the main job end to end: an alert, an approval, a host isolated, and the proof.

    Everything is in a temporary directory, with a mock of the vendors' clouds. Nothing is left.
    """
    with tempfile.TemporaryDirectory(prefix="vyrox-demo-") as path:
        directory = Path(path)
        env = {
            "VYROX_HMAC_SECRET": secrets.token_hex(32),
            "TRIAGE_ENABLED": "false",
            "DRY_RUN": "no",
            "INGESTION_HOST": "127.0.0.1",
            "INGESTION_PORT": str(_free_port()),
            "PROXY_PORT": str(_free_port()),
        }
        env["VYROX_URL"] = f"http://127.0.0.1:{env['INGESTION_PORT']}/webhook"
        with mocked_vendors(env, directory) as mock:
            env["EDR_TEST_URL"] = mock.url
            _set_up(env, directory, mock)
            with serving(env, directory) as service:
                show_command("vyrox serve &")
                click.echo(
                    f"alerts in on http://{service.ingestion}: plain HTTP, put TLS before it"
                )
                click.echo(f"containment on http://{service.proxy}: private")
                Story(env, directory).run()
                if keep:
                    _keep(env, directory)
    say("The service is stopped, its directory deleted. Next: README.md, “Onboard a vendor”.")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _set_up(env: Environment, directory: Path, mock: Mock) -> None:
    say_next("A tenant, and the credentials with which Vyrox acts at its vendor, here a mock")
    _show_exports(env, directory)
    printed = show(["tenant", "add", TENANT, "--vendor", "crowdstrike"], env, directory)
    secret = next(line.split()[1] for line in printed.splitlines() if line.startswith("secret"))
    env["CROWDSTRIKE_WEBHOOK_SECRET"] = secret
    account = next(each for each in mock.credentials if each.vendor == "crowdstrike")
    (directory / "client.secret").write_text(account.client_secret)
    options = ["--client-id", account.client_id, "--base-url", account.base_url]
    command = ["tenant", "edr", "set", TENANT, "--vendor", "crowdstrike", *options]
    show(command, env, directory, stdin="client.secret")


def _show_exports(env: Environment, directory: Path) -> None:
    click.echo(f"$ cd {directory}")
    line = "$ export"
    for name, value in env.items():
        if len(line) + len(name) + len(value) + 2 > WIDTH:
            click.echo(line)
            line = "$ export"
        line += f" {name}={value}"
    click.echo(line)


def _keep(env: Environment, directory: Path) -> None:
    # Handled first: a signal between the last line and the wait would end the demo as a failure.
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    say("It is still running. Try in another terminal:")
    _show_exports(env, directory)
    for command in (
        "simulate lateral-movement --all-stages",
        f"queue peek {TENANT}",
        f"tenant freeze {TENANT}",
        "audit events --follow",
    ):
        click.echo(f"$ vyrox {command}")
    say("Ctrl-C here stops it and deletes its directory.")
    stop.wait()
