"""What the routes of each listener use."""

from dataclasses import dataclass
from functools import lru_cache, partial

from vyrox.alerts.batches import BatchIntake
from vyrox.alerts.entries import QueueEntries
from vyrox.alerts.quarantine import Quarantine
from vyrox.approvals.discord.clicks import Application
from vyrox.approvals.discord.receiving import Interactions
from vyrox.approvals.passkeys import RelyingParty
from vyrox.clock import wall_clock
from vyrox.console.challenges import Challenges
from vyrox.console.parts import Console
from vyrox.containment.rate_limit import RateLimit
from vyrox.lifespan.background import Parts
from vyrox.lifespan.exposing import Exposition
from vyrox.lifespan.making import console_for_others
from vyrox.lifespan.stores import Stores
from vyrox.lifespan.summary import Summary, summarize
from vyrox.routes.ingestion import Ingestion
from vyrox.routes.signed import Proxy
from vyrox.settings import DEFAULT_CONSOLE_PORT, Settings
from vyrox.tenants.audit_readers import AuditReaders
from vyrox.tenants.fingerprints import fingerprint


@dataclass(frozen=True)
class Opened:
    """What each listener's routes use, and the service in a few words."""

    summary: Summary
    ingestion: Ingestion
    proxy: Proxy
    console: Console


async def for_routes(settings: Settings, stores: Stores, parts: Parts) -> Opened:
    """Return what the routes of each listener use. Raises DatabaseUnavailableError."""
    ingestion = Ingestion(
        clock=wall_clock,
        max_body_bytes=settings.max_body_bytes,
        tenants=parts.tenants,
        intake=parts.intake,
        batches=BatchIntake(
            parts.writer, settings.redelivery_window_s, settings.quarantine_max_bytes
        ),
        quarantine=Quarantine(parts.writer, settings.quarantine_max_bytes),
        queue=parts.queue,
        events=parts.events,
        health=parts.health,
        notice=parts.triage.notice,
        announce=parts.fetcher.accept,
        records=parts.joiner,
        interactions=_make_interactions(settings, stores, parts),
    )
    proxy = Proxy(
        clock=wall_clock,
        clocks=parts.clocks,
        secret=settings.require_hmac_secret(),
        secrets=parts.secrets,
        database=stores.database,
        entries=QueueEntries(stores.redis),
        containment=parts.containment,
        events=parts.events,
        checkpoints=parts.checkpoints,
        readers=AuditReaders(stores.database, stores.vault),
        rate_limit=RateLimit(settings.execute_rate_per_minute),
        approval_ttl_s=settings.approval_ttl_s,
        metrics=Exposition(settings, stores.database, parts).text,
    )
    summary = await summarize(settings, stores.database)
    return Opened(summary, ingestion, proxy, _for_console(settings, stores, parts))


def _make_interactions(settings: Settings, stores: Stores, parts: Parts) -> Interactions | None:
    found = settings.discord
    if found is None:
        return None
    return Interactions(
        Application(found.application_id, found.public_key),
        stores.database,
        parts.decisions,
        parts.clocks.lease_time,
        console_for_others(settings),
    )


def _for_console(settings: Settings, stores: Stores, parts: Parts) -> Console:
    origin = settings.console_origin_at(settings.console_port or DEFAULT_CONSOLE_PORT)
    return Console(
        database=stores.database,
        decisions=parts.decisions,
        now=parts.clocks.lease_time,
        check_clocks=parts.clocks.check,
        relying_party=RelyingParty.of(origin),
        challenges=Challenges(settings.require_hmac_secret()),
        approval_ttl_s=settings.approval_ttl_s,
        events=parts.events,
        queue=parts.queue,
        entries=QueueEntries(stores.redis),
        health=parts.health,
        discord=parts.discord,
        # A page asks for those of every source each time.
        fingerprint=lru_cache(4096)(partial(fingerprint, stores.vault)),
        checkpoints=parts.checkpoints,
    )
