"""On SQLite, store the audit log in the order in which it is written, not chain by chain.

Chain by chain, each tenant's entries have pages of their own, which fill and split: with 10,000
tenants, every alert wrote half as much again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_REFUSED = "the audit log is append-only"

_TRIGGERS = (
    *(
        f"CREATE TRIGGER audit_log_no_{verb.lower()} BEFORE {verb} ON audit_log "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE deletes without a DELETE trigger, unless recursive_triggers is on: the row
    # with the same key, and the row with the same row number. In an INSERT without a row number,
    # the trigger sees -1, which SQLite never assigns.
    "CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log "  # noqa: S608  (no input)
    "WHEN EXISTS (SELECT 1 FROM audit_log WHERE tenant_id = NEW.tenant_id AND stream = NEW.stream "
    "AND sequence = NEW.sequence) OR NEW.rowid <> -1 AND EXISTS "
    "(SELECT 1 FROM audit_log WHERE rowid = NEW.rowid) "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
)


def upgrade() -> None:
    """Copy the log into a table with row numbers; create its index and its triggers again."""
    if op.get_bind().dialect.name == "postgresql":
        return  # PostgreSQL stores rows in the order in which they are written
    op.rename_table("audit_log", "audit_log_by_chain")
    op.create_table(
        "audit_log",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
    )
    op.execute("INSERT INTO audit_log SELECT * FROM audit_log_by_chain")
    op.drop_table("audit_log_by_chain")  # and its index and triggers
    op.create_index(
        "audit_log_events",
        "audit_log",
        ["timestamp", "tenant_id", "sequence"],
        sqlite_where=sa.text("stream = 'events'"),
    )
    for statement in _TRIGGERS:
        op.execute(statement)
