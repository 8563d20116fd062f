"""An alert comes into the search's indexes when it is finished; severe ones that wait have one.

Revision ID: 0030
Revises: 0029
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Make the indexes again."""
    for name in ("hostname", "username", "sha256"):
        op.drop_index(f"alerts_{name}", "alerts")
        columns = ["tenant_id", name, "received_at", "id"]
        _index(f"alerts_{name}", columns, f"{name} IS NOT NULL AND finished_at IS NOT NULL")
    _index(
        "alerts_severe_waiting",
        ["received_at", "id"],
        "finished_at IS NULL AND severity IN ('critical', 'high')",
    )


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "alerts", columns, sqlite_where=where, postgresql_where=where)
