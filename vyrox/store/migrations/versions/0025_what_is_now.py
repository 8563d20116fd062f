"""Indexes for what people see first in the console, and three times and texts that they ask for.

Revision ID: 0025
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

_REFUSED = sa.text("kind = 'auth.failed'")
_KEPT = sa.text("replayed_at IS NULL AND dismissed_at IS NULL")
_FAILED = sa.text("last_error IS NOT NULL AND sent_at IS NULL")
_OPEN = sa.text("status != 'closed' AND merged_into IS NULL")


def upgrade() -> None:
    """Add the columns and the indexes. A secret that was never rotated is as old as its row."""
    op.add_column("graph_notices", sa.Column("last_error", sa.Text(), nullable=True))
    op.add_column("passkeys", sa.Column("used_at", sa.Float(), nullable=True))
    op.add_column("tenant_credentials", sa.Column("secret_at", sa.Float(), nullable=True))
    op.execute(
        "UPDATE tenant_credentials SET secret_at = created_at "
        "WHERE previous_secret IS NULL AND disabled_at IS NULL"
    )
    op.create_index("alerts_source", "alerts", ["tenant_id", "source", "received_at"])
    op.create_index(
        "graph_notices_tenant", "graph_notices", ["tenant_id", "failures", "received_at"]
    )
    op.create_index(
        "audit_log_refused",
        "audit_log",
        ["tenant_id", "sequence"],
        sqlite_where=_REFUSED,
        postgresql_where=_REFUSED,
    )
    op.create_index(
        "quarantine_waiting",
        "quarantine",
        ["tenant_id", "source", "last_received_at"],
        sqlite_where=_KEPT,
        postgresql_where=_KEPT,
    )
    op.create_index(
        "notifications_failed",
        "notifications",
        ["tenant_id", "created_at"],
        sqlite_where=_FAILED,
        postgresql_where=_FAILED,
    )
    op.create_index(
        "incidents_urgency",
        "incidents",
        ["tenant_id", "band", "score", "number"],
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
