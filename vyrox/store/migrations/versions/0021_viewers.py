"""People who look and do not decide, one-time links for them, and sessions without a passkey.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Make the tables. Who is signed in signs in again: the sessions are made again."""
    op.create_table(
        "viewers",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("home", sa.Text(), nullable=True),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=True),
    )
    op.create_index("viewers_name", "viewers", ["name", "home"])
    op.create_index("approvers_name", "approvers", ["name"])
    op.create_table(
        "console_links",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenants", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
    )
    op.drop_index("console_sessions_approver", "console_sessions")
    op.drop_table("console_sessions")
    op.create_table(
        "console_sessions",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=True),
        sa.Column("tenants", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
    )
    op.create_index("console_sessions_approver", "console_sessions", ["approver"])
