"""`vyrox backup` and `vyrox restore` (contract 91)."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec
from cryptography.fernet import Fernet, MultiFernet

from vyrox.chain import log_keys
from vyrox.chain.identity import renew_log_id
from vyrox.cli.config import KEY_FILES
from vyrox.cli.folding import say
from vyrox.cli.output import (
    counted,
    json_option,
    print_json,
    print_record,
    printable,
    terminal_width,
)
from vyrox.cli.stores import prepare_directory
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.settings import Settings
from vyrox.settings.shown import show_settings
from vyrox.store.backups import files, making, restoring
from vyrox.store.backups.files import Manifest
from vyrox.store.encryption import KEY_FILE
from vyrox.tenants.containers import forget_all, running

SETTINGS_FILE: Final = "settings.json"

_directory = click.argument(
    "directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path)
)


@click.command()
@_directory
@click.option("--with-key", is_flag=True, help="Include the keys: who has it all can act as you.")
@json_option
def backup(directory: Path, with_key: bool, as_json: bool) -> None:
    """Make a backup in DIR, a new directory; the service may run.

    DIR gets a copy of the database, the settings without secrets, and a manifest with which
    `vyrox restore` checks them. Keep the keys in another place than the backup: both together can
    forge alerts. With DATABASE_URL, the command for pg_dump is printed.
    """
    settings = Settings.from_process()
    manifest = _back_up(settings, directory, with_key=with_key)
    if as_json:
        print_json(manifest)
    else:
        _print(manifest, directory, "in it" if with_key else _where_the_key_is(settings))
    if settings.database_url is not None:
        say("now dump the database; it asks for the password, or reads ~/.pgpass:")
        click.echo(making.dump_command(settings.database_url, directory), err=as_json)


def _back_up(settings: Settings, directory: Path, *, with_key: bool) -> Manifest:
    url = settings.database_url
    data_dir = settings.data_dir if url else prepare_directory(settings.data_dir, create=False)
    key = _key(settings, data_dir)
    if with_key and key is None:
        raise OperatorError("there is no key to include")
    contents = making.Contents(
        vault=None if key is None else _vault(key),
        keys=_all_keys(data_dir, key) if with_key and key is not None else {},
        others={SETTINGS_FILE: msgspec.json.encode(show_settings(KEY_FILES).settings)},
    )
    if url is None:
        return making.back_up_sqlite(data_dir, directory, contents, wall_clock())
    return asyncio.run(
        making.back_up_beside_postgres(url, data_dir, directory, contents, wall_clock())
    )


def _key(settings: Settings, data_dir: Path) -> bytes | None:
    """Return the keys in use, as a key file has them."""
    if settings.encryption_keys:
        return ",".join(settings.encryption_keys).encode()
    path = data_dir / KEY_FILE
    return files.read_small(path, files.MAX_KEY_BYTES) if path.exists() else None


def _all_keys(data_dir: Path, key: bytes) -> dict[str, bytes]:
    path = data_dir / log_keys.KEY_FILE
    own = {KEY_FILE: key}
    if not path.exists():
        return own
    return {**own, log_keys.KEY_FILE: files.read_small(path, log_keys.MAX_FILE_BYTES)}


def _vault(keys: bytes) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys.split(b",")])
    except ValueError as exc:
        raise OperatorError(f"{KEY_FILE} holds no encryption key") from exc


def _where_the_key_is(settings: Settings) -> str:
    path = settings.data_dir.absolute() / KEY_FILE
    place = "VYROX_ENCRYPTION_KEY" if settings.encryption_keys else str(path)
    return f"not in it: keep a copy of {place} in another place"


def _print(manifest: Manifest, directory: Path, key: str) -> None:
    facts = manifest.facts
    entries = sum(chain.entries for chain in facts.chains)
    click.echo(f"backup of {manifest.made_at} UTC, checked")
    fields = {
        "in": str(directory.absolute()),
        "size": f"{sum(file.size for file in manifest.files):,} bytes",
        "alerts": f"{facts.tables.get('alerts', 0):,}",
        "audit log": f"{entries:,} entries in {counted(len(facts.chains), 'chain')}",
        "secrets": f"{facts.secrets:,}",
        "schema": facts.schema,
        "key": key,
    }
    print_record({f"  {name}": value for name, value in fields.items()}, terminal_width())


@click.command()
@_directory
@click.option("--key-lost", is_flag=True, help="Restore though the stored secrets are unreadable.")
def restore(directory: Path, key_lost: bool) -> None:
    """Restore the backup in DIR into the data directory, which must be empty.

    Everything is checked first: the files, the rows, the audit log's heads, the key. A backup of an
    earlier version gets this version's schema. With DATABASE_URL, the command for pg_restore is
    printed; run this once more afterwards, to compare.
    """
    settings = Settings.from_process()
    plan = restoring.Plan(
        keys=settings.encryption_keys,
        is_key_lost=key_lost,
        other_key=None if settings.checkpoints.keys else log_keys.KEY_FILE,
        finish=(renew_log_id, forget_all),
    )
    if settings.database_url is not None:
        _compare(settings, settings.database_url, directory, plan)
        return
    restored = asyncio.run(restoring.restore_sqlite(directory, settings.data_dir, plan))
    click.echo(printable(f"restored the backup of {restored.made_at} UTC"))
    click.echo(f"  in {settings.data_dir.absolute()}")
    say(
        "What happened since then is not in it: alerts that were finished since are delivered "
        "again, and hosts that were contained since are not known. Compare the vendors' consoles. "
        "Its audit log is another log from here on, with another name."
    )


def _compare(settings: Settings, url: str, directory: Path, plan: restoring.Plan) -> None:
    is_in_use = partial(running, now=wall_clock())
    facts = asyncio.run(
        restoring.finish_postgres(directory, url, settings.data_dir, plan, is_in_use)
    )
    if facts is None:
        click.echo(making.load_command(url, directory))
        raise OperatorError("the database is empty: run the command above, then this once more")
    entries = sum(chain.entries for chain in facts.chains)
    click.echo(
        "restored: the database has all entries of the audit log that it had at the backup, "
        f"{entries} in all"
    )
