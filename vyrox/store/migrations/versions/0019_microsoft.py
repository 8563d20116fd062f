"""Tables for what Microsoft announces, and for alerts that it sends in parts.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "graph_notices",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("alert_id", sa.Text(), primary_key=True),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
    )
    op.create_index("graph_notices_next", "graph_notices", ["next_at"])
    op.create_table(
        "alert_records",
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("raw_id", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.Float(), nullable=False),
        sa.Column("joined_at", sa.Float(), nullable=True),
    )
    op.create_index("alert_records_waiting", "alert_records", ["joined_at", "received_at"])
    op.create_index("alert_records_alert", "alert_records", ["tenant_id", "raw_id"])
