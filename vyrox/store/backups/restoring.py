"""Restores a backup into an empty data directory (contract 91)."""

import os
import shutil
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import Connection

from vyrox.errors import OperatorError
from vyrox.store import data_dir
from vyrox.store.backups import files
from vyrox.store.backups.facts import (
    ChainHead,
    Facts,
    count_readable,
    missing_chains,
    read_facts,
)
from vyrox.store.backups.files import Manifest
from vyrox.store.backups.making import inspect_sqlite
from vyrox.store.database import SQLITE_FILE, open_database, opened_as_it_is
from vyrox.store.encryption import KEY_FILE
from vyrox.store.precedence import PRECEDENCE_FILE
from vyrox.store.schema import MIGRATION_TIMEOUT_S
from vyrox.store.version import read_version

STAGING: Final = "restore.partial"
"""The directory in the data directory in which the database is made ready. Only a restore that was
killed leaves it, and the next one removes it."""

_NO_DATA: Final = frozenset({data_dir.LOCK_FILE, PRECEDENCE_FILE, KEY_FILE, STAGING, "lost+found"})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a backup is restored.

    Attributes:
        keys: Of VYROX_ENCRYPTION_KEY. Without any: the key file of the data directory, or of the
            backup.
        is_key_lost: Restore also if the stored secrets cannot be decrypted.
        other_key: The name of a further key file; it is restored unless there is one.
        finish: What changes the restored database, in one transaction.
    """

    keys: Sequence[str] = ()
    is_key_lost: bool = False
    other_key: str | None = None
    finish: Sequence[Callable[[Connection], None]]


async def restore_sqlite(source: Path, directory: Path, plan: Plan) -> Manifest:
    """Restore the backup in `source` into the data directory, and bring its schema up to date.

    Raises:
        OperatorError: The backup is damaged or of a later version, a service runs, the directory
            holds data, or the key does not fit. The directory is as before.
        DatabaseUnavailableError: A migration failed. The directory is as before.
    """
    manifest = files.read_manifest(source)
    if manifest.database != "sqlite":
        raise OperatorError("this backup is of PostgreSQL: set DATABASE_URL")
    directory = data_dir.prepare(directory)
    if data_dir.is_owned(directory):
        raise OperatorError(
            f"a service runs on {directory}: stop it first, and restore into an empty directory"
        )
    with data_dir.owned_if_used(directory):
        _check_empty(directory, plan)
        staging = directory / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir(mode=0o700)
            await _make_ready(source, manifest, directory, plan)
        except OSError as exc:
            raise OperatorError(f"{directory}: {exc.strerror}") from exc
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return manifest


async def _make_ready(source: Path, manifest: Manifest, directory: Path, plan: Plan) -> None:
    staging = directory / STAGING
    by_name = {file.name: file for file in manifest.files}
    if SQLITE_FILE not in by_name:
        raise OperatorError(f"the backup has no {SQLITE_FILE}")
    for name, file in by_name.items():  # all are read, so that all are compared
        files.copy_checked(source, file, staging / name)
    wanted = [plan.other_key] if plan.keys else [KEY_FILE, plan.other_key]
    restored = [name for name in wanted if name in by_name and not (directory / name).exists()]
    takes_key = KEY_FILE in restored
    vault = _vault(plan.keys, (staging if takes_key else directory) / KEY_FILE)
    facts, readable = inspect_sqlite(staging / SQLITE_FILE, vault)
    if facts != manifest.facts:
        raise OperatorError("the database has other rows or entries than the manifest says")
    if not plan.is_key_lost:
        _check_key(manifest, readable, directory)
    if takes_key and b"," in (staging / KEY_FILE).read_bytes():
        raise OperatorError(
            "the backup has several keys: set VYROX_ENCRYPTION_KEY, here and for the service, to "
            f"the content of {source / KEY_FILE}"
        )
    await _bring_up_to_date(staging, manifest.facts.chains, plan)
    for name in (*restored, SQLITE_FILE):
        files.sync(staging / name)
        os.rename(staging / name, directory / name)
    files.sync(directory)


async def _bring_up_to_date(staging: Path, heads: list[ChainHead], plan: Plan) -> None:
    async with open_database(None, staging, create=False) as database:
        if await database.read(missing_chains, heads, timeout_s=MIGRATION_TIMEOUT_S):
            raise OperatorError("a migration has changed the audit log: nothing was restored")
        await database.write(_finish, plan)
    if (staging / f"{SQLITE_FILE}-wal").exists():
        raise OperatorError(f"{staging} is in use by another process: nothing was restored")


def _finish(connection: Connection, plan: Plan) -> None:
    for each in plan.finish:
        each(connection)


def _check_empty(directory: Path, plan: Plan) -> None:
    found = sorted({path.name for path in directory.iterdir()} - _NO_DATA - {plan.other_key})
    if found:
        raise OperatorError(
            f"{directory} holds data already ({', '.join(found[:3])}): restore into an empty "
            "directory, and set VYROX_DATA_DIR to it"
        )


def _vault(keys: Sequence[str], key_file: Path) -> MultiFernet | None:
    if not keys and key_file.exists():
        keys = files.read_small(key_file, files.MAX_KEY_BYTES).decode("ascii", "replace").split(",")
    try:
        return MultiFernet([Fernet(key.strip()) for key in keys]) if keys else None
    except ValueError as exc:
        raise OperatorError(f"{key_file} holds no encryption key") from exc


def _check_key(manifest: Manifest, readable: int | None, directory: Path) -> None:
    if manifest.facts.secrets == 0 or manifest.readable == 0:
        return
    if readable is None:
        raise OperatorError(
            "the backup holds secrets and no key to them: put the key file into "
            f"{directory / KEY_FILE}, or set VYROX_ENCRYPTION_KEY (if the key is lost: --key-lost)"
        )
    # Without a key at the backup's time it is not known how many were readable.
    if readable < (1 if manifest.readable is None else manifest.readable):
        raise OperatorError(
            f"the key does not fit: it decrypts {readable} of {manifest.facts.secrets} stored "
            "secrets; set VYROX_ENCRYPTION_KEY to all keys of then (if a key is lost: --key-lost)"
        )


async def finish_postgres(
    source: Path, url: str, directory: Path, plan: Plan, is_in_use: Callable[[Connection], Sized]
) -> Facts | None:
    """Compare the database at `url`, which was loaded from the backup's dump, with the backup.

    Return its facts, or None if it is empty: nothing was loaded yet.

    Args:
        is_in_use: Returns the services that use it.

    Raises:
        OperatorError: A service uses it, it holds other data, the key does not fit, or it is of a
            later version.
        DatabaseUnavailableError: It cannot be reached, or a migration failed.
    """
    manifest = files.read_manifest(source)
    if manifest.database != "postgresql":
        raise OperatorError("this backup is of SQLite: unset DATABASE_URL to restore it")
    files.check_files(source, manifest.files)
    vault = _vault(plan.keys, directory / KEY_FILE)
    async with opened_as_it_is(url, directory) as database:
        if await database.read(read_version) is None:
            return None
        facts = await database.read(read_facts, timeout_s=MIGRATION_TIMEOUT_S)
        heads = manifest.facts.chains
        missing = await database.read(missing_chains, heads, timeout_s=MIGRATION_TIMEOUT_S)
        readable = None if vault is None else await database.read(count_readable, vault)
    if missing:
        raise OperatorError(
            f"the database at DATABASE_URL is not that of this backup: {len(missing)} of "
            f"{len(heads)} audit chains do not have the entries it had then"
        )
    if not plan.is_key_lost and facts.secrets:
        # Secrets may have been set between the backup and its dump.
        _check_key(manifest, readable, directory)
    async with open_database(url, directory, create=False) as database:
        if await database.read(is_in_use):
            raise OperatorError(
                "a service uses the database at DATABASE_URL, or did when it was dumped a few "
                "seconds ago: stop it, and run this again in 10 s"
            )
        await database.write(_finish, plan)
    return facts
