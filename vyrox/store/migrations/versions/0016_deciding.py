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
    """Passkeys, the codes that enrol them, statements that were shown, changes that wait."""
    op.add_column("approvers", sa.Column("user_id", sa.LargeBinary(), nullable=True))
    op.add_column("approvers", sa.Column("reset_at", sa.Float(), nullable=True))
    op.add_column("decisions", sa.Column("means", sa.Text(), nullable=True))
    comment = sa.Column("comment", sa.Text(), nullable=False, server_default="")
    op.add_column("decisions", comment)
    op.create_table(
        "passkeys",
        sa.Column("credential_id", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("members", sa.LargeBinary(), nullable=False),
        sa.Column("thumbprint", sa.Text(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("vouched_by", sa.Text(), nullable=True),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("confirmed_at", sa.Float(), nullable=True),
        sa.Column("removed_at", sa.Float(), nullable=True),
    )
    op.create_index("passkeys_approver", "passkeys", ["tenant_id", "approver"])
    op.create_table(
        "approver_codes",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("vouched_by", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.Float(), nullable=False),
    )
    op.create_table(
        "statements",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
    )
    op.create_index("statements_expires", "statements", ["expires_at"])
    op.create_table(
        "approver_changes",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("done_at", sa.Float(), nullable=True),
    )
    op.create_index("approver_changes_tenant", "approver_changes", ["tenant_id", "expires_at"])
    op.create_table(
        "change_endorsements",
        sa.Column("change_id", sa.Text(), primary_key=True),
        sa.Column("approver", sa.Text(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
    )


def _console() -> None:
    """Sessions of the console, and challenges that were answered."""
    op.create_table(
        "console_sessions",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
    )
    op.create_index("console_sessions_approver", "console_sessions", ["tenant_id", "approver"])
    op.create_table(
        "console_challenges",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("answered_at", sa.Float(), nullable=False),
    )


def _discord() -> None:
    """Discord: the channels of tenants, and the messages in them."""
    op.create_index("proposals_sha256", "proposals", ["sha256"])  # a button carries the digest
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
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("is_altered", sa.Boolean(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("shown", sa.Text(), nullable=True),
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
    op.create_table(
        "leases",
        sa.Column("proposal_id", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=True),
        sa.Column("action_type", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("entry_hash", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("lease_s", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("began_at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        sa.Column("postponed_at", sa.Float(), nullable=True),
        sa.Column("asked_at", sa.Float(), nullable=True),
        sa.Column("waits_since", sa.Float(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
    )
    op.create_index("leases_device", "leases", ["tenant_id", "vendor", "device_id"])


def _break_glass() -> None:
    """Actions without an approval that wait for an acknowledgement."""
    op.create_table(
        "break_glass",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("acknowledged_at", sa.Float(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
    )
    op.create_index("break_glass_tenant", "break_glass", ["tenant_id", "at"])


def _notifications() -> None:
    """What Vyrox proposes by itself, and about which proposals people were pinged."""
    op.add_column(
        "guard_rails",
        sa.Column("propose", sa.Text(), nullable=False, server_default="urgent"),
    )
    op.create_table(
        "incident_proposals",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("seen_alerts", sa.BigInteger(), nullable=False),
        sa.Column("suggestion", sa.Text(), nullable=True),
        sa.Column("proposal_id", sa.Text(), nullable=True),
    )
    op.create_index("incident_proposals_proposal", "incident_proposals", ["proposal_id"])
    op.create_table(
        "approval_pings",
        sa.Column("proposal_id", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("is_pinged", sa.Boolean(), nullable=False),
        sa.Column("remind_at", sa.Float(), nullable=True),
    )
    op.create_index("approval_pings_at", "approval_pings", ["tenant_id", "at"])
