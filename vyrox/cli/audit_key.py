"""`vyrox audit key` and `vyrox audit reader`: who signs, and who may read (contract 93 and 94)."""

import asyncio
from base64 import b64encode
from typing import Final

import click
import msgspec

from vyrox.chain import log_keys
from vyrox.chain.entry import SERVICE
from vyrox.chain.identity import KnownKey, Signer, list_keys, read_log_name, register
from vyrox.chain.notes import Key
from vyrox.chain.reading import STREAMS
from vyrox.cli.options import by_option, tenant_argument, tenant_or_all
from vyrox.cli.output import json_option, print_json, print_record
from vyrox.cli.stores import Opened, opened_database, read, write
from vyrox.cli.tables import at, print_table, wide_option
from vyrox.cli.vault import open_vault
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.tenants import audit_readers
from vyrox.tenants.known import require_known, require_logged

KEPT: Final = 2
"""Keys that the file has after a change: the new one, and the one that endorses it."""


class _Shown(msgspec.Struct, frozen=True):
    """What an outsider needs to verify checkpoints.

    Attributes:
        log_key: The verifier key under the name of the log, as a witness prints it.
        keys: The verifier key of each stream.
        known: All keys so far, each with the note of the key before.
    """

    log: str
    log_key: str
    public_key: str
    keys: dict[str, str]
    known: list[dict[str, str | int | None]]


@click.command()
@tenant_or_all
@click.option(
    "--rotate",
    is_flag=True,
    help="Make a new key in the data directory, which the present one endorses. It signs from the "
    "next start of the service on.",
)
@json_option
def key(tenant_id: str | None, rotate: bool, as_json: bool) -> None:
    """Print the public keys that verify the checkpoints of TENANT, or of the service's own chain.

    Give them to the people who verify your log, by another way than the log itself.
    """
    shown = asyncio.run(_show_key(tenant_id or SERVICE, rotate=rotate))
    if as_json:
        print_json(shown)
        return
    print_record({"log": shown.log_key, **shown.keys}, width=1000)
    for each in shown.known:
        if each["endorsement"] is not None:
            click.echo(f"\nkey {each['number']} was endorsed by the key before:\n")
            click.echo(each["endorsement"], nl=False)


async def _show_key(tenant_id: str, *, rotate: bool) -> _Shown:
    async with opened_database() as opened:
        await opened.database.read(require_logged, tenant_id)
        signer = await open_signer(opened)
        if rotate:
            await opened.database.write(register, signer, wall_clock())
            _rotate(opened)
            signer = await open_signer(opened)
            await opened.database.write(register, signer, wall_clock())
        known = await opened.database.read(list_keys)
    keys: dict[str, str] = {stream: str(signer.key(tenant_id, stream)) for stream in STREAMS}
    public = b64encode(signer.keys[0].public).decode()
    log_key = str(Key(signer.log_name, signer.keys[0].public))
    return _Shown(signer.log_name, log_key, public, keys, [_fields(each) for each in known])


def _rotate(opened: Opened) -> None:
    settings = opened.settings
    if settings.checkpoints.keys or settings.database_url is not None:
        raise OperatorError(
            "set VYROX_CHECKPOINT_KEY=OLD,NEW in every container and restart, then NEW,OLD; vyrox "
            "generate-key makes the new one. Remove the old one when all witnesses have followed"
        )
    directory = settings.data_dir
    before = log_keys.read_key_file(directory)
    log_keys.write_log_keys(directory, [log_keys.new_key(), *before][:KEPT])


def _fields(known: KnownKey) -> dict[str, str | int | None]:
    fields = msgspec.structs.asdict(known)
    return {**fields, "public_key": b64encode(known.public_key).decode()}


async def open_signer(opened: Opened) -> Signer:
    """Return what signs checkpoints, with the keys that the service has.

    Raises:
        OperatorError: There is no key, or it cannot be read.
    """
    settings = opened.settings
    directory = settings.data_dir if settings.database_url is None else None
    keys = log_keys.open_log_keys(settings.checkpoints.keys, directory, make=False)
    if not keys:
        raise OperatorError(
            "there is no key for checkpoints: `vyrox serve` makes one in the data directory; with "
            "DATABASE_URL, set VYROX_CHECKPOINT_KEY as the service has it"
        )
    name = await opened.database.read(read_log_name, settings.checkpoints.origin)
    return Signer(name, tuple(keys))


@click.command()
@tenant_argument
@click.option("--name", default="reader", show_default=True, help="Who gets the key.")
@click.option("--list", "is_list", is_flag=True, help="List the readers of TENANT.")
@click.option("--remove", "removed", metavar="NAME", help="Accept the key of NAME no longer.")
@by_option
@wide_option
@json_option
def reader(
    tenant_id: str, name: str, is_list: bool, removed: str | None, by: str, as_json: bool
) -> None:
    """Make a key that reads the audit log of TENANT and does nothing else; print it this once.

    It signs requests for `/audit/export`, `/audit/checkpoint` and `/audit/proof`, in the place of
    VYROX_HMAC_SECRET.
    """
    if is_list:
        _list_readers(tenant_id, as_json)
    elif removed is not None:
        write(audit_readers.remove_reader, tenant_id, removed, by, wall_clock())
        click.echo(f"{removed} cannot read the audit log of {tenant_id} any more")
    else:
        if audit_readers.NAME.fullmatch(name) is None:
            raise click.BadParameter("--name must be 1 to 64 letters, digits, dots and dashes")
        secret = asyncio.run(_add_reader(tenant_id, name, by))
        if as_json:
            print_json({"tenant_id": tenant_id, "name": name, "secret": secret})
        else:
            click.echo(secret)


async def _add_reader(tenant_id: str, name: str, by: str) -> str:
    async with opened_database() as opened:
        vault = await open_vault(opened)
        return await opened.database.write(
            audit_readers.add_reader, vault, tenant_id, name, by, wall_clock()
        )


def _list_readers(tenant_id: str, as_json: bool) -> None:
    read(require_known, tenant_id)
    found = read(audit_readers.list_readers, tenant_id)
    if as_json:
        print_json(found)
        return
    rows = ((each.name, at(each.added_at), each.added_by) for each in found)
    print_table(("READER", "ADDED", "BY"), rows)
    if not found:
        click.echo(f"{tenant_id} has no readers; make one: vyrox audit reader TENANT", err=True)
