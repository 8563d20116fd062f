"""`vyrox serve`, `migrate` and `generate-key`."""

import gc
import logging

import click


@click.command()
def serve() -> None:
    """Serve all listeners until SIGTERM. Settings come from the environment."""
    # What a start makes stays until the end. To search it for garbage takes a tenth of a start.
    gc.disable()
    # Imported here: the other commands start in half the time without it.
    import uvloop

    from vyrox import log
    from vyrox.cli.folding import say
    from vyrox.cli.log_text import choose
    from vyrox.errors import SettingsError
    from vyrox.serve import serve as serve_until_stopped
    from vyrox.settings import Settings
    from vyrox.settings.shown import look_alikes

    try:
        settings = Settings.from_process()
    except SettingsError:
        for each in look_alikes():
            say(f"vyrox: {each}")
        raise
    with log.configured(encode=choose(settings)):
        for each in look_alikes():
            log.event("settings.look_alike", logging.WARNING, **each._asdict())
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
