"""Opens the stores, makes the parts of the service, and runs its background tasks."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from vyrox import log
from vyrox.chain.events import AuditEvents
from vyrox.containment.responder import MakeClient
from vyrox.errors import UnavailableError
from vyrox.lifespan.background import Parts, background
from vyrox.lifespan.collecting import start_sending
from vyrox.lifespan.listeners import Opened, for_routes
from vyrox.lifespan.making import make_parts
from vyrox.lifespan.stores import Stores, open_stores
from vyrox.settings import Settings


@asynccontextmanager
async def open_resources(settings: Settings, make: MakeClient | None) -> AsyncIterator[Opened]:
    """Open the stores, make the parts of the service, run its background tasks; then end all.

    Raises:
        OperatorError: The data directory is in use, or a store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        await start_sending(stack, settings)
        stores = await open_stores(stack, settings)
        parts = await make_parts(stack, settings, stores, make)
        await _start_tasks(stack, settings, stores, parts)
        opened = await for_routes(settings, stores, parts)
        if opened.ingestion.interactions is not None:
            stack.push_async_callback(opened.ingestion.interactions.drain)
        yield opened


async def _start_tasks(
    stack: AsyncExitStack, settings: Settings, stores: Stores, parts: Parts
) -> None:
    """Start the background tasks. The stack ends what it was given last first."""
    await parts.container.start()
    stack.push_async_callback(parts.container.leave)  # after the tasks have ended
    await parts.health.probe()
    # Only a bug can end a task. The group then ends the service, so that the bug is noticed.
    group = await stack.enter_async_context(asyncio.TaskGroup())
    # An alert must be kept while it can still be redelivered, whatever the retention.
    kept_s = max(settings.retention_days * 86_400, settings.redelivery_window_s)
    tasks = [group.create_task(work) for work in background(kept_s, stores.database, parts)]
    stack.push_async_callback(_end, tasks)
    # These seven run first at the end, while the writer still runs.
    stack.push_async_callback(_flush, parts.events)
    stack.push_async_callback(parts.containment.drain)
    stack.push_async_callback(parts.approvals.stop)
    stack.push_async_callback(parts.pollers.stop)
    stack.push_async_callback(parts.fetcher.stop)
    stack.push_async_callback(parts.discord.stop)
    stack.push_async_callback(parts.leases.stop)
    stack.push_async_callback(parts.notifications.drain)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a library used by a task may swallow a cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1)


async def _flush(events: AuditEvents) -> None:
    try:
        await events.close()
    except UnavailableError as exc:
        log.event("audit.events_lost", logging.ERROR, reason=str(exc))
