"""What the console's search finds alerts by; it has an index for each tenant.

The new columns of the alerts that are there already stay empty here: the service fills them beside
its other work (`alerts.search_fill`).

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

_SEARCHED = ("hostname", "username", "sha256")


def upgrade() -> None:
    """Add the columns and their indexes, and note that the alerts so far are not filled."""
    is_postgres = op.get_bind().dialect.name == "postgresql"
    by_bytes = sa.Text(collation="C") if is_postgres else sa.Text()
    for name in ("hostname", "username"):
        op.drop_index(f"alerts_{name}", "alerts")
        if is_postgres:
            op.alter_column("alerts", name, type_=by_bytes)
    for name in ("sha256", "technique", "raw_id"):
        op.add_column("alerts", sa.Column(name, by_bytes))
    op.drop_index("alerts_severe", "alerts")
    for name in _SEARCHED:
        columns = ["tenant_id", name, "received_at", "id"]
        _index(f"alerts_{name}", "alerts", columns, f"{name} IS NOT NULL")
    _index(
        "alerts_dead_tenant",
        "alerts",
        ["tenant_id", "received_at", "id"],
        "dead_reason IS NOT NULL",
    )
    _index(
        "audit_log_alerts",
        "audit_log",
        ["tenant_id", "sequence"],
        "kind IN ('alert.verdict', 'alert.dead', 'alert.revived')",
    )
    op.create_table(
        "search_fill",
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("id", sa.Text, primary_key=True),
    )
    op.execute(
        "INSERT INTO search_fill (received_at, id)"
        " SELECT max(received_at) + 1, '' FROM alerts HAVING count(*) > 0"
    )
    op.drop_index("quarantine_tenant", "quarantine")
    op.create_index("quarantine_tenant", "quarantine", ["tenant_id", "first_received_at", "id"])


def _index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
