"""The limit per hour counts by its own time, not by the time of the audit chain."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NOW = {
    "postgresql": "extract(epoch FROM clock_timestamp())",
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
}

# The newest entries of a chain are enough: the limit is the most that counts.
_FILL = """
INSERT INTO containments_begun (tenant_id, begun_at)
SELECT tenant_id, timestamp FROM (
    SELECT tenant_id, timestamp, kind FROM audit_log
    WHERE tenant_id = :tenant_id AND stream = 'actions'
    ORDER BY sequence DESC LIMIT :newest
) AS newest
WHERE kind IN ('HOST_ISOLATION', 'PROCESS_KILL', 'NETWORK_QUARANTINE')
AND timestamp > :now - 3600 AND timestamp <= :now
"""

# Lifts are between the containments and do not count.
_NEWEST = 100_000


def upgrade() -> None:
    """Add the table, with the last hour's containments of the tenants that have a limit.

    A time in the future is wrong, and so is the time of every later entry in that chain. They do
    not count.
    """
    op.create_table(
        "containments_begun",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("begun_at", sa.Float, nullable=False),
    )
    op.create_index("containments_begun_tenant", "containments_begun", ["tenant_id", "begun_at"])
    op.create_index("containments_begun_at", "containments_begun", ["begun_at"])
    connection = op.get_bind()
    now = connection.execute(sa.text(f"SELECT {_NOW[connection.dialect.name]}")).scalar_one()
    limited = sa.text("SELECT tenant_id FROM guard_rails WHERE per_hour > 0")
    for tenant_id in connection.execute(limited).scalars().all():
        parameters = {"tenant_id": tenant_id, "newest": _NEWEST, "now": int(now)}
        connection.execute(sa.text(_FILL), parameters)
