"""`vyrox alert watch`: new alerts as they come, printed or given to a command (contract 50)."""

import asyncio
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import click
import msgspec

from vyrox.alerts.finding import AlertFilter
from vyrox.alerts.listing import ListedAlert
from vyrox.alerts.watching import BY_SEVERITY, Watch, at_least
from vyrox.cli.alert_text import list_lines
from vyrox.cli.choices import Choice
from vyrox.cli.options import tenant_first
from vyrox.cli.output import DEFAULT_COLUMNS, json_option, printable, terminal_width
from vyrox.cli.stores import opened_database
from vyrox.clock import wall_clock
from vyrox.errors import UnavailableError
from vyrox.models import Severity
from vyrox.tenants.known import require_known

INTERVAL_S: Final = 1.0

COMMAND_TIMEOUT_S: Final = 60.0
"""How long one run of the command may take: the alerts behind it wait."""

_STANDARD_ERROR: Final = 2


def _check_command(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> list[str]:
    try:
        words = shlex.split(value or "")
    except ValueError as exc:
        raise click.BadParameter(f"cannot be read: {exc}") from exc
    # Now, and not when the first alert arrives.
    if value is not None and (not words or shutil.which(words[0]) is None):
        raise click.BadParameter("must begin with a program that exists and may be run")
    return words


@click.command()
@tenant_first()
@click.option(
    "--min-severity",
    type=Choice(BY_SEVERITY),
    default=BY_SEVERITY[-1],
    help="Only alerts of this severity or a worse one; `unknown` is between `low` and `medium`.",
)
@click.option(
    "--exec",
    "command",
    metavar="CMD",
    callback=_check_command,
    help="Run CMD for each alert, with the alert as JSON on its standard input. There is no shell.",
)
@json_option
def watch(
    tenant_id: str | None, min_severity: Severity, command: Sequence[str], as_json: bool
) -> None:
    """Print new alerts as they come, until Ctrl-C. With --json, one object a line.

    CMD runs for one alert at a time, for at most 60 s, and prints to standard error. If it fails,
    that is reported there, and the next alert follows.
    """
    wanted = AlertFilter(tenant_id, at_least(min_severity))
    asyncio.run(_watch(wanted, command, as_json=as_json))


async def _watch(wanted: AlertFilter, command: Sequence[str], *, as_json: bool) -> None:
    async with opened_database() as opened:
        if wanted.tenant_id is not None:
            await opened.database.read(require_known, wanted.tenant_id)
        following = Watch(opened.database, wall_clock, wanted)
        await following.start()
        click.echo("watching; Ctrl-C ends it", err=True)
        while True:
            try:
                async for alert in following.new_alerts():
                    _print(alert, as_json=as_json)
                    if command:
                        await _run(command, alert)
            except UnavailableError as exc:
                click.echo(f"vyrox: the database is unavailable, trying again: {exc}", err=True)
            await asyncio.sleep(INTERVAL_S)


def _print(alert: ListedAlert, *, as_json: bool) -> None:
    if as_json:
        text = msgspec.json.encode(alert).decode()
        # Within the strings only: JSON outside of them is printable.
        click.echo("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))
        return
    width = terminal_width() if sys.stdout.isatty() else DEFAULT_COLUMNS
    click.echo("\n".join(list_lines(alert, width)))


async def _run(command: Sequence[str], alert: ListedAlert) -> None:
    """Run the command; report on standard error if it fails."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=_STANDARD_ERROR
        )
    except OSError as exc:
        _report(alert, f"cannot be started: {exc.strerror}")
        return
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            await process.communicate(msgspec.json.encode(alert))
    except TimeoutError:
        _report(alert, f"was ended after {COMMAND_TIMEOUT_S:.0f} s")
    else:
        if process.returncode:
            _report(alert, f"exited with {process.returncode}")
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _report(alert: ListedAlert, what: str) -> None:
    click.echo(f"vyrox: the command {what}, for alert {printable(alert.id)}", err=True)
