"""The audit chains and the claims of containments."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_REFUSED = "the audit log is append-only"

_SQLITE_TRIGGERS = (
    *(
        f"CREATE TRIGGER audit_log_no_{verb.lower()} BEFORE {verb} ON audit_log "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE deletes without a DELETE trigger, unless recursive_triggers is on.
    "CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log "  # noqa: S608  (no input)
    "WHEN EXISTS (SELECT 1 FROM audit_log WHERE tenant_id = NEW.tenant_id AND stream = NEW.stream "
    f"AND sequence = NEW.sequence) BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
)
_POSTGRES_TRIGGERS = (
    # With the code of an integrity error, as in SQLite: a plain one looks like a failing server.
    "CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}' USING ERRCODE = 'restrict_violation'; END $$",
    "CREATE TRIGGER audit_log_no_change BEFORE UPDATE OR DELETE ON audit_log "
    "FOR EACH ROW EXECUTE FUNCTION audit_log_refuse()",
    "CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()",
)


def upgrade() -> None:
    """Create the tables, and the triggers that keep the log append-only.

    A migration that rebuilds `audit_log` must create the triggers again: they are deleted with the
    old table.
    """
    op.create_table(
        "audit_log",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "audit_log_events",
        "audit_log",
        ["timestamp", "tenant_id", "sequence"],
        sqlite_where=sa.text("stream = 'events'"),
        postgresql_where=sa.text("stream = 'events'"),
    )
    op.create_table(
        "claims",
        sa.Column("request_id", sa.LargeBinary, primary_key=True),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("action_type", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("entry_hash", sa.Text),
    )
    op.create_index("claims_expire", "claims", ["expires_at"])
    is_postgres = op.get_bind().dialect.name == "postgresql"
    for statement in _POSTGRES_TRIGGERS if is_postgres else _SQLITE_TRIGGERS:
        op.execute(statement)
