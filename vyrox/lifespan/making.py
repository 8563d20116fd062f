"""Makes the parts of the service from the settings and the stores."""

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial

from vyrox import log
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.health import Health
from vyrox.alerts.intake import Intake
from vyrox.alerts.queue import AlertQueue
from vyrox.alerts.records import RecordJoiner
from vyrox.alerts.redis_check import RedisCheck
from vyrox.alerts.refill import Refill
from vyrox.approvals.decisions import Decisions
from vyrox.approvals.discord.client import DiscordClient
from vyrox.approvals.discord.client import open_http as open_discord
from vyrox.approvals.discord.configured import list_channels
from vyrox.approvals.discord.joining import Joiner
from vyrox.approvals.dispatch import Dispatcher
from vyrox.approvals.leases import Leases
from vyrox.approvals.proposer import Proposer
from vyrox.chain.events import AuditEvents, Budget
from vyrox.chain.writer import ChainWriter
from vyrox.clock import monotonic_clock, wall_clock
from vyrox.containment.clock_guard import ClockGuard
from vyrox.containment.confirmation import Confirmation
from vyrox.containment.execution import Containment
from vyrox.containment.responder import ClientsOf, EdrClients, MakeClient
from vyrox.containment.vendor_action import lease_s
from vyrox.edr.transport.calls import open_http
from vyrox.edr.vendors import make_client, open_alerts
from vyrox.lifespan.auditing import open_checkpoints, open_witnesses
from vyrox.lifespan.background import Parts
from vyrox.lifespan.stores import Stores
from vyrox.models import Outbound
from vyrox.notify.channels import Channels
from vyrox.notify.sender import Sender
from vyrox.notify.timers import Intervals
from vyrox.notify.webhook import open_webhooks
from vyrox.polling.defender import GraphAlerts
from vyrox.polling.fetcher import Fetcher
from vyrox.polling.pages import Source
from vyrox.polling.poller import Pollers
from vyrox.polling.sources import make_source
from vyrox.polling.storing import Limits
from vyrox.settings import Settings
from vyrox.store.database import Database
from vyrox.tenants.containers import Container
from vyrox.tenants.directory import TenantDirectory
from vyrox.tenants.edr_credentials import list_credentials
from vyrox.tenants.private_secrets import PrivateSecrets
from vyrox.triage.announcement import Announcer
from vyrox.triage.notes.writer import open_notes
from vyrox.triage.sigma.rules import load_for_service
from vyrox.triage.worker import TriageWorker


async def make_parts(
    stack: AsyncExitStack, settings: Settings, stores: Stores, make: MakeClient | None
) -> Parts:
    """Make every part. The stack closes what must be closed; nothing runs yet.

    Raises:
        OperatorError: Redis would drop queued alerts, or a secret may not be used.
    """
    database = stores.database
    report_ignored(settings.outbound)
    tenants = await _make_tenants(settings, stores)
    # SQLite has no clock of its own, and only one process uses it.
    clocks = ClockGuard(
        None if settings.database_url is None else database,
        wall_clock,
        monotonic_clock,
        lease_s(settings.edr_deadline_s),
    )
    await clocks.probe()
    checkpoints = await open_checkpoints(settings, database)
    follow = None if checkpoints is None else checkpoints.follow
    witnesses = await open_witnesses(stack, settings, database, checkpoints)
    writer = ChainWriter(database, wall_clock, follow)
    budget = Budget(
        settings.unauthenticated_events_per_second, settings.unauthenticated_event_bytes_per_day
    )
    queue = AlertQueue(stores.redis, settings.queue_max_alerts, settings.queue_max_bytes)
    refill = Refill(stores.redis, queue, database)
    redis_check = RedisCheck(stores.redis, queue.check_rights, refill.check_rights)
    await redis_check.at_start()
    http = await stack.enter_async_context(open_http(outbound=settings.outbound))
    make_edr = make or partial(make_client, http=http, test_root=settings.edr_test_url)
    clients = await _make_clients(settings, stores, make_edr)
    hosts = frozenset(settings.notify_allowed_hosts)
    webhooks = await stack.enter_async_context(open_webhooks(hosts, outbound=settings.outbound))
    consumer = AlertConsumer(stores.redis, database)
    container = Container(database, wall_clock, clocks.check, is_dry_run=settings.dry_run)
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
        settings.outbound,
    )
    own_rules = await asyncio.to_thread(load_for_service, settings.triage_sigma_dir)
    announcer = Announcer(database, intervals, settings.notify_per_hour, clocks.lease_time)
    triage = TriageWorker(
        settings.triage_enabled,
        consumer,
        database,
        announcer,
        container.id,
        clocks.lease_time,
        own_rules,
    )
    sources = ClientsOf[Source](
        stores.vault,
        lambda stored: make_source(stored.vendor, open_alerts(stored, http, settings.edr_test_url)),
    )
    graph = ClientsOf[GraphAlerts](
        stores.vault,
        lambda stored: GraphAlerts(open_alerts(stored, http, settings.edr_test_url)),
    )
    limits = Limits(settings.max_body_bytes, settings.quarantine_max_bytes)
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
        console_for_others(settings),
    )
    notices = [approvals.noticed.set, discord.noticed.set]
    return Parts(
        tenants=tenants,
        secrets=PrivateSecrets(
            database,
            settings.require_hmac_secret(),
            settings.previous_hmac_secret,
            settings.read_secret,
        ),
        clocks=clocks,
        writer=writer,
        checkpoints=checkpoints,
        witnesses=witnesses,
        events=AuditEvents(writer, budget=budget),
        intake=Intake(writer, settings.redelivery_window_s),
        queue=queue,
        consumer=consumer,
        health=Health(container.report, queue.probe),
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
            Channels(hosts, console_for_others(settings), settings.outbound),
            lease_time=clocks.lease_time,
            wall=wall_clock,
            noticed=announcer.news,
        ),
        announcer=announcer,
        notes=await stack.enter_async_context(notes),
        triage=triage,
        pollers=Pollers(database, sources, queue, triage.notice, limits, clocks.lease_time),
        fetcher=Fetcher(database, graph, queue, triage.notice, limits, clocks.lease_time),
        joiner=RecordJoiner(
            database, queue, triage.notice, settings.quarantine_max_bytes, clocks.lease_time
        ),
    )


async def _make_tenants(settings: Settings, stores: Stores) -> TenantDirectory:
    tenants = TenantDirectory(
        stores.database,
        stores.vault,
        settings.default_secrets,
        require_onboarding=settings.require_onboarding,
    )
    await tenants.refresh()
    for variable, secret in settings.private_secrets().items():
        tenants.refuse_secret(secret.encode(), variable, wall_clock())
    return tenants


async def _make_clients(settings: Settings, stores: Stores, make: MakeClient) -> EdrClients:
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
    http = await stack.enter_async_context(open_discord(settings.outbound))
    return DiscordClient(http, settings.discord.bot_token, monotonic_clock, test_url)


def report_ignored(outbound: Outbound) -> None:
    """Log which variables of the environment name a proxy that is not used."""
    if outbound.ignored:
        log.event(
            "outbound.proxy_ignored",
            logging.WARNING,
            variables=list(outbound.ignored),
            use="OUTBOUND_PROXY",
        )


def console_for_others(settings: Settings) -> str | None:
    """Return the origin of the console if a link in a message can lead to it."""
    origin = settings.console_origin
    return origin if origin is not None and origin.startswith("https://") else None
