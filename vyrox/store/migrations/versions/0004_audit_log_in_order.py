"""The audit log of SQLite in the order in which it is written, not in that of the chains.

Clustered by chain, each tenant's entry went to a page of the tenant's own, which it filled and
split: with 10,000 tenants half as much again was written for every alert.
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
    # of the same place, and now that there are row numbers, that of the same number. Of an INSERT
    # that states none, a trigger is shown -1; SQLite itself never gives it.
    "CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log "  # noqa: S608  (no input)
    "WHEN EXISTS (SELECT 1 FROM audit_log WHERE tenant_id = NEW.tenant_id AND stream = NEW.stream "
    "AND sequence = NEW.sequence) OR NEW.rowid <> -1 AND EXISTS "
    "(SELECT 1 FROM audit_log WHERE rowid = NEW.rowid) "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
)


def upgrade() -> None:
    """Copy the log into a table with row numbers; make its index and its triggers anew."""
    if op.get_bind().dialect.name == "postgresql":
        return  # its tables are in the order of writing
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
    op.drop_table("audit_log_by_chain")  # and what hangs on it
    op.create_index(
        "audit_log_events",
        "audit_log",
        ["timestamp", "tenant_id", "sequence"],
        sqlite_where=sa.text("stream = 'events'"),
    )
    for statement in _TRIGGERS:
        op.execute(statement)
