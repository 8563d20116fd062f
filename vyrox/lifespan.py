"""Opens the stores, makes the parts of the service, and runs its background tasks."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import redis.asyncio
from cryptography.fernet import MultiFernet

from vyrox import log
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.entries import QueueEntries
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
from vyrox.containment.execution import Containment
from vyrox.containment.rate_limit import RateLimit
from vyrox.containment.responder import EdrClients, MakeClient
from vyrox.containment.vendor_action import lease_s
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import make_client
from vyrox.errors import OperatorError, UnavailableError
from vyrox.notify.delivery import delete_old
from vyrox.notify.sender import Sender
from vyrox.notify.webhook import open_webhooks
from vyrox.routes.ingestion import Ingestion
from vyrox.routes.signed import Proxy
from vyrox.settings import Settings
from vyrox.store import data_dir, signed_changes
from vyrox.store.database import Database, open_database
from vyrox.store.encryption import open_vault
from vyrox.store.redis import connect
from vyrox.store.valkey import embedded_valkey
from vyrox.tenants.containers import REPORT_INTERVAL_S, Container
from vyrox.tenants.directory import TenantDirectory
from vyrox.tenants.edr_credentials import list_credentials
from vyrox.tenants.records import holds_secrets
from vyrox.triage.worker import TriageWorker

Work = Callable[[], Awaitable[object]]

TENANTS_INTERVAL_S: Final = 0.5
"""So a change of a tenant takes effect within a second."""

EVENTS_INTERVAL_S: Final = 0.2
CLAIMS_INTERVAL_S: Final = 5.0
CLOCKS_INTERVAL_S: Final = 1.0
CONFIRMATION_INTERVAL_S: Final = 0.5
REFILL_INTERVAL_S: Final = 2.0
DEAD_LETTERS_INTERVAL_S: Final = 5.0
RETENTION_INTERVAL_S: Final = 3600.0
COUNTS_INTERVAL_S: Final = 60.0

NOTIFICATIONS_INTERVAL_S: Final = 0.25
"""So that an urgent incident is with its receiver within a second."""

RETENTION_FIRST_S: Final = 600.0
"""Time for a machine that boots with a wrong clock to correct it, before old alerts are deleted."""


@dataclass(frozen=True)
class _Stores:
    """The open stores, and the keys of what is encrypted in them."""

    database: Database
    redis: redis.asyncio.Redis
    vault: MultiFernet


@dataclass(frozen=True)
class _Parts:
    """The objects that live as long as the service."""

    tenants: TenantDirectory
    clocks: ClockGuard
    writer: ChainWriter
    events: AuditEvents
    intake: Intake
    queue: AlertQueue
    consumer: AlertConsumer
    health: Health
    refill: Refill
    redis_check: RedisCheck
    confirmation: Confirmation
    containment: Containment
    container: Container
    notifications: Sender
    triage: TriageWorker


@asynccontextmanager
async def open_resources(
    settings: Settings, make: MakeClient | None
) -> AsyncIterator[tuple[Ingestion, Proxy]]:
    """Open the stores, make the parts of the service, run its background tasks; then end all.

    Raises:
        OperatorError: The data directory is in use, or a store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        stores = await _open_stores(stack, settings)
        parts = await _make_parts(stack, settings, stores, make)
        await _start_tasks(stack, settings, stores, parts)
        yield _for_routes(settings, stores, parts)


async def _open_stores(stack: AsyncExitStack, settings: Settings) -> _Stores:
    directory = data_dir.prepare(settings.data_dir)
    stack.enter_context(data_dir.owned(directory))
    try:
        database = await stack.enter_async_context(open_database(settings.database_url, directory))
    except UnavailableError as exc:
        raise OperatorError(f"the database cannot be opened: {exc}") from exc
    url = settings.redis_url
    if url is None:
        url = await stack.enter_async_context(embedded_valkey(directory))
    client = await stack.enter_async_context(connect(url))
    is_key_in_use = await database.read(holds_secrets)
    vault = open_vault(settings.encryption_keys, directory, is_key_in_use)
    return _Stores(database, client, vault)


async def _make_parts(
    stack: AsyncExitStack, settings: Settings, stores: _Stores, make: MakeClient | None
) -> _Parts:
    database = stores.database
    tenants = await _make_tenants(settings, stores)
    # SQLite has no clock of its own, and only one process uses it.
    clocks = ClockGuard(
        None if settings.database_url is None else database,
        wall_clock,
        monotonic_clock,
        lease_s(settings.edr_deadline_s),
    )
    await clocks.probe()
    writer = ChainWriter(database, wall_clock)
    budget = Budget(
        settings.unauthenticated_events_per_second, settings.unauthenticated_event_bytes_per_day
    )
    queue = AlertQueue(stores.redis, settings.queue_max_alerts, settings.queue_max_bytes)
    refill = Refill(stores.redis, queue, database)
    redis_check = RedisCheck(stores.redis, queue.check_rights, refill.check_rights)
    await redis_check.at_start()
    clients = await _make_clients(stack, settings, stores, make)
    hosts = frozenset(settings.notify_allowed_hosts)
    webhooks = await stack.enter_async_context(open_webhooks(hosts))
    consumer = AlertConsumer(stores.redis, database)
    container = Container(database, wall_clock)
    return _Parts(
        tenants=tenants,
        clocks=clocks,
        writer=writer,
        events=AuditEvents(writer, budget=budget),
        intake=Intake(writer, settings.redelivery_window_s),
        queue=queue,
        consumer=consumer,
        health=Health(database, queue, wall_clock),
        refill=refill,
        redis_check=redis_check,
        confirmation=Confirmation(database, writer, clients, clocks.lease_time),
        containment=Containment(
            writer,
            database,
            clients,
            clocks.lease_time,
            clocks.check_action,
            dry_run=settings.dry_run,
            deadline_s=settings.edr_deadline_s,
        ),
        container=container,
        notifications=Sender(
            database,
            writer,
            stores.vault,
            webhooks,
            lease_time=clocks.lease_time,
            wall=wall_clock,
        ),
        triage=TriageWorker(
            settings.triage_enabled, consumer, database, container.id, clocks.lease_time
        ),
    )


async def _make_tenants(settings: Settings, stores: _Stores) -> TenantDirectory:
    tenants = TenantDirectory(
        stores.database,
        stores.vault,
        settings.default_secrets,
        require_onboarding=settings.require_onboarding,
    )
    await tenants.refresh()
    tenants.refuse_secret(settings.require_hmac_secret().encode(), wall_clock())
    return tenants


async def _make_clients(
    stack: AsyncExitStack, settings: Settings, stores: _Stores, make: MakeClient | None
) -> EdrClients:
    if make is None:
        http = await stack.enter_async_context(open_http())
        make = partial(make_client, http=http, test_root=settings.edr_test_url)
    if settings.edr_test_url is not None:
        log.event("edr.test_url", logging.WARNING, url=settings.edr_test_url)
    clients = EdrClients(stores.vault, make)
    clients.report_undecryptable(await stores.database.read(list_credentials))
    return clients


async def _start_tasks(
    stack: AsyncExitStack, settings: Settings, stores: _Stores, parts: _Parts
) -> None:
    """Start the background tasks. The stack ends what it was given last first."""
    await parts.container.start()
    stack.push_async_callback(parts.container.leave)  # after the tasks have ended
    await parts.health.probe()
    # Only a bug can end a task. The group then ends the service, so that the bug is noticed.
    group = await stack.enter_async_context(asyncio.TaskGroup())
    tasks = [group.create_task(work) for work in _background(settings, stores.database, parts)]
    stack.push_async_callback(_end, tasks)
    # These three run first at the end, while the writer still runs.
    stack.push_async_callback(_flush, parts.events)
    stack.push_async_callback(parts.containment.drain)
    stack.push_async_callback(parts.notifications.drain)


def _background(
    settings: Settings, database: Database, parts: _Parts
) -> list[Coroutine[object, object, None]]:
    """Return the background tasks, not started."""
    clocks = parts.clocks

    async def settle_claims() -> None:
        clocks.check()
        now = clocks.lease_time()
        await parts.writer.commit(claims.mark_lapsed_unknown, now)
        await database.write(claims.delete_expired, now)

    async def remove_dead_letters() -> None:
        await parts.consumer.move_dead_letters(clocks.lease_time())

    async def delete_old_alerts() -> None:
        clocks.check()
        # An alert must be kept while it can still be redelivered, whatever the retention.
        kept_s = max(settings.retention_days * 86_400, settings.redelivery_window_s)
        await delete_expired(database, kept_s, clocks.lease_time())
        await delete_old(database, clocks.lease_time() - kept_s)
        await database.write(signed_changes.delete_earlier, clocks.lease_time())

    return [
        parts.writer.run(),
        parts.queue.run(),
        every(TENANTS_INTERVAL_S, "tenants", parts.tenants.refresh),
        every(HEALTH_INTERVAL_S, "health", parts.health.probe),
        every(REPORT_INTERVAL_S, "container", parts.container.report),
        every(EVENTS_INTERVAL_S, "events", parts.events.flush),
        every(CLOCKS_INTERVAL_S, "clocks", clocks.probe),
        every(CLAIMS_INTERVAL_S, "claims", settle_claims),
        every(CONFIRMATION_INTERVAL_S, "confirmation", parts.confirmation.run),
        every(REFILL_INTERVAL_S, "refill", parts.refill.run_if_due),
        every(REFILL_INTERVAL_S, "redis", parts.redis_check.later),
        every(DEAD_LETTERS_INTERVAL_S, "dead letters", remove_dead_letters),
        every(RETENTION_INTERVAL_S, "retention", delete_old_alerts, first_s=RETENTION_FIRST_S),
        every(COUNTS_INTERVAL_S, "counts", log.report_counts),
        every(NOTIFICATIONS_INTERVAL_S, "notifications", parts.notifications.run),
        every(0.0, "triage", parts.triage.run),
    ]


def _for_routes(settings: Settings, stores: _Stores, parts: _Parts) -> tuple[Ingestion, Proxy]:
    ingestion = Ingestion(
        clock=wall_clock,
        max_body_bytes=settings.max_body_bytes,
        tenants=parts.tenants,
        intake=parts.intake,
        quarantine=Quarantine(parts.writer, settings.quarantine_max_bytes),
        queue=parts.queue,
        events=parts.events,
        health=parts.health,
        notice=parts.triage.notice,
    )
    proxy = Proxy(
        clock=wall_clock,
        clocks=parts.clocks,
        secret=settings.require_hmac_secret(),
        database=stores.database,
        entries=QueueEntries(stores.redis),
        containment=parts.containment,
        events=parts.events,
        rate_limit=RateLimit(settings.execute_rate_per_minute),
    )
    return ingestion, proxy


async def every(interval_s: float, name: str, work: Work, first_s: float = 0.0) -> None:
    """Wait `first_s`, then do `work` again and again, with `interval_s` between, until cancelled.

    An unavailable store is logged. So is a bug: it must not stop the work for ever.
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
