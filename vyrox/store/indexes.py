"""The partial indexes, as they are after all migrations.

They are apart from the tables because their conditions load SQLAlchemy's dialect of each database,
which a command that only uses the tables does without.
"""

from typing import Final

from sqlalchemy import Index, MetaData, not_, text

from vyrox.store.tables import (
    alerts,
    audit_log,
    confirmations,
    discord_messages,
    incidents,
    metadata,
    notifications,
    proposals,
    quarantine,
    verdicts,
)

Index(
    "alerts_unfinished",
    alerts.c.received_at,
    alerts.c.id,
    sqlite_where=alerts.c.finished_at.is_(None),
    postgresql_where=alerts.c.finished_at.is_(None),
)
Index(
    "alerts_finished",
    alerts.c.finished_at,
    sqlite_where=alerts.c.finished_at.is_not(None),
    postgresql_where=alerts.c.finished_at.is_not(None),
)
Index(
    "audit_log_events",
    audit_log.c.timestamp,
    audit_log.c.tenant_id,
    audit_log.c.sequence,
    sqlite_where=audit_log.c.stream == "events",
    postgresql_where=audit_log.c.stream == "events",
)
# For what became of actions on one device, among very many events of accepted alerts.
_OUTCOMES: Final = text("kind IN ('execute.outcome', 'execute.refused')")
Index(
    "audit_log_outcomes",
    audit_log.c.tenant_id,
    audit_log.c.sequence,
    sqlite_where=_OUTCOMES,
    postgresql_where=_OUTCOMES,
)
# What happened, without the alerts that came in: those are nearly all of the log.
_DEEDS: Final = text("kind <> 'alert.accepted'")
Index(
    "audit_log_deeds",
    audit_log.c.tenant_id,
    audit_log.c.stream,
    audit_log.c.sequence,
    sqlite_where=_DEEDS,
    postgresql_where=_DEEDS,
)
# For what was done with one alert.
_OF_ALERTS: Final = text("kind IN ('alert.verdict', 'alert.dead', 'alert.revived')")
Index(
    "audit_log_alerts",
    audit_log.c.tenant_id,
    audit_log.c.sequence,
    sqlite_where=_OF_ALERTS,
    postgresql_where=_OF_ALERTS,
)
# For the last refused delivery of a tenant, among all events of the service.
_REFUSED: Final = text("kind = 'auth.failed'")
Index(
    "audit_log_refused",
    audit_log.c.tenant_id,
    audit_log.c.sequence,
    sqlite_where=_REFUSED,
    postgresql_where=_REFUSED,
)
_KEPT: Final = text("replayed_at IS NULL AND dismissed_at IS NULL")
Index(
    "quarantine_waiting",
    quarantine.c.tenant_id,
    quarantine.c.source,
    quarantine.c.last_received_at,
    sqlite_where=_KEPT,
    postgresql_where=_KEPT,
)
Index(
    "confirmations_pending",
    confirmations.c.next_at,
    sqlite_where=not_(confirmations.c.is_settled),
    postgresql_where=not_(confirmations.c.is_settled),
)
# By them a search finds the alerts of a tenant, newest first. An alert comes into them when it is
# finished: they take half of the processor time of a row, which the sender would wait for.
for _column in (alerts.c.hostname, alerts.c.username, alerts.c.sha256):
    _FINISHED = text(f"{_column.name} IS NOT NULL AND finished_at IS NOT NULL")
    Index(
        f"alerts_{_column.name}",
        alerts.c.tenant_id,
        _column,
        alerts.c.received_at,
        alerts.c.id,
        sqlite_where=_FINISHED,
        postgresql_where=_FINISHED,
    )
# For the worker, while many alerts wait.
_SEVERE_WAITING: Final = text("finished_at IS NULL AND severity IN ('critical', 'high')")
Index(
    "alerts_severe_waiting",
    alerts.c.received_at,
    alerts.c.id,
    sqlite_where=_SEVERE_WAITING,
    postgresql_where=_SEVERE_WAITING,
)
Index(
    "alerts_dead",
    alerts.c.finished_at,
    sqlite_where=alerts.c.dead_reason.is_not(None),
    postgresql_where=alerts.c.dead_reason.is_not(None),
)
Index(
    "alerts_severe_received",
    alerts.c.received_at,
    alerts.c.id,
    sqlite_where=alerts.c.severity.in_(["critical", "high"]),
    postgresql_where=alerts.c.severity.in_(["critical", "high"]),
)
Index(
    "alerts_dead_received",
    alerts.c.received_at,
    alerts.c.id,
    sqlite_where=alerts.c.dead_reason.is_not(None),
    postgresql_where=alerts.c.dead_reason.is_not(None),
)
Index(
    "alerts_dead_tenant",
    alerts.c.tenant_id,
    alerts.c.received_at,
    alerts.c.id,
    sqlite_where=alerts.c.dead_reason.is_not(None),
    postgresql_where=alerts.c.dead_reason.is_not(None),
)
Index(
    "alerts_verdict",
    alerts.c.verdict,
    alerts.c.received_at,
    sqlite_where=alerts.c.verdict.is_not(None),
    postgresql_where=alerts.c.verdict.is_not(None),
)
Index(
    "verdicts_sampled",
    verdicts.c.tenant_id,
    verdicts.c.sampled_at,
    sqlite_where=verdicts.c.sampled_at.is_not(None),
    postgresql_where=verdicts.c.sampled_at.is_not(None),
)
Index(
    "alerts_decided",
    alerts.c.tenant_id,
    alerts.c.verdict_at,
    sqlite_where=alerts.c.verdict.is_not(None),
    postgresql_where=alerts.c.verdict.is_not(None),
)
Index(
    "verdicts_host",
    verdicts.c.tenant_id,
    verdicts.c.host,
    verdicts.c.happened_at,
    sqlite_where=verdicts.c.host.is_not(None),
    postgresql_where=verdicts.c.host.is_not(None),
)
Index(
    "incidents_open_tenant",
    incidents.c.tenant_id,
    incidents.c.updated_at,
    incidents.c.number,
    sqlite_where=incidents.c.status != "closed",
    postgresql_where=incidents.c.status != "closed",
)
Index(
    "incidents_open",
    incidents.c.updated_at,
    sqlite_where=incidents.c.status != "closed",
    postgresql_where=incidents.c.status != "closed",
)
# For the open incidents of a tenant by urgency: the bands in the order of the alphabet.
_OPEN_INCIDENT: Final = text("status != 'closed' AND merged_into IS NULL")
Index(
    "incidents_urgency",
    incidents.c.tenant_id,
    incidents.c.band,
    incidents.c.score,
    incidents.c.number,
    sqlite_where=_OPEN_INCIDENT,
    postgresql_where=_OPEN_INCIDENT,
)
# For notes of a language model: the incidents that are neither clear nor of no interest.
_UNCLEAR: Final = text("score >= 35 AND score <= 85 AND merged_into IS NULL")
Index(
    "incidents_unclear",
    incidents.c.updated_at,
    sqlite_where=_UNCLEAR,
    postgresql_where=_UNCLEAR,
)
Index(
    "incidents_due",
    incidents.c.due_at,
    sqlite_where=incidents.c.due_at.is_not(None),
    postgresql_where=incidents.c.due_at.is_not(None),
)
Index(
    "incidents_closed",
    incidents.c.closed_at,
    sqlite_where=incidents.c.closed_at.is_not(None),
    postgresql_where=incidents.c.closed_at.is_not(None),
)
Index(
    "notifications_pending",
    notifications.c.next_at,
    sqlite_where=notifications.c.next_at.is_not(None),
    postgresql_where=notifications.c.next_at.is_not(None),
)

_FAILED: Final = text("last_error IS NOT NULL AND sent_at IS NULL")
Index(
    "notifications_failed",
    notifications.c.tenant_id,
    notifications.c.created_at,
    sqlite_where=_FAILED,
    postgresql_where=_FAILED,
)

_OPEN: Final = text("state IN ('pending', 'approved')")
Index(
    "proposals_open",
    proposals.c.tenant_id,
    proposals.c.place,
    sqlite_where=_OPEN,
    postgresql_where=_OPEN,
)

Index(
    "discord_messages_open",
    discord_messages.c.next_at,
    sqlite_where=discord_messages.c.next_at.is_not(None),
    postgresql_where=discord_messages.c.next_at.is_not(None),
)

SCHEMA: Final[MetaData] = metadata
"""All tables, with all indexes."""
