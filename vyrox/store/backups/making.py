"""Makes a backup, also while the service runs (contract 91)."""

import os
import shlex
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec
import sqlalchemy as sa
from cryptography.fernet import MultiFernet
from sqlalchemy import Connection

from vyrox.clock import utc_text
from vyrox.errors import MissingDatabaseError, OperatorError
from vyrox.store.backups import files
from vyrox.store.backups.facts import Facts, count_readable, read_facts
from vyrox.store.backups.files import Manifest
from vyrox.store.database import SQLITE_FILE, opened_as_it_is
from vyrox.store.schema import MIGRATION_TIMEOUT_S


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What goes into a backup beside the database.

    Attributes:
        vault: The keys in use, to count what they decrypt; None: there are none.
        keys: Key files by name, if they are to be in the backup.
        others: Further files by name.
    """

    vault: MultiFernet | None
    keys: Mapping[str, bytes]
    others: Mapping[str, bytes]


def back_up_sqlite(data_dir: Path, target: Path, contents: Contents, now: float) -> Manifest:
    """Make the backup in the new directory `target`, and return its manifest.

    Raises:
        MissingDatabaseError: There is no database.
        OperatorError: It cannot be made, or the copy is damaged. Then nothing is left of it.
    """
    source = data_dir / SQLITE_FILE
    if not source.exists():
        raise MissingDatabaseError
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise OperatorError("a backup inside the data directory is lost with it: name another")
    with files.new_directory(target) as directory:
        copy = directory / SQLITE_FILE
        copy_sqlite(source, copy)
        facts, readable = inspect_sqlite(copy, contents.vault)
        return _finish(directory, "sqlite", contents, facts, readable, now)


async def back_up_beside_postgres(
    url: str, data_dir: Path, target: Path, contents: Contents, now: float
) -> Manifest:
    """Make a backup of what is not in PostgreSQL, with the facts to compare its dump with.

    Raises:
        OperatorError: As `back_up_sqlite`.
        DatabaseUnavailableError: The database cannot be reached.
    """
    async with opened_as_it_is(url, data_dir) as database:
        facts, readable = await database.read(
            _inspect, contents.vault, timeout_s=MIGRATION_TIMEOUT_S
        )
    with files.new_directory(target) as directory:
        return _finish(directory, "postgresql", contents, facts, readable, now)


def _finish(
    directory: Path,
    database: str,
    contents: Contents,
    facts: Facts,
    readable: int | None,
    now: float,
) -> Manifest:
    for name, content in {**contents.others, **contents.keys}.items():
        files.write_new(directory / name, content)
    manifest = Manifest(
        format=files.FORMAT,
        made_at=utc_text(now),
        vyrox=version("vyrox"),
        database="sqlite" if database == "sqlite" else "postgresql",
        files=files.describe(directory, sorted(path.name for path in directory.iterdir())),
        facts=facts,
        readable=readable,
    )
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    files.write_new(directory / files.MANIFEST, text)
    return manifest


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database in use, as it is at one moment, into one new file.

    Raises:
        OperatorError: It cannot be read, or there is no room.
    """
    files.write_new(target, b"")
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            # All pages in one step: a copy in parts would begin again with each write.
            reading.backup(writing)
            # The file alone is the database: no WAL beside it.
            writing.execute("PRAGMA journal_mode = DELETE").close()
    except sqlite3.Error as exc:
        raise OperatorError(f"{source} cannot be copied to {target}: {exc}") from exc
    files.sync(target)


def inspect_sqlite(path: Path, vault: MultiFernet | None) -> tuple[Facts, int | None]:
    """Return the facts of a copy that no process writes to, and how many secrets are readable.

    Raises:
        OperatorError: It is damaged, or is not Vyrox's.
    """
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if found != "ok":
                raise OperatorError(f"the database is damaged: {found}")
            return _inspect(connection, vault)
    except sa.exc.DBAPIError as exc:
        raise OperatorError(f"{path} cannot be read: {exc.orig}") from exc
    finally:
        engine.dispose()


def _inspect(connection: Connection, vault: MultiFernet | None) -> tuple[Facts, int | None]:
    readable = None if vault is None else count_readable(connection, vault)
    return read_facts(connection), readable


def dump_command(url: str, directory: Path) -> str:
    """Return the shell command that dumps the database at `url`, without its password."""
    target = shlex.quote(os.fspath(directory.absolute() / "database.dump"))
    return f"(umask 077 && pg_dump --format=custom --file={target} {_libpq(url)})"


def load_command(url: str, directory: Path) -> str:
    """Return the shell command that loads that dump into the empty database at `url`."""
    source = shlex.quote(os.fspath(directory.absolute() / "database.dump"))
    options = "--exit-on-error --single-transaction --no-owner"
    return f"pg_restore {options} --dbname={_libpq(url)} {source}"


def _libpq(url: str) -> str:
    parsed = sa.make_url(url)
    query = dict(parsed.query)
    if "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    plain = sa.URL.create(
        "postgresql", parsed.username, None, parsed.host, parsed.port, parsed.database, query
    )
    return shlex.quote(plain.render_as_string())
