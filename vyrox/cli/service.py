"""`vyrox serve`, `migrate` and `generate-key`."""

import click


@click.command()
def serve() -> None:
    """Serve all listeners until SIGTERM. Settings come from the environment."""
    # Imported here: the other commands start in half the time without it.
    import uvloop

    from vyrox import log
    from vyrox.serve import serve as serve_until_stopped
    from vyrox.settings import Settings

    settings = Settings.from_process()
    with log.configured():
        uvloop.run(serve_until_stopped(settings))


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date. `serve` does so too, before it opens a port."""
    import asyncio

    from vyrox.cli.stores import opened_database

    async def run() -> None:
        async with opened_database(create=True):
            pass

    asyncio.run(run())
    click.echo("the schema is up to date")


@click.command("generate-key")
def generate_key() -> None:
    """Print a new key for VYROX_ENCRYPTION_KEY."""
    from cryptography.fernet import Fernet

    click.echo(Fernet.generate_key().decode("ascii"))
