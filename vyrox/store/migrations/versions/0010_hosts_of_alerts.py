"""Two guard rails about alerts; a claim stores what its last event needs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add both rails, off for existing tenants, and two columns to the claims."""
    op.add_column(
        "guard_rails", sa.Column("other_hosts", sa.Text, nullable=False, server_default="allow")
    )
    op.add_column(
        "guard_rails",
        sa.Column("known_alerts_only", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.add_column("claims", sa.Column("alert_id", sa.LargeBinary))
    op.add_column("claims", sa.Column("force", sa.Boolean))
