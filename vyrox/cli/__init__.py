"""The `vyrox` command.

What goes wrong in an expected way is one line on standard error and exit code 1; a usage error is
exit code 2.
"""

from typing import Final

import click
from cryptography.fernet import Fernet

from vyrox.cli.audit import audit
from vyrox.cli.edr import edr
from vyrox.cli.execute import execute, lift
from vyrox.cli.guard_rails import freeze, policy, unfreeze
from vyrox.cli.mock_edr import mock_edr
from vyrox.cli.queue import queue
from vyrox.cli.tenant import tenant
from vyrox.errors import DatabaseUnavailableError, QueueUnavailableError, VyroxError
from vyrox.trial.demo import demo
from vyrox.trial.simulate.command import simulate


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except VyroxError as exc:
            which = next((text for kind, text in _STORES.items() if isinstance(exc, kind)), "")
            click.echo(f"vyrox: {which}{exc}", err=True)
            ctx.exit(1)


_STORES: Final[dict[type[VyroxError], str]] = {
    DatabaseUnavailableError: "the database is unavailable: ",
    QueueUnavailableError: "Redis is unavailable: ",
}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vyrox")
def cli() -> None:
    """EDR alerts in without losing one, approved containment out exactly once."""


@cli.command()
def serve() -> None:
    """Serve both listeners until SIGTERM. Settings come from the environment."""
    # Imported here: the other commands start in half the time without it.
    import uvloop

    from vyrox import log
    from vyrox.serve import serve as serve_until_stopped
    from vyrox.settings import Settings

    settings = Settings.from_process()
    with log.configured():
        uvloop.run(serve_until_stopped(settings))


@cli.command()
def migrate() -> None:
    """Bring the database's schema up to date. `serve` does the same before it starts."""
    import asyncio

    from vyrox.cli.stores import opened_database

    async def run() -> None:
        async with opened_database(create=True):
            pass

    asyncio.run(run())


@cli.command("generate-key")
def generate_key() -> None:
    """Print a new key for VYROX_ENCRYPTION_KEY."""
    click.echo(Fernet.generate_key().decode("ascii"))


for command in (edr, freeze, unfreeze, policy):
    tenant.add_command(command)
cli.add_command(tenant)
cli.add_command(queue)
cli.add_command(execute)
cli.add_command(lift)
cli.add_command(audit)
cli.add_command(simulate)
cli.add_command(demo)
cli.add_command(mock_edr)


def main() -> None:
    """Run the command line and exit."""
    cli()
