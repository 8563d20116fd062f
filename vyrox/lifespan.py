"""What is opened once, and the tasks that run beside the requests."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import redis.asyncio

from vyrox import log
from vyrox.alerts.health import INTERVAL_S as HEALTH_INTERVAL_S
from vyrox.alerts.health import Health
from vyrox.alerts.intake import Intake
from vyrox.alerts.quarantine import Quarantine
from vyrox.alerts.queue import AlertQueue
from vyrox.alerts.redis_check import RedisCheck
from vyrox.alerts.refill import Refill
from vyrox.alerts.retention import delete_expired
from vyrox.chain.events import AuditEvents, Budget
from vyrox.chain.writer import ChainWriter
from vyrox.clock import monotonic_clock, wall_clock
from vyrox.containment import claims
from vyrox.containment.clock_guard import ClockGuard
from vyrox.containment.confirmation import Confirmation
from vyrox.containment.execution import Containment, lease_s
from vyrox.containment.rate_limit import RateLimit
from vyrox.containment.responder import EdrClients, MakeClient
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import make_client
from vyrox.errors import OperatorError, UnavailableError
from vyrox.routes import ingestion, proxy
from vyrox.settings import Settings
from vyrox.store import data_dir
from vyrox.store.database import open_database
from vyrox.store.encryption import open_vault
from vyrox.store.redis import connect
from vyrox.store.valkey import embedded_valkey
from vyrox.tenants.containers import REPORT_INTERVAL_S, Container
from vyrox.tenants.directory import TenantDirectory
from vyrox.tenants.edr_credentials import list_credentials
from vyrox.tenants.records import holds_secrets


async def every(
    interval_s: float,
    name: str,
    work: Callable[[], Awaitable[object]],
    first_s: float = 0.0,
) -> None:
    """Do `work` after `first_s`, then again `interval_s` after it ended, until cancelled.

    A store that is away is logged and tried again. So is a bug: it must be seen, and it must not
    end the work for the rest of the process's life.
    """
    await asyncio.sleep(first_s)
    while True:
        try:
            await work()
        except UnavailableError as exc:
            log.event("background.unavailable", logging.WARNING, work=name, reason=str(exc))
        except Exception:  # noqa: BLE001  (logged with its traceback, see above)
            log.event("background.failed", logging.ERROR, work=name)
        await asyncio.sleep(interval_s)


TENANTS_INTERVAL_S = 0.5
"""A change of a tenant is in force within a second."""

EVENTS_INTERVAL_S = 0.2
CLAIMS_INTERVAL_S = 5.0
CLOCKS_INTERVAL_S = 1.0
CONFIRMATION_INTERVAL_S = 0.5
REFILL_INTERVAL_S = 2.0
DEAD_INTERVAL_S = 5.0
RETENTION_INTERVAL_S = 3600.0
RETENTION_FIRST_S = 600.0
"""After the start. A machine that boots with a wrong clock has time to correct it first."""

COUNTS_INTERVAL_S = 60.0


@asynccontextmanager
async def open_resources(
    settings: Settings, make: MakeClient | None
) -> AsyncIterator[tuple[ingestion.Ingestion, proxy.Proxy]]:
    """Open the stores, start the work that goes on beside the requests, and end both.

    Raises:
        OperatorError: The data directory is in use, or a store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        directory = data_dir.prepare(settings.data_dir)
        stack.enter_context(data_dir.owned(directory))
        try:
            database = await stack.enter_async_context(
                open_database(settings.database_url, directory)
            )
        except UnavailableError as exc:
            raise OperatorError(f"the database cannot be opened: {exc}") from exc
        client = await _open_redis(stack, settings, directory)
        vault = open_vault(settings, await database.read(holds_secrets))
        tenants = TenantDirectory(
            database,
            vault,
            settings.default_secrets,
            require_onboarding=settings.require_onboarding,
        )
        await tenants.refresh()
        tenants.refuse_secret(settings.require_hmac_secret().encode(), wall_clock())
        # SQLite has no clock of its own, and one process.
        clocks = ClockGuard(
            None if settings.database_url is None else database,
            wall_clock,
            monotonic_clock,
            lease_s(settings.edr_deadline_s),
        )
        await clocks.probe()
        writer = ChainWriter(database, wall_clock)
        budget = Budget(
            settings.unauthenticated_events_per_second,
            settings.unauthenticated_event_bytes_per_day,
        )
        events = AuditEvents(writer, budget=budget)
        intake = Intake(writer, settings.redelivery_window_s)
        queue = AlertQueue(client, database, settings.queue_max_alerts, settings.queue_max_bytes)
        health = Health(database, queue, wall_clock)
        refill = Refill(client, queue, database)
        redis_check = RedisCheck(client, queue.check_rights, refill.check_rights)
        await redis_check.at_start()

        if make is None:
            http = await stack.enter_async_context(open_http())
            make = partial(make_client, http=http, test_root=settings.edr_test_url)
        if settings.edr_test_url is not None:
            log.event("edr.test_url", logging.WARNING, url=settings.edr_test_url)
        clients = EdrClients(vault, make)
        clients.report_undecryptable(await database.read(list_credentials))
        confirmation = Confirmation(database, writer, clients, clocks.lease_time)
        containment = Containment(
            writer,
            database,
            clients,
            clocks.lease_time,
            clocks.check_action,
            dry_run=settings.dry_run,
            deadline_s=settings.edr_deadline_s,
        )

        async def settle_claims() -> None:
            clocks.check()
            now = clocks.lease_time()
            await writer.commit(claims.give_up_lapsed, now)
            await database.write(claims.delete_expired, now)

        async def give_up_dead() -> None:
            await queue.give_up_dead(clocks.lease_time())

        async def retain() -> None:
            clocks.check()
            # What can still be redelivered is not forgotten, whatever the retention.
            kept_s = max(settings.retention_days * 86_400, settings.redelivery_window_s)
            await delete_expired(database, kept_s, clocks.lease_time())

        container = Container(database, wall_clock)
        await container.start()
        stack.push_async_callback(container.leave)  # once the work below has ended
        await health.probe()
        # Should one of these end, which only a bug can do, the group ends the service: a process
        # that looks alive and accepts nothing would be worse.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks: list[asyncio.Task[None]] = []
        for work in (
            writer.run(),
            queue.run(),
            every(TENANTS_INTERVAL_S, "tenants", tenants.refresh),
            every(HEALTH_INTERVAL_S, "health", health.probe),
            every(REPORT_INTERVAL_S, "container", container.report),
            every(EVENTS_INTERVAL_S, "events", events.flush),
            every(CLOCKS_INTERVAL_S, "clocks", clocks.probe),
            every(CLAIMS_INTERVAL_S, "claims", settle_claims),
            every(CONFIRMATION_INTERVAL_S, "confirmation", confirmation.run),
            every(REFILL_INTERVAL_S, "refill", refill.run_if_due),
            every(REFILL_INTERVAL_S, "redis", redis_check.later),
            every(DEAD_INTERVAL_S, "dead letters", give_up_dead),
            every(RETENTION_INTERVAL_S, "retention", retain, first_s=RETENTION_FIRST_S),
            every(COUNTS_INTERVAL_S, "counts", log.report_counts),
        ):
            tasks.append(group.create_task(work))
        stack.push_async_callback(_end, tasks)
        # The first to go at the end, while the writer still runs.
        stack.push_async_callback(_flush, events)
        stack.push_async_callback(containment.drain)
        for_ingestion = ingestion.Ingestion(
            clock=wall_clock,
            max_body_bytes=settings.max_body_bytes,
            tenants=tenants,
            intake=intake,
            quarantine=Quarantine(writer, settings.quarantine_max_bytes),
            queue=queue,
            events=events,
            health=health,
        )
        for_proxy = proxy.Proxy(
            clock=wall_clock,
            clocks=clocks,
            secret=settings.require_hmac_secret(),
            database=database,
            containment=containment,
            events=events,
            rate_limit=RateLimit(settings.execute_rate_per_minute),
        )
        yield for_ingestion, for_proxy


async def _open_redis(
    stack: AsyncExitStack, settings: Settings, directory: Path
) -> redis.asyncio.Redis:
    url = settings.redis_url
    if url is None:
        url = await stack.enter_async_context(embedded_valkey(directory))
    return await stack.enter_async_context(connect(url))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a library under one of them may swallow a cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1)


async def _flush(events: AuditEvents) -> None:
    try:
        await events.close()
    except UnavailableError as exc:
        log.event("audit.events_lost", logging.ERROR, reason=str(exc))
