"""Quarantined bytes are counted per tenant, and a payload can be dismissed."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns and the totals, with what is kept already."""
    op.add_column("quarantine", sa.Column("dismissed_at", sa.Float))
    op.add_column("quarantine", sa.Column("only_counted", sa.Boolean))
    op.create_table(
        "quarantine_totals",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO quarantine_totals (tenant_id, size_bytes) "
        "SELECT tenant_id, sum(length(raw)) + 512 * count(*) FROM quarantine GROUP BY tenant_id"
    )
