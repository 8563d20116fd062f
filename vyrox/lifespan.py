"""Opens the stores, makes the parts of the service, and runs its background tasks."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import redis.asyncio
from cryptography.fernet import MultiFernet

from vyrox import log
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.entries import QueueEntries
from vyrox.alerts.health import Health
from vyrox.alerts.intake import Intake
from vyrox.alerts.quarantine import Quarantine
from vyrox.alerts.queue import AlertQueue
from vyrox.alerts.redis_check import RedisCheck
from vyrox.alerts.refill import Refill
from vyrox.approvals.decisions import Decisions
from vyrox.approvals.discord.clicks import Application
from vyrox.approvals.discord.client import DiscordClient
from vyrox.approvals.discord.client import open_http as open_discord
from vyrox.approvals.discord.configured import list_channels
from vyrox.approvals.discord.joining import Joiner
from vyrox.approvals.discord.receiving import Interactions
from vyrox.approvals.dispatch import Dispatcher
from vyrox.approvals.leases import Leases
from vyrox.approvals.passkeys import RelyingParty
from vyrox.approvals.proposer import Proposer
from vyrox.background import Parts, background
from vyrox.chain.events import AuditEvents, Budget
from vyrox.chain.writer import ChainWriter
from vyrox.clock import monotonic_clock, wall_clock
from vyrox.console.challenges import Challenges
from vyrox.console.parts import Console
from vyrox.containment.clock_guard import ClockGuard
from vyrox.containment.confirmation import Confirmation
from vyrox.containment.execution import Containment
from vyrox.containment.rate_limit import RateLimit
from vyrox.containment.responder import EdrClients, MakeClient
from vyrox.containment.vendor_action import lease_s
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import make_client
from vyrox.errors import OperatorError, UnavailableError
from vyrox.notify.channels import Channels
from vyrox.notify.sender import Sender
from vyrox.notify.timers import Intervals
from vyrox.notify.webhook import open_webhooks
from vyrox.routes.ingestion import Ingestion
from vyrox.routes.signed import Proxy
from vyrox.settings import DEFAULT_CONSOLE_PORT, Settings
from vyrox.store import data_dir
from vyrox.store.database import Database, open_database
from vyrox.store.encryption import open_vault
from vyrox.store.redis import connect
from vyrox.store.valkey import embedded_valkey
from vyrox.tenants.containers import Container
from vyrox.tenants.directory import TenantDirectory
from vyrox.tenants.edr_credentials import list_credentials
from vyrox.tenants.records import holds_secrets
from vyrox.triage.announcement import Announcer
from vyrox.triage.notes.writer import open_notes
from vyrox.triage.sigma.rules import load_for_service
from vyrox.triage.worker import TriageWorker


@dataclass(frozen=True)
class _Stores:
    """The open stores, and the keys of what is encrypted in them."""

    database: Database
    redis: redis.asyncio.Redis
    vault: MultiFernet


@dataclass(frozen=True)
class Opened:
    """What each listener's routes use."""

    ingestion: Ingestion
    proxy: Proxy
    console: Console


@asynccontextmanager
async def open_resources(settings: Settings, make: MakeClient | None) -> AsyncIterator[Opened]:
    """Open the stores, make the parts of the service, run its background tasks; then end all.

    Raises:
        OperatorError: The data directory is in use, or a store cannot be opened.
    """
    async with AsyncExitStack() as stack:
        stores = await _open_stores(stack, settings)
        parts = await _make_parts(stack, settings, stores, make)
        await _start_tasks(stack, settings, stores, parts)
        opened = _for_routes(settings, stores, parts)
        if opened.ingestion.interactions is not None:
            stack.push_async_callback(opened.ingestion.interactions.drain)
        yield opened


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
) -> Parts:
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
    intervals = Intervals(
        group_wait_s=settings.notify_group_wait_s,
        group_interval_s=settings.notify_group_interval_s,
        repeat_s=settings.notify_repeat_s,
    )
    notes = open_notes(
        settings.triage_note_url,
        settings.triage_note_model,
        settings.triage_note_key,
        settings.triage_note_per_hour,
        database,
        clocks.lease_time,
    )
    own_rules = await asyncio.to_thread(load_for_service, settings.triage_sigma_dir)
    announcer = Announcer(database, intervals, settings.notify_per_hour, clocks.lease_time)
    containment = Containment(
        writer,
        database,
        clients,
        clocks.lease_time,
        clocks.check_action,
        dry_run=settings.dry_run,
        deadline_s=settings.edr_deadline_s,
        needs_approval=settings.require_approval,
    )
    approvals = Dispatcher(database, containment, clocks.check, clocks.lease_time)
    discord = Joiner(
        database,
        await _make_discord(stack, settings, database),
        clocks.lease_time,
        _console_for_others(settings),
    )
    notices = [approvals.noticed.set, discord.noticed.set]
    return Parts(
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
        containment=containment,
        discord=discord,
        approvals=approvals,
        decisions=Decisions(database, clocks.check, clocks.lease_time, notices),
        leases=Leases(
            database,
            containment,
            clocks.check,
            clocks.lease_time,
            lease_s(settings.edr_deadline_s),
        ),
        proposer=Proposer(
            database,
            clocks.check,
            clocks.lease_time,
            settings.approval_ttl_s,
            [discord.noticed.set],
        ),
        container=container,
        notifications=Sender(
            database,
            writer,
            stores.vault,
            webhooks,
            Channels(hosts, _console_for_others(settings)),
            lease_time=clocks.lease_time,
            wall=wall_clock,
        ),
        announcer=announcer,
        notes=await stack.enter_async_context(notes),
        triage=TriageWorker(
            settings.triage_enabled,
            consumer,
            database,
            announcer,
            container.id,
            clocks.lease_time,
            own_rules,
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


async def _make_discord(
    stack: AsyncExitStack, settings: Settings, database: Database
) -> DiscordClient | None:
    if settings.discord is None:
        if channels := await database.read(list_channels):
            log.event("discord.off", logging.WARNING, tenants=len(channels))
        return None
    test_url = settings.discord.test_url
    if test_url is not None:
        log.event("discord.test_url", logging.WARNING, url=test_url)
    http = await stack.enter_async_context(open_discord())
    return DiscordClient(http, settings.discord.bot_token, monotonic_clock, test_url)


def _console_for_others(settings: Settings) -> str | None:
    """Return the origin of the console if a link in a message can lead to it."""
    origin = settings.console_origin
    return origin if origin is not None and origin.startswith("https://") else None


async def _start_tasks(
    stack: AsyncExitStack, settings: Settings, stores: _Stores, parts: Parts
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
    # These six run first at the end, while the writer still runs.
    stack.push_async_callback(_flush, parts.events)
    stack.push_async_callback(parts.containment.drain)
    stack.push_async_callback(parts.approvals.stop)
    stack.push_async_callback(parts.discord.stop)
    stack.push_async_callback(parts.leases.stop)
    stack.push_async_callback(parts.notifications.drain)


def _make_interactions(settings: Settings, stores: _Stores, parts: Parts) -> Interactions | None:
    found = settings.discord
    if found is None:
        return None
    return Interactions(
        Application(found.application_id, found.public_key),
        stores.database,
        parts.decisions,
        parts.clocks.lease_time,
        _console_for_others(settings),
    )


def _for_routes(settings: Settings, stores: _Stores, parts: Parts) -> Opened:
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
        interactions=_make_interactions(settings, stores, parts),
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
        approval_ttl_s=settings.approval_ttl_s,
    )
    return Opened(ingestion, proxy, _for_console(settings, stores, parts))


def _for_console(settings: Settings, stores: _Stores, parts: Parts) -> Console:
    origin = settings.console_origin_at(settings.console_port or DEFAULT_CONSOLE_PORT)
    return Console(
        database=stores.database,
        decisions=parts.decisions,
        now=parts.clocks.lease_time,
        check_clocks=parts.clocks.check,
        relying_party=RelyingParty.of(origin),
        challenges=Challenges(settings.require_hmac_secret()),
        approval_ttl_s=settings.approval_ttl_s,
    )


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
