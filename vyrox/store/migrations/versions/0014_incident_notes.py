"""Notes of a language model on incidents, and the index that finds the incidents they are for.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the table and the index."""
    op.create_table(
        "incident_notes",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("note", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "number", "digest"),
    )
    op.create_index(
        "incident_notes_asked", "incident_notes", ["tenant_id", "asked_at"], unique=False
    )
    unclear = sa.text("score >= 35 AND score <= 85 AND merged_into IS NULL")
    op.create_index(
        "incidents_unclear",
        "incidents",
        ["updated_at"],
        unique=False,
        sqlite_where=unclear,
        postgresql_where=unclear,
    )
