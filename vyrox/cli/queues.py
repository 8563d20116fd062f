"""The alert queue of a command, opened while it runs."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from vyrox.alerts.queue import AlertQueue
from vyrox.cli.stores import Opened, prepare_directory
from vyrox.errors import OperatorError
from vyrox.store import data_dir, valkey
from vyrox.store.redis import connect


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
        client = await stack.enter_async_context(connect(url))
        yield AlertQueue(
            client, opened.database, settings.queue_max_alerts, settings.queue_max_bytes
        )


def _own(stack: AsyncExitStack, directory: Path) -> None:
    try:
        stack.enter_context(data_dir.owned(directory))
    except OperatorError as exc:
        raise OperatorError(
            f"a vyrox process uses {directory}, but no queue of its own: set REDIS_URL as it has "
            "it, or try again if it has only just started"
        ) from exc
