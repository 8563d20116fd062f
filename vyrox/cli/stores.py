"""The database of a command, opened while it runs, beside a running service or alone."""

import asyncio
from collections.abc import AsyncIterator, Sized
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import click

from vyrox.errors import DatabaseBusyError, MissingDatabaseError, OperatorError
from vyrox.settings import Settings
from vyrox.store import data_dir
from vyrox.store.database import Database, Transaction, TransactionWith, open_database
from vyrox.tenants.known import require_known

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

URGENT_S: Final = 30.0
"""How long an urgent write is tried while the database is locked."""

RETRY_S: Final = 0.05


@dataclass(frozen=True)
class Opened:
    """The database, and the settings it was opened with."""

    settings: Settings
    database: Database


@asynccontextmanager
async def opened_database(*, create: bool = False, urgent: bool = False) -> AsyncIterator[Opened]:
    """Open the database that the environment names, its schema up to date.

    Args:
        create: Make the data directory and the database where there are none, and say so.
        urgent: Writes go before those of a running service.

    Raises:
        SettingsError: A setting is bad.
        OperatorError: The data directory cannot be used, or there is no database.
        DatabaseUnavailableError: The database cannot be opened.
    """
    settings = Settings.from_process()
    url, directory = settings.database_url, settings.data_dir
    if url is None:
        directory = prepare_directory(directory, create=create)
    async with AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(
                open_database(url, directory, create=False, urgent=urgent)
            )
        except MissingDatabaseError as exc:
            if not create:
                raise _missing(None if url else directory) from exc
            database = await stack.enter_async_context(open_database(url, directory))
            where = "at DATABASE_URL" if url else f"in {directory}"
            click.echo(f"vyrox: there was no database {where}; it was made", err=True)
        yield Opened(settings, database)


def read(transaction: TransactionWith[*Ts, T], *args: *Ts) -> T:
    """Return what `transaction(connection, *args)` returned; it may not write.

    Raises:
        VyroxError: As `opened_database` and `transaction`.
    """

    async def run() -> T:
        async with opened_database() as opened:
            return await opened.database.read(transaction, *args)

    return asyncio.run(run())


def write(transaction: TransactionWith[*Ts, T], *args: *Ts) -> T:
    """Return what `transaction(connection, *args)` returned, after the commit. Raises as `read`."""

    async def run() -> T:
        async with opened_database() as opened:
            return await opened.database.write(transaction, *args)

    return asyncio.run(run())


async def write_urgently(transaction: Transaction[T]) -> T:
    """Return what `transaction` returned, after a commit that no busy service can prevent.

    It goes before the writes of a running service, and is tried again while the database is
    locked. So it may run after it has happened already, and must bear that.

    Raises:
        DatabaseBusyError: The database was locked for URGENT_S.
        VyroxError: As `opened_database` and `transaction`.
    """
    deadline = asyncio.get_running_loop().time() + URGENT_S
    while True:
        try:
            async with opened_database(urgent=True) as opened:
                return await opened.database.write(transaction)
        except DatabaseBusyError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(RETRY_S)


async def require_known_if_empty(opened: Opened, tenant_id: str, found: Sized) -> None:
    """Return if something was found, or if the tenant is known.

    Raises:
        OperatorError: Nothing was found because there is no such tenant: its name is mistyped.
    """
    if not found:
        await opened.database.read(require_known, tenant_id)


def prepare_directory(directory: Path, *, create: bool) -> Path:
    """Return the data directory, checked. Raises OperatorError, also if it is missing."""
    if not (create or directory.exists()):
        raise _missing(directory)
    return data_dir.prepare(directory)


def _missing(directory: Path | None) -> OperatorError:
    make = "`vyrox serve`, `vyrox migrate` and `vyrox tenant add` make one"
    if directory is None:
        return OperatorError(
            f"the database at DATABASE_URL is not Vyrox's yet: set it as the service has it; {make}"
        )
    return OperatorError(
        f"there is no database in {directory.absolute()}: run this in the service's directory, or "
        f"set VYROX_DATA_DIR or DATABASE_URL as the service has it; {make}"
    )
