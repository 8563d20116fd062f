"""The demo: one story from an alert to the proof, with every command as one would type it."""

import secrets
import signal
import socket
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import click

from vyrox.trial.demo.channel import Channel
from vyrox.trial.demo.servers import Discord, Mock, announced, serving
from vyrox.trial.demo.story import APPROVER, INCIDENT, TENANT, Story
from vyrox.trial.demo.terminal import Run, Terminal, lines_with, say, say_next, show_command


def play(run: Run, *, keep: bool) -> None:
    """Play the whole story, in a temporary directory.

    Args:
        run: Runs one `vyrox` command.
        keep: Leave the service running until Ctrl-C, and say what to try.

    Raises:
        OperatorError: A step did not end as it must.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vyrox-demo-")))
        env = _environment()
        terminal = Terminal(run, directory, env)
        mock = stack.enter_context(announced("mock-edr", Mock, env, directory))
        discord = stack.enter_context(announced("fake-discord", Discord, env, directory))
        env |= {"EDR_TEST_URL": mock.url, **discord.settings}
        _set_up(terminal, mock)
        addresses, log = stack.enter_context(serving(env, directory))
        show_command("vyrox serve &")
        public, private = addresses.ingestion, addresses.proxy
        click.echo(f"alerts in on http://{public} (put TLS before it), containment on {private}")
        Story(terminal, log, Channel(discord)).play()
        if keep:
            _keep(terminal, discord)
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


def _set_up(terminal: Terminal, mock: Mock) -> None:
    say_next("A tenant, and the credentials with which Vyrox acts at its vendor, here a mock")
    click.echo(f"$ cd {terminal.directory}")
    add = ["tenant", "add", TENANT, "--vendor", "crowdstrike"]
    printed = terminal.show(add, lines_with())
    secret = next(line.split()[1] for line in printed.splitlines() if line.startswith("secret"))
    account = next(each for each in mock.credentials if each.vendor == "crowdstrike")
    (terminal.directory / "client.secret").write_text(account.client_secret)
    options = ["--client-id", account.client_id, "--base-url", account.base_url]
    command = ["tenant", "edr", "set", TENANT, "--vendor", "crowdstrike", *options]
    terminal.show(command, lines_with(), "client.secret")
    terminal.env["CROWDSTRIKE_WEBHOOK_SECRET"] = secret


def _keep(terminal: Terminal, discord: Discord) -> None:
    # Handled first: a signal between the last line and the wait would end the demo as a failure.
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    say("It is still running. Try in another terminal:")
    terminal.show_exports()
    for command in (
        "incident list",
        f"incident show {INCIDENT}",
        "simulate ransomware-precursor --all-stages",
        f"approval list {TENANT}",
        f"lease list {TENANT}",
        f"tenant freeze {TENANT}",
        "audit events --follow",
    ):
        click.echo(f"$ vyrox {command}")
    origin = f"http://localhost:{terminal.env['CONSOLE_PORT']}"
    say_next(f"Decide with a passkey: the console is on {origin}. Open this link for {APPROVER}:")
    link = terminal.run(["approver", "link", TENANT, APPROVER])
    click.echo(next(line.strip() for line in link.splitlines() if "/enrol#" in line))
    click.echo(f"$ vyrox approver confirm {TENANT} {APPROVER}")
    say_next(f"What the fake Discord shows: curl {discord.url}/_fake/messages")
    say("Ctrl-C here stops it and deletes its directory.")
    stop.wait()
