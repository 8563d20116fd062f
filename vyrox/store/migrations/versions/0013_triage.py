"""Alerts get what lists filter by; tables for verdicts, incidents and notifications."""

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_PAGE = 500
_WORDS = {
    "CRITICAL": "critical",
    "CRIT": "critical",
    "SEVERE": "critical",
    "MALICIOUS": "high",
    "HIGH": "high",
    "MEDIUM": "medium",
    "MODERATE": "medium",
    "SUSPICIOUS": "medium",
    "LOW": "low",
    "INFO": "info",
    "INFORMATIONAL": "info",
    "INFORMATION": "info",
}


def upgrade() -> None:
    """Add all of it, and fill the columns of the alerts that are there."""
    _add_to_alerts()
    _fill_alerts()
    _index_outcomes()
    _make_triage_tables()
    _make_notification_tables()


def _add_to_alerts() -> None:
    op.add_column(
        "alerts", sa.Column("severity", sa.Text(), server_default="unknown", nullable=False)
    )
    op.add_column("alerts", sa.Column("hostname", sa.Text(), nullable=True))
    op.add_column("alerts", sa.Column("username", sa.Text(), nullable=True))
    op.add_column("alerts", sa.Column("verdict", sa.Text(), nullable=True))
    op.add_column("alerts", sa.Column("verdict_by", sa.Text(), nullable=True))
    op.add_column("alerts", sa.Column("verdict_at", sa.Float(), nullable=True))
    op.add_column("alerts", sa.Column("verdict_note", sa.Text(), nullable=True))
    op.create_index(
        "alerts_severe_received",
        "alerts",
        ["received_at", "id"],
        unique=False,
        sqlite_where=sa.text("severity IN ('critical', 'high')"),
        postgresql_where=sa.text("severity IN ('critical', 'high')"),
    )
    op.create_index(
        "alerts_dead_received",
        "alerts",
        ["received_at", "id"],
        unique=False,
        sqlite_where=sa.text("dead_reason IS NOT NULL"),
        postgresql_where=sa.text("dead_reason IS NOT NULL"),
    )
    op.create_index(
        "alerts_hostname",
        "alerts",
        ["hostname", "received_at"],
        unique=False,
        sqlite_where=sa.text("hostname IS NOT NULL"),
        postgresql_where=sa.text("hostname IS NOT NULL"),
    )
    op.create_index("alerts_received", "alerts", ["received_at", "id"], unique=False)
    severe = sa.text("finished_at IS NULL AND severity IN ('critical', 'high')")
    op.create_index(
        "alerts_severe",
        "alerts",
        ["received_at", "id"],
        sqlite_where=severe,
        postgresql_where=severe,
    )
    dead = sa.text("dead_reason IS NOT NULL")
    op.create_index(
        "alerts_dead", "alerts", ["finished_at"], sqlite_where=dead, postgresql_where=dead
    )
    op.create_index("alerts_tenant", "alerts", ["tenant_id", "received_at", "id"], unique=False)
    op.create_index(
        "alerts_username",
        "alerts",
        ["username", "received_at"],
        unique=False,
        sqlite_where=sa.text("username IS NOT NULL"),
        postgresql_where=sa.text("username IS NOT NULL"),
    )
    op.create_index(
        "alerts_verdict",
        "alerts",
        ["verdict", "received_at"],
        unique=False,
        sqlite_where=sa.text("verdict IS NOT NULL"),
        postgresql_where=sa.text("verdict IS NOT NULL"),
    )


def _index_outcomes() -> None:
    outcomes = sa.text("kind IN ('execute.outcome', 'execute.refused')")
    op.create_index(
        "audit_log_outcomes",
        "audit_log",
        ["tenant_id", "sequence"],
        unique=False,
        sqlite_where=outcomes,
        postgresql_where=outcomes,
    )


def _fill_alerts() -> None:
    connection = op.get_bind()
    alerts = sa.table(
        "alerts",
        sa.column("id", sa.Text),
        sa.column("alert", sa.LargeBinary),
        sa.column("severity", sa.Text),
        sa.column("hostname", sa.Text),
        sa.column("username", sa.Text),
    )
    page = sa.select(alerts.c.id, alerts.c.alert).order_by(alerts.c.id).limit(_PAGE)
    after = ""
    while rows := connection.execute(page.where(alerts.c.id > after)).all():
        after = rows[-1][0]
        for row_id, alert in rows:
            connection.execute(
                alerts.update()
                .where(alerts.c.id == row_id)
                .values(**_columns(msgspec.json.decode(alert)))
            )


def _columns(alert: dict[str, str | None]) -> dict[str, str | None]:
    severity = (alert.get("vendor_severity") or "").strip()
    return {
        "severity": _WORDS.get(severity, "unknown"),
        "hostname": _folded(alert.get("hostname")),
        "username": _folded(alert.get("username")),
    }


def _folded(text: str | None) -> str | None:
    folded = (text or "").replace("\0", "").strip().lower()
    return folded.encode("utf-8", "replace").decode()[:256] or None


def _make_triage_tables() -> None:
    op.create_table(
        "disabled_signals",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("signal", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "signal"),
    )
    op.create_table(
        "host_devices",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("host", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "source", "device_id"),
    )
    op.create_index("host_devices_host", "host_devices", ["tenant_id", "host"], unique=False)
    op.create_table(
        "host_names",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("short_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "short_name", "name", "host"),
    )
    op.create_index("host_names_host", "host_names", ["tenant_id", "host"], unique=False)
    op.create_table(
        "incident_keys",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", "number"),
    )
    op.create_index(
        "incident_keys_incident", "incident_keys", ["tenant_id", "number"], unique=False
    )
    op.create_table(
        "incident_steps",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "incident_steps_incident", "incident_steps", ["tenant_id", "number", "at"], unique=False
    )
    op.create_table(
        "incidents",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("assignee", sa.Text(), nullable=True),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("alerts", sa.BigInteger(), nullable=False),
        sa.Column("story", sa.LargeBinary(), nullable=False),
        sa.Column("merged_into", sa.BigInteger(), nullable=True),
        sa.Column("earlier", sa.BigInteger(), nullable=True),
        sa.Column("announced_band", sa.Text(), nullable=True),
        sa.Column("announced_at", sa.Float(), nullable=True),
        sa.Column("due_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "number"),
    )
    op.create_index(
        "incidents_closed",
        "incidents",
        ["closed_at"],
        unique=False,
        sqlite_where=sa.text("closed_at IS NOT NULL"),
        postgresql_where=sa.text("closed_at IS NOT NULL"),
    )
    op.create_index(
        "incidents_due",
        "incidents",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "incidents_open",
        "incidents",
        ["updated_at"],
        unique=False,
        sqlite_where=sa.text("status != 'closed'"),
        postgresql_where=sa.text("status != 'closed'"),
    )
    op.create_index("incidents_updated", "incidents", ["tenant_id", "updated_at"], unique=False)
    op.create_table(
        "person_hosts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("host", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "person", "host"),
    )
    op.create_table(
        "signed_changes",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index(op.f("ix_signed_changes_at"), "signed_changes", ["at"], unique=False)
    op.create_table(
        "suppressions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("shape", sa.Text(), nullable=True),
        sa.Column("program", sa.Text(), nullable=True),
        sa.Column("family", sa.Text(), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("second", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("hits", sa.BigInteger(), nullable=False),
        sa.Column("last_hit_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_suppressions_tenant_id"), "suppressions", ["tenant_id"], unique=False)
    op.create_table(
        "triage_tenants",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("hosts", sa.BigInteger(), nullable=False),
        sa.Column("incidents", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.create_table(
        "verdicts",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("incident", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("happened_at", sa.Float(), nullable=False),
        sa.Column("judged_at", sa.Float(), nullable=False),
        sa.Column("host", sa.BigInteger(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("verdict", sa.LargeBinary(), nullable=False),
        sa.Column("suppression", sa.Text(), nullable=True),
        sa.Column("sampled_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id"),
    )
    op.create_index(
        "verdicts_incident",
        "verdicts",
        ["tenant_id", "incident", "happened_at", "alert_id"],
        unique=False,
    )
    op.create_index(
        "verdicts_sampled",
        "verdicts",
        ["tenant_id", "sampled_at"],
        unique=False,
        sqlite_where=sa.text("sampled_at IS NOT NULL"),
        postgresql_where=sa.text("sampled_at IS NOT NULL"),
    )


def _make_notification_tables() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("incident", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=True),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("dead_at", sa.Float(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "notifications_created", "notifications", ["tenant_id", "created_at"], unique=False
    )
    op.create_index(
        "notifications_pending",
        "notifications",
        ["next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_table(
        "notify_targets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("min_band", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        op.f("ix_notify_targets_tenant_id"), "notify_targets", ["tenant_id"], unique=False
    )
