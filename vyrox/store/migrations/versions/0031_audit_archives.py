"""Old events may be removed once they are in an archive; their hashes stay.

Revision ID: 0031
Revises: 0030
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"

_REFUSED = "the audit log is append-only"
_MAY_GO = (
    "('alert', 'auth', 'graph', 'incident', 'notification', 'notify', 'poller', 'signal', "
    "'suppression')"
)

_IS_ARCHIVED = (
    "OLD.stream = 'events' AND (OLD.kind = 'audit.exported' OR {family} IN {may_go}) "
    "AND EXISTS (SELECT 1 FROM audit_archives AS done WHERE done.tenant_id = OLD.tenant_id "
    "AND done.last >= OLD.sequence)"
)
# An entry is canonical JSON, so no text in it can look like one of its members.
_IS_NOT_SAID = (
    "NOT EXISTS (SELECT 1 FROM audit_log AS said WHERE said.tenant_id = NEW.tenant_id "
    "AND said.stream = 'events' AND said.kind = 'chain.archived' AND said.sequence > NEW.last "
    "AND {place} > 0)"
)
_SQLITE_PLACE = "instr(CAST(said.entry AS TEXT), '\"last\":' || NEW.last || ',')"
_POSTGRES_PLACE = "position('\"last\":' || NEW.last || ',' IN convert_from(said.entry, 'UTF8'))"
_SQLITE_FAMILY = "substr(OLD.kind, 1, instr(OLD.kind, '.') - 1)"
_POSTGRES_FAMILY = "split_part(OLD.kind, '.', 1)"

_TABLES = ("audit_archives", "archived_hashes")

_SQLITE = (
    "DROP TRIGGER audit_log_no_delete",
    "CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log WHEN NOT ("
    + _IS_ARCHIVED.format(family=_SQLITE_FAMILY, may_go=_MAY_GO)
    + f") BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
    "CREATE TRIGGER audit_archives_said BEFORE INSERT ON audit_archives WHEN "
    + _IS_NOT_SAID.format(place=_SQLITE_PLACE)
    + f" BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END",
    *(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END"
        for table in _TABLES
        for verb in ("UPDATE", "DELETE")
    ),
)
_POSTGRES = (
    # OLD has no value in the statement's trigger, so the conditions are one inside the other.
    "CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF TG_OP = 'DELETE' THEN IF "
    + _IS_ARCHIVED.format(family=_POSTGRES_FAMILY, may_go=_MAY_GO)
    + " THEN RETURN OLD; END IF; END IF; "
    f"RAISE EXCEPTION '{_REFUSED}' USING ERRCODE = 'restrict_violation'; END $$",
    "CREATE FUNCTION audit_archives_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSED}' USING ERRCODE = 'restrict_violation'; END $$",
    "CREATE FUNCTION audit_archives_said() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
    + _IS_NOT_SAID.format(place=_POSTGRES_PLACE)
    + f" THEN RAISE EXCEPTION '{_REFUSED}' USING ERRCODE = 'restrict_violation'; END IF; "
    "RETURN NEW; END $$",
    "CREATE TRIGGER audit_archives_said BEFORE INSERT ON audit_archives "
    "FOR EACH ROW EXECUTE FUNCTION audit_archives_said()",
    *(
        f"CREATE TRIGGER {table}_no_{name} BEFORE {verbs} ON {table} "
        f"FOR EACH {each} EXECUTE FUNCTION audit_archives_refuse()"
        for table in _TABLES
        for name, verbs, each in (
            ("change", "UPDATE OR DELETE", "ROW"),
            ("truncate", "TRUNCATE", "STATEMENT"),
        )
    ),
)


def upgrade() -> None:
    """Add the tables. The trigger allows to delete events that an archive has, and no others.

    That an archive has them, an event in the chain must say before `audit_archives` does.

    A migration that rebuilds `audit_log` must create its triggers again, with this condition.
    """
    op.create_table(
        "audit_archives",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("last", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "archived_hashes",
        sa.Column("tenant_id", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    is_postgres = op.get_bind().dialect.name == "postgresql"
    for statement in _POSTGRES if is_postgres else _SQLITE:
        op.execute(statement)
