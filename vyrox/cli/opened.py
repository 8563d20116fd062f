"""What a command works with, opened for as long as it runs, beside a running service or alone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import MultiFernet

from vyrox import data_dir, embedded
from vyrox.db import Database, open_database
from vyrox.encryption import open_vault
from vyrox.errors import OperatorError
from vyrox.queue import AlertQueue
from vyrox.redis_client import connect
from vyrox.settings import Settings


@dataclass(frozen=True)
class Opened:
    """The database, and the settings it was opened with."""

    settings: Settings
    database: Database

    def open_vault(self) -> MultiFernet:
        """Return what encrypts secrets. Only on demand: it may make the key file."""
        return open_vault(self.settings)


@asynccontextmanager
async def opened_database() -> AsyncIterator[Opened]:
    """Open the database that the environment names, its schema up to date.

    Raises:
        SettingsError: A setting is bad.
        OperatorError: The data directory cannot be used.
        DatabaseUnavailableError: The database cannot be opened.
    """
    settings = Settings.from_process()
    directory = data_dir.prepare(settings.data_dir)
    async with open_database(settings.database_url, directory) as database:
        yield Opened(settings, database)


@asynccontextmanager
async def opened_queue(opened: Opened) -> AsyncIterator[AlertQueue]:
    """Open the alert queue: that of REDIS_URL, or the embedded one.

    The embedded Valkey is the running service's; where no service runs, it is started for as long
    as the command takes.

    Raises:
        OperatorError: The embedded Valkey cannot be started, or the data directory is in use by a
            process that has its queue elsewhere.
    """
    settings = opened.settings
    directory = data_dir.prepare(settings.data_dir)
    async with AsyncExitStack() as stack:
        url = settings.redis_url
        if url is None and await embedded.is_running(directory):
            url = embedded.socket_url(directory)
        elif url is None:
            _own(stack, directory)
            url = await stack.enter_async_context(embedded.embedded_valkey(directory))
        client = await stack.enter_async_context(connect(url))
        yield AlertQueue(client, opened.database, settings.queue_max_alerts)


def _own(stack: AsyncExitStack, directory: Path) -> None:
    try:
        stack.enter_context(data_dir.owned(directory))
    except OperatorError as exc:
        raise OperatorError(
            f"a vyrox process uses {directory}, but no queue of its own: set REDIS_URL as it has "
            "it, or try again if it has only just started"
        ) from exc
