"""Record which of two actions on a device is the later one, independent of clocks."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the device's token to the confirmations. So far there was one row per device."""
    token = sa.Column("token", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("confirmations", token)
