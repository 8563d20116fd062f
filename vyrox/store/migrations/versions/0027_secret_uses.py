"""When the previous secret of the private listener was last used.

Revision ID: 0027
Revises: 0026
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "secret_uses",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("used_at", sa.Float, nullable=False),
    )
