"""Checkpoints of the audit chains: the log's id, keys, stored subtrees, readers and co-signatures.

Revision ID: 0028
Revises: 0027
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add the tables, and give this log its id."""
    identity = op.create_table("audit_identity", sa.Column("log_id", sa.Text, primary_key=True))
    op.bulk_insert(identity, [{"log_id": secrets.token_hex(8)}])
    op.create_table(
        "audit_tree",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "checkpoint_keys",
        sa.Column("public_key", sa.LargeBinary, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("log", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("endorsement", sa.Text),
    )
    op.create_table(
        "audit_readers",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("added_at", sa.Float, nullable=False),
        sa.Column("added_by", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_cosignatures",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("witness", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
