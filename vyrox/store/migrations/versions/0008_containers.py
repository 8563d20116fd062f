"""Containers report which guard rails they have read."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the containers, and to each tenant's guard rails the number of their last change."""
    op.add_column(
        "guard_rails", sa.Column("version", sa.BigInteger, nullable=False, server_default="0")
    )
    op.create_table(
        "containers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
