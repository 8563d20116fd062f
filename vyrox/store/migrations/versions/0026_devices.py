"""Indexes for the pages of an incident and of a device: alerts of a host, verdicts of people.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the indexes."""
    _index("verdicts_host", "verdicts", ["tenant_id", "host", "happened_at"], "host IS NOT NULL")
    _index("alerts_decided", "alerts", ["tenant_id", "verdict_at"], "verdict IS NOT NULL")
    _index(
        "incidents_open_tenant",
        "incidents",
        ["tenant_id", "updated_at", "number"],
        "status != 'closed'",
    )


def _index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
