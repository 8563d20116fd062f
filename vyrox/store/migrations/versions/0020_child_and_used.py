"""Flight Control's child in a column of its own, and when a webhook's secret was last used.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the two columns; the child's customer id moves from the column of Microsoft's tenant."""
    op.add_column("edr_credentials", sa.Column("member_cid", sa.Text(), nullable=True))
    op.execute(
        "UPDATE edr_credentials SET member_cid = substr(azure_tenant, 5), azure_tenant = NULL "
        "WHERE vendor = 'crowdstrike' AND azure_tenant LIKE 'cid:%'"
    )
    op.add_column("tenant_credentials", sa.Column("used_at", sa.Float(), nullable=True))
