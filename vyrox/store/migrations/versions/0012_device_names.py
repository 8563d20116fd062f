"""The names under which each device was seen."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the table, with the name under which Vyrox last acted on each device."""
    op.create_table(
        "device_names",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("vendor", sa.Text, primary_key=True),
        sa.Column("device_id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
    )
    op.execute(
        "INSERT INTO device_names (tenant_id, vendor, device_id, number, name)"
        " SELECT tenant_id, vendor, device_id, 1, substr(hostname, 1, 256) FROM devices"
        " WHERE hostname IS NOT NULL AND hostname <> ''"
    )
