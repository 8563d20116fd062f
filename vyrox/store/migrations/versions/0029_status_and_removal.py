"""Each container reports how it is; the secret of a removed tenant is kept until it is purged.

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("containers", sa.Column("is_dry_run", sa.Boolean))
    op.add_column("containers", sa.Column("distrust", sa.Text))
    op.add_column("tenant_credentials", sa.Column("kept_secret", sa.Text))
