"""What runs beside the requests, and how often."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement

from vyrox import log, metrics
from vyrox.alerts import records
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.health import INTERVAL_S as HEALTH_INTERVAL_S
from vyrox.alerts.health import Health
from vyrox.alerts.intake import Intake
from vyrox.alerts.queue import AlertQueue
from vyrox.alerts.records import RecordJoiner, delete_joined
from vyrox.alerts.redis_check import RedisCheck
from vyrox.alerts.refill import Refill
from vyrox.alerts.retention import delete_expired
from vyrox.alerts.search_fill import SearchFill
from vyrox.approvals import from_triage, lease_changes
from vyrox.approvals.decisions import Decisions
from vyrox.approvals.discord import posted
from vyrox.approvals.discord.joining import INTERVAL_S as DISCORD_INTERVAL_S
from vyrox.approvals.discord.joining import Joiner
from vyrox.approvals.dispatch import Dispatcher
from vyrox.approvals.leases import Leases
from vyrox.approvals.proposer import Proposer
from vyrox.approvals.rows import is_any_approved_or_over
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.cosigning import INTERVAL_S as WITNESS_INTERVAL_S
from vyrox.chain.cosigning import WitnessOutbox
from vyrox.chain.events import AuditEvents
from vyrox.chain.writer import ChainWriter
from vyrox.containment import claims, confirmation
from vyrox.containment.clock_guard import ClockGuard
from vyrox.containment.confirmation import Confirmation
from vyrox.containment.execution import Containment
from vyrox.errors import UnavailableError
from vyrox.notify import delivery
from vyrox.notify.delivery import delete_old
from vyrox.notify.sender import Sender
from vyrox.polling import notices
from vyrox.polling import rows as poller_rows
from vyrox.polling.fetcher import Fetcher
from vyrox.polling.poller import Pollers
from vyrox.polling.rows import delete_seen
from vyrox.store import signed_changes
from vyrox.store.agenda import NOW, Agenda
from vyrox.store.database import Database
from vyrox.tenants.containers import Container
from vyrox.tenants.directory import TenantDirectory
from vyrox.tenants.private_secrets import PrivateSecrets
from vyrox.triage import announcement, waiting
from vyrox.triage.announcement import Announcer
from vyrox.triage.notes.writer import INTERVAL_S as NOTES_INTERVAL_S
from vyrox.triage.notes.writer import NoteWriter
from vyrox.triage.totals import KEPT_DAYS, day_of, delete_before
from vyrox.triage.totals_log import INTERVAL_S as TOTALS_INTERVAL_S
from vyrox.triage.totals_log import LogTotals
from vyrox.triage.worker import TriageWorker

Work = Callable[[], Awaitable[object]]

AGENDA_INTERVAL_S: Final = 0.5
"""So a change of a tenant takes effect within a second, and so does a decision that another
container has stored."""

EVENTS_INTERVAL_S: Final = 0.2
CLAIMS_INTERVAL_S: Final = 5.0
USES_INTERVAL_S: Final = 5.0
CLOCKS_INTERVAL_S: Final = 1.0
REFILL_INTERVAL_S: Final = 2.0
DEAD_LETTERS_INTERVAL_S: Final = 5.0
RETENTION_INTERVAL_S: Final = 3600.0
COUNTS_INTERVAL_S: Final = 60.0

SEARCH_FILL_INTERVAL_S: Final = 0.25
"""Between two parts of the alerts of an earlier version: 1,000 alerts a second."""

RETENTION_FIRST_S: Final = 600.0
"""Time for a machine that boots with a wrong clock to correct it, before old alerts are deleted."""


@dataclass(frozen=True)
class Parts:
    """The objects that live as long as the service."""

    tenants: TenantDirectory
    secrets: PrivateSecrets
    clocks: ClockGuard
    writer: ChainWriter
    checkpoints: Checkpoints | None
    witnesses: list[WitnessOutbox]
    events: AuditEvents
    intake: Intake
    queue: AlertQueue
    consumer: AlertConsumer
    health: Health
    refill: Refill
    redis_check: RedisCheck
    confirmation: Confirmation
    containment: Containment
    approvals: Dispatcher
    discord: Joiner
    decisions: Decisions
    leases: Leases
    proposer: Proposer
    container: Container
    notifications: Sender
    announcer: Announcer
    notes: NoteWriter
    triage: TriageWorker
    pollers: Pollers
    fetcher: Fetcher
    joiner: RecordJoiner


@dataclass(frozen=True)
class Asked:
    """A task that works when a condition holds, or when `wake` is set."""

    is_due: ColumnElement[bool]
    work: Work
    wake: asyncio.Event = field(default_factory=asyncio.Event)


def background(
    kept_s: float, database: Database, parts: Parts
) -> list[Coroutine[object, object, None]]:
    """Return the background tasks, not started.

    Args:
        kept_s: How long finished alerts are kept.
    """
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
        await delete_expired(database, kept_s, clocks.lease_time())
        await delete_old(database, clocks.lease_time() - kept_s)
        await database.write(posted.delete_old, clocks.lease_time() - kept_s)
        await database.write(signed_changes.delete_earlier, clocks.lease_time())
        await database.write(delete_joined, clocks.lease_time() - kept_s)
        await database.write(delete_seen, clocks.lease_time() - kept_s)
        await database.write(delete_before, day_of(clocks.lease_time()) - KEPT_DAYS)

    tasks = {
        "container": Asked(parts.container.is_behind(), parts.container.report),
        "tenants": Asked(parts.tenants.is_stale(), parts.tenants.refresh),
        "approvals": Asked(
            is_any_approved_or_over(NOW), parts.approvals.run, parts.approvals.noticed
        ),
        "leases": Asked(lease_changes.is_any_due(NOW), parts.leases.run),
        "proposals": Asked(from_triage.may_change(NOW), parts.proposer.run),
        "confirmation": Asked(confirmation.is_any_due(NOW), parts.confirmation.run),
        "notifications": Asked(
            delivery.is_due(NOW), parts.notifications.run, parts.notifications.noticed
        ),
        "announcements": Asked(announcement.is_any_due(NOW), parts.announcer.run),
        "polling": Asked(poller_rows.is_any_due(NOW), parts.pollers.run),
        "fetching": Asked(notices.is_due(NOW), parts.fetcher.run, parts.fetcher.noticed),
        "joining": Asked(records.is_due(NOW), parts.joiner.run),
    }
    agenda = Agenda(
        database,
        lambda: {"now": clocks.lease_time(), **parts.tenants.parameters()},
        {name: (each.is_due, each.wake) for name, each in tasks.items()}
        | {"triage": (waiting.is_any(), parts.triage.news)},
    )
    return [
        parts.writer.run(),
        parts.queue.run(),
        *(every(None, name, each.work, wake=each.wake) for name, each in tasks.items()),
        every(AGENDA_INTERVAL_S, "agenda", agenda.look),
        every(USES_INTERVAL_S, "uses of secrets", parts.secrets.store_uses),
        every(HEALTH_INTERVAL_S, "health", parts.health.probe),
        *(
            every(WITNESS_INTERVAL_S, "witness", each.run, wake=each.noticed)
            for each in parts.witnesses
        ),
        every(EVENTS_INTERVAL_S, "events", parts.events.flush),
        every(CLOCKS_INTERVAL_S, "clocks", clocks.probe),
        every(CLAIMS_INTERVAL_S, "claims", settle_claims),
        every(DISCORD_INTERVAL_S, "discord", parts.discord.run, wake=parts.discord.noticed),
        every(REFILL_INTERVAL_S, "refill", parts.refill.run_if_due),
        every(REFILL_INTERVAL_S, "redis", parts.redis_check.later),
        every(DEAD_LETTERS_INTERVAL_S, "dead letters", remove_dead_letters),
        every(RETENTION_INTERVAL_S, "retention", delete_old_alerts, first_s=RETENTION_FIRST_S),
        every(COUNTS_INTERVAL_S, "counts", log.report_counts),
        every(NOTES_INTERVAL_S, "notes", parts.notes.run),
        every(SEARCH_FILL_INTERVAL_S, "search", SearchFill(database).run),
        every(0.0, "triage", parts.triage.run),
        every(TOTALS_INTERVAL_S, "totals", LogTotals(database).run),
    ]


async def every(
    interval_s: float | None,
    name: str,
    work: Work,
    first_s: float = 0.0,
    wake: asyncio.Event | None = None,
) -> None:
    """Wait `first_s`, then do `work` again and again, with `interval_s` between, until cancelled.

    If `wake` is set, the work is done at once. Without an interval, it is done only then, and at
    the start.

    An unavailable store is logged the 1st, 2nd, 4th, 8th time and so on, if it does not come back
    between: the log may be on the disk that is full. A bug is logged: it must not stop the work for
    ever.
    """
    await asyncio.sleep(first_s)
    times = 0
    while True:
        try:
            await work()
            times = 0
        except UnavailableError as exc:
            times += 1
            _note_unavailable(name, str(exc), times)
        except Exception:  # noqa: BLE001  (logged with its traceback, see above)
            log.event("background.failed", logging.ERROR, work=name)
        await _pause(interval_s, wake)


def _note_unavailable(name: str, reason: str, times: int) -> None:
    if times & (times - 1):
        log.counts["background.unavailable"] += 1
    else:
        log.event("background.unavailable", logging.WARNING, work=name, reason=reason, times=times)


async def _pause(interval_s: float | None, wake: asyncio.Event | None) -> None:
    if wake is None and interval_s is not None:
        clock = asyncio.get_running_loop().time
        due_at = clock() + interval_s
        await asyncio.sleep(interval_s)
        metrics.LOOP_LAG.observe(max(0.0, clock() - due_at))
        return
    assert wake is not None  # noqa: S101  (without both, nothing would ever be done)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(interval_s):
            await wake.wait()
    wake.clear()
