"""Daily totals for reports, the actions that they have counted, and an index for the audit page.

Revision ID: 0023
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0021"


def upgrade() -> None:
    """Make three tables, a column and an index. Alerts that are judged already are not counted."""
    op.create_table(
        "daily_totals",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("day", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("judged", sa.BigInteger(), nullable=False),
        sa.Column("benign", sa.BigInteger(), nullable=False),
    )
    op.create_index("daily_totals_day", "daily_totals", ["day"])
    op.create_table(
        "totals_places",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("stream", sa.Text(), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "action_results",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("entry_hash", sa.Text(), primary_key=True),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("action_type", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=True),
    )
    op.add_column("verdicts", sa.Column("is_counted", sa.Boolean(), nullable=True))
    is_deed = sa.text("kind <> 'alert.accepted'")
    op.create_index(
        "audit_log_deeds",
        "audit_log",
        ["tenant_id", "stream", "sequence"],
        sqlite_where=is_deed,
        postgresql_where=is_deed,
    )
