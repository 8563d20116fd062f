"""Tables for proposals, who decides on them, and what was decided."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make the four tables."""
    op.create_table(
        "proposals",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("place", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("approved_at", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("repeats", sa.BigInteger(), nullable=False),
    )
    op.create_index("proposals_created", "proposals", ["tenant_id", "created_at", "id"])
    is_open = sa.text("state IN ('pending', 'approved')")
    op.create_index(
        "proposals_open",
        "proposals",
        ["tenant_id", "place"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "decisions",
        sa.Column("proposal_id", sa.Text(), primary_key=True),
        sa.Column("approver", sa.Text(), primary_key=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("proof_key", sa.Text(), nullable=False, unique=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("entry_hash", sa.Text(), nullable=False),
    )
    op.create_table(
        "approvers",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("discord_user_id", sa.Text(), nullable=True),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=True),
    )
    op.create_table(
        "approval_rules",
        sa.Column("tenant_id", sa.Text(), primary_key=True),
        sa.Column("rule", sa.Text(), primary_key=True),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
    )
