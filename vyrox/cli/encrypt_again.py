"""`vyrox encrypt-again`: the step of a key's rotation for what is stored (contract 104)."""

import asyncio

import click

from vyrox.cli.output import counted, json_option, print_json
from vyrox.cli.stores import opened_database
from vyrox.cli.vault import open_vault
from vyrox.errors import OperatorError
from vyrox.store.encrypted import Again, encrypt_again


@click.command("encrypt-again")
@json_option
def encrypt_again_(as_json: bool) -> None:
    """Encrypt all stored secrets with the first key of VYROX_ENCRYPTION_KEY.

    Do it when every container runs with NEW,OLD. Afterwards OLD is not needed for them. No secret
    changes, and the service may run. Exits with 1 if a secret cannot be read with any of the keys.
    """
    done = asyncio.run(_run())
    if as_json:
        print_json(done)
    else:
        click.echo(f"encrypted with the first key: {counted(done.encrypted, 'secret')}")
    if done.unreadable:
        raise OperatorError(
            f"{counted(done.unreadable, 'secret')} cannot be read with any of the keys: add the "
            "key that encrypted them to VYROX_ENCRYPTION_KEY, or set them again"
        )


async def _run() -> Again:
    async with opened_database() as opened:
        vault = await open_vault(opened)
        return await encrypt_again(opened.database, vault)
