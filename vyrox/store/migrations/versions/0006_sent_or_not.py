"""Distinguish a containment that is still being checked from one that is known."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

# The lock of every transaction that changes claims, devices or confirmations.
_LOCK = "SELECT pg_advisory_xact_lock(7261947)"


def upgrade() -> None:
    """Add whether an action was sent, and which of its actions have contained a device.

    If nothing was sent, because another containment was in progress, the device had no mark. For
    all other rows it is not known.
    """
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_LOCK)
    op.add_column("confirmations", sa.Column("is_sent", sa.Boolean))
    op.add_column("devices", sa.Column("contained_token", sa.BigInteger))
    op.create_index("confirmations_device", "confirmations", ["tenant_id", "vendor", "device_id"])
    devices = sa.table(
        "devices",
        *map(sa.column, ("tenant_id", "vendor", "device_id", "contained_entry")),
    )
    confirmations = sa.table(
        "confirmations",
        *map(sa.column, ("tenant_id", "vendor", "device_id", "target", "is_sent")),
    )
    d, c = devices.c, confirmations.c
    marked = sa.exists().where(
        d.tenant_id == c.tenant_id,
        d.vendor == c.vendor,
        d.device_id == c.device_id,
        d.contained_entry.is_not(None),
    )
    op.execute(
        confirmations.update().where(c.target == "contained", ~marked).values(is_sent=sa.false())
    )
