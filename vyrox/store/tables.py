"""The tables, as they are after all migrations."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    not_,
)

metadata = MetaData()

tenant_credentials = Table(
    "tenant_credentials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("secret", Text),  # encrypted; NULL once removed
    Column("previous_secret", Text),  # encrypted; valid until previous_expires_at
    Column("previous_expires_at", Float),
    Column("previous_used_at", Float),
    Column("field_map", Text),  # JSON
    Column("created_at", Float, nullable=False),
    Column(
        "disabled_at", Float
    ),  # the row of a removed tenant stays: else the default secret would be valid
    # Higher after every change in the table, in commit order. Readers ask for newer rows.
    Column("version", Integer, nullable=False, index=True, unique=True),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    # One row at a time has a key. It is set to NULL when the redelivery window is over.
    Column("dedup_key", LargeBinary, unique=True),
    Column("received_at", Float, nullable=False),
    Column("alert", LargeBinary, nullable=False),  # the normalised alert as JSON
    Column("raw", LargeBinary, nullable=False),  # the body as received
    Column("finished_at", Float),
    Column("dead_reason", Text),  # set if it was delivered too often
)
Index(
    "alerts_unfinished",
    alerts.c.received_at,
    alerts.c.id,
    sqlite_where=alerts.c.finished_at.is_(None),
    postgresql_where=alerts.c.finished_at.is_(None),
)
Index(
    "alerts_finished",
    alerts.c.finished_at,
    sqlite_where=alerts.c.finished_at.is_not(None),
    postgresql_where=alerts.c.finished_at.is_not(None),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("dedup_key", LargeBinary, nullable=False, unique=True),  # the same bytes are kept once
    Column("reason", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("first_received_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False, index=True),
    Column("deliveries", Integer, nullable=False),
    Column("replayed_at", Float),
    Column("alert_id", Text),  # the alert it became when it was replayed
    Column("dismissed_at", Float),
    # True: there was no room for the body. One such row per (tenant, source) counts them all.
    Column("only_counted", Boolean),
)
quarantine_totals = Table(
    "quarantine_totals",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),  # of the bodies, and ROW_BYTES for each row
)
Index("quarantine_tenant", quarantine.c.tenant_id, quarantine.c.first_received_at)

audit_log = Table(
    "audit_log",
    metadata,
    # One chain per (tenant, stream). The key prevents a fork. '' is the service's own chain.
    Column("tenant_id", Text, primary_key=True),
    Column("stream", Text, primary_key=True),  # "actions" or "events"
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # from 1, without gaps
    Column("kind", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("entry", LargeBinary, nullable=False),  # as exported, byte for byte
)
"""Append-only: triggers refuse UPDATE, DELETE and, in PostgreSQL, TRUNCATE."""

Index(
    "audit_log_events",
    audit_log.c.timestamp,
    audit_log.c.tenant_id,
    audit_log.c.sequence,
    sqlite_where=audit_log.c.stream == "events",
    postgresql_where=audit_log.c.stream == "events",
)

claims = Table(
    "claims",
    metadata,
    Column("request_id", LargeBinary, primary_key=True),  # UTF-8
    Column("tenant_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("action_type", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("lease_until", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("entry_hash", Text),
    # For the event of a claim whose owner died. NULL in claims of an earlier version.
    Column("alert_id", LargeBinary),  # UTF-8
    Column("force", Boolean),
)
Index("claims_expire", claims.c.expires_at)

edr_credentials = Table(
    "edr_credentials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("client_id", Text),
    Column("azure_tenant", Text),
    Column("base_url", Text, nullable=False),
    Column("secret", Text, nullable=False),  # encrypted
    Column("version", Text, nullable=False),  # random, new after each change
)

guard_rails = Table(
    "guard_rails",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("frozen_at", Float),
    Column("per_hour", Integer, nullable=False),  # 0 is no limit
    Column("never_contain", Text, nullable=False),  # JSON
    # Higher after every change in the table, in commit order. Containers report what they read.
    Column("version", BigInteger, nullable=False, server_default="0"),
    # "refuse" or "allow" a host that the alert does not name.
    Column("other_hosts", Text, nullable=False, server_default="allow"),
    Column("known_alerts_only", Boolean, nullable=False, server_default=false()),
)

containers = Table(
    "containers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seen_at", Float, nullable=False),  # by the database's time
    Column("version", BigInteger, nullable=False),  # the newest of `guard_rails` it has read
)

# For a tenant's limit per hour. Claims are deleted too early for that, and the time of an audit
# entry depends on the entries before it.
containments_begun = Table(
    "containments_begun",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("begun_at", Float, nullable=False),  # by the same clock as leases
)
Index("containments_begun_tenant", containments_begun.c.tenant_id, containments_begun.c.begun_at)
Index("containments_begun_at", containments_begun.c.begun_at)

devices = Table(
    "devices",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("hostname", Text),
    # One action at a time leases the device. Each lease gets a higher token.
    Column("owner", Text),
    Column("lease_until", Float, nullable=False),
    Column("token", BigInteger, nullable=False),
)

device_names = Table(
    "device_names",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # in order of first use
    Column("name", Text, nullable=False),
)

# Pending actions, and settled containments that Vyrox may lift.
confirmations = Table(
    "confirmations",
    metadata,
    Column("entry_hash", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("vendor", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("execution", LargeBinary, nullable=False),  # the request_id, UTF-8
    Column("target", Text, nullable=False),
    Column("reference", Text),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("until_at", Float, nullable=False),
    Column("token", BigInteger, nullable=False),  # of the device's lease; higher for a later action
    Column("is_sent", Boolean),  # NULL until the attempt ends; False: a containment was in progress
    Column("is_settled", Boolean, nullable=False),  # a containment by Vyrox; not checked again
)
Index(
    "confirmations_device",
    confirmations.c.tenant_id,
    confirmations.c.vendor,
    confirmations.c.device_id,
)

Index(
    "confirmations_pending",
    confirmations.c.next_at,
    sqlite_where=not_(confirmations.c.is_settled),
    postgresql_where=not_(confirmations.c.is_settled),
)

heartbeat = Table("heartbeat", metadata, Column("at", Float, nullable=False))
