"""What a tenant has chosen for its webhook: its signature, headers and customer ids."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the options of each tenant and vendor; NULL means the defaults."""
    op.add_column("tenant_credentials", sa.Column("webhook_options", sa.Text(), nullable=True))
