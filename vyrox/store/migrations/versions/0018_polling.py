"""Tables for pollers, and for the alerts that they have read.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "pollers",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("vendor", sa.Text(), primary_key=True),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("highest", sa.Float(), nullable=True),
        sa.Column("succeeded_at", sa.Float(), nullable=True),
        sa.Column("caught_up_at", sa.Float(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("warned_at", sa.Float(), nullable=True),
    )
    op.create_table(
        "polled_alerts",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("vendor", sa.Text(), primary_key=True),
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("updated", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
    )
    op.create_index("polled_alerts_seen", "polled_alerts", ["seen_at"])
