"""Tables for how people decide: their keys, the console, Discord, leases and break glass."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Make the tables of each part."""
    _keys()
    _console()
    _discord()
    _leases()
    _break_glass()
    _notifications()


def _keys() -> None:
    """Passkeys, the codes that enrol them, and statements that were shown."""


def _console() -> None:
    """Sessions of the console."""


def _discord() -> None:
    """Discord: the channels of tenants, and the messages in them."""
    op.create_table(
        "discord_channels",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("application_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("guild_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False, unique=True),
        sa.Column("bot_user_id", sa.Text(), nullable=False),
        sa.Column("on_call_role_id", sa.Text(), nullable=True),
        sa.Column("shows_review", sa.Boolean(), nullable=False),
        sa.Column("configured_at", sa.Float(), nullable=False),
    )
    op.create_table(
        "discord_messages",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("shown", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
    )
    is_open = sa.text("next_at IS NOT NULL")
    op.create_index(
        "discord_messages_open",
        "discord_messages",
        ["next_at"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def _leases() -> None:
    """Containments that end by themselves."""


def _break_glass() -> None:
    """Actions without an approval that wait for an acknowledgement."""


def _notifications() -> None:
    """Reminders, and channels beside webhooks."""
