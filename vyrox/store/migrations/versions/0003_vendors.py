"""Vendors' credentials, guard rails, devices and pending confirmations."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables of containment at the vendors."""
    op.create_table(
        "edr_credentials",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("vendor", sa.Text, primary_key=True),
        sa.Column("client_id", sa.Text),
        sa.Column("azure_tenant", sa.Text),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
    )
    op.create_table(
        "guard_rails",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("frozen_at", sa.Float),
        sa.Column("per_hour", sa.Integer, nullable=False),
        sa.Column("never_contain", sa.Text, nullable=False),
    )
    op.create_table(
        "devices",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("vendor", sa.Text, primary_key=True),
        sa.Column("device_id", sa.Text, primary_key=True),
        sa.Column("hostname", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("contained_entry", sa.Text),
    )
    op.create_table(
        "confirmations",
        sa.Column("entry_hash", sa.Text, primary_key=True),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("vendor", sa.Text, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("execution", sa.LargeBinary, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("until_at", sa.Float, nullable=False),
    )
    op.create_index("ix_confirmations_next_at", "confirmations", ["next_at"])
