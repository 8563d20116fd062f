"""The rows of its containments show which devices Vyrox has contained; the mark is dropped."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

# The lock of every transaction that changes claims, devices or confirmations.
_LOCK = "SELECT pg_advisory_xact_lock(7261947)"

# A mark without a token is older than every pending action.
_FILL = """
INSERT INTO confirmations (entry_hash, tenant_id, vendor, device_id, execution, target, attempts,
    next_at, until_at, token, is_settled)
SELECT contained_entry, tenant_id, vendor, device_id, :execution, 'contained', 0,
    0, 0, coalesce(contained_token, -1), :is_settled
FROM devices WHERE contained_entry IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM confirmations WHERE confirmations.entry_hash = devices.contained_entry
)
"""


def upgrade() -> None:
    """Add whether an action is settled, and turn each mark into the row of its containment."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_LOCK)
    op.add_column(
        "confirmations",
        sa.Column("is_settled", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    fill = sa.text(_FILL).bindparams(
        sa.bindparam("execution", b"", sa.LargeBinary), sa.bindparam("is_settled", True, sa.Boolean)
    )
    connection.execute(fill)
    op.drop_column("devices", "contained_entry")
    op.drop_column("devices", "contained_token")
    is_pending = sa.text("NOT is_settled")
    op.drop_index("ix_confirmations_next_at", "confirmations")
    op.create_index(
        "confirmations_pending",
        "confirmations",
        ["next_at"],
        sqlite_where=is_pending,
        postgresql_where=is_pending,
    )
