"""Tenants, alerts, quarantine, heartbeat."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of ingestion."""
    op.create_table(
        "tenant_credentials",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("vendor", sa.Text, primary_key=True),
        sa.Column("secret", sa.Text),
        sa.Column("previous_secret", sa.Text),
        sa.Column("previous_expires_at", sa.Float),
        sa.Column("previous_used_at", sa.Float),
        sa.Column("field_map", sa.Text),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("disabled_at", sa.Float),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("ix_tenant_credentials_version", "tenant_credentials", ["version"], unique=True)
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("dedup_key", sa.LargeBinary, unique=True),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("alert", sa.LargeBinary, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("finished_at", sa.Float),
        sa.Column("dead_reason", sa.Text),
    )
    op.create_index(
        "alerts_unfinished",
        "alerts",
        ["received_at", "id"],
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "alerts_finished",
        "alerts",
        ["finished_at"],
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("dedup_key", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("first_received_at", sa.Float, nullable=False),
        sa.Column("last_received_at", sa.Float, nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("replayed_at", sa.Float),
        sa.Column("alert_id", sa.Text),
    )
    op.create_index("ix_quarantine_last_received_at", "quarantine", ["last_received_at"])
    op.create_index("quarantine_tenant", "quarantine", ["tenant_id", "first_received_at"])
    heartbeat = op.create_table("heartbeat", sa.Column("at", sa.Float, nullable=False))
    op.bulk_insert(heartbeat, [{"at": 0.0}])
