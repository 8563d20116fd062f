"""The alert queue of a command, opened while it runs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.entries import QueueEntries
from vyrox.alerts.queue import AlertQueue
from vyrox.cli.stores import Opened, prepare_directory
from vyrox.errors import OperatorError
from vyrox.models import Sentinels
from vyrox.settings import Settings
from vyrox.store import data_dir, valkey
from vyrox.store.redis import connect


@asynccontextmanager
async def opened_queue(opened: Opened) -> AsyncIterator[AlertQueue]:
    """Open the alert queue. Raises as `_running_redis`."""
    settings = opened.settings
    async with _running_redis(settings) as url, connect(url) as client:
        yield AlertQueue(client, settings.queue_max_alerts, settings.queue_max_bytes)


@asynccontextmanager
async def opened_consumer(opened: Opened) -> AsyncIterator[AlertConsumer]:
    """Open a consumer of the alert queue. Raises as `_running_redis`."""
    async with _running_redis(opened.settings) as url, connect(url) as client:
        yield AlertConsumer(client, opened.database)


@asynccontextmanager
async def opened_entries(opened: Opened) -> AsyncIterator[QueueEntries]:
    """Open the queue entries of single alerts. Raises as `_running_redis`."""
    async with _running_redis(opened.settings) as url, connect(url) as client:
        yield QueueEntries(client)


@asynccontextmanager
async def _running_redis(settings: Settings) -> AsyncIterator[str | Sentinels]:
    """Return REDIS_URL, or the URL of the embedded Valkey.

    The embedded Valkey is the running service's. If no service runs, it runs for as long as the
    command.

    Raises:
        OperatorError: The embedded Valkey cannot be started, or the data directory is in use by a
            process that has its queue elsewhere.
    """
    # Only the embedded Valkey needs the directory; a service with REDIS_URL may have none.
    directory = settings.data_dir
    if settings.redis_url is None:
        directory = prepare_directory(directory, create=False)
    async with AsyncExitStack() as stack:
        url = settings.redis_url
        if url is None and await valkey.is_running(directory):
            url = valkey.socket_url(directory)
        elif url is None:
            _own(stack, directory)
            url = await stack.enter_async_context(valkey.embedded_valkey(directory))
        yield url


def _own(stack: AsyncExitStack, directory: Path) -> None:
    try:
        stack.enter_context(data_dir.owned(directory))
    except OperatorError as exc:
        raise OperatorError(
            f"a vyrox process uses {directory}, but no queue of its own: set REDIS_URL as it has "
            "it, or try again if it has only just started"
        ) from exc
