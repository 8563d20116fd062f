"""The tables, as they are after all migrations; their partial indexes are in `store.indexes`."""

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
)

metadata = MetaData()

SearchText = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is found by how it begins: in order of its bytes, as SQLite has all text."""

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
    Column("webhook_options", Text),  # JSON; NULL: the defaults
    Column("used_at", Float),  # the present secret, to the minute; NULL: not since it was set
    Column("secret_at", Float),  # when the present secret was set; NULL: not known
    # The encrypted secret of a removed tenant, which nothing accepts; NULL once purged.
    Column("kept_secret", Text),
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
    # For lists. Host and user in lower case, at most 256 characters.
    Column("severity", Text, nullable=False, server_default="unknown"),
    Column("hostname", SearchText),
    Column("username", SearchText),
    # For the console's search, in lower case too. NULL in rows that `alerts.search_fill` has not
    # reached yet.
    Column("sha256", SearchText),
    Column("technique", SearchText),
    Column("raw_id", SearchText),
    Column("finished_at", Float),
    Column("dead_reason", Text),  # set if it was delivered too often
    # A person's verdict, not that of triage.
    Column("verdict", Text),
    Column("verdict_by", Text),
    Column("verdict_at", Float),
    Column("verdict_note", Text),
)
Index("alerts_received", alerts.c.received_at, alerts.c.id)
Index("alerts_tenant", alerts.c.tenant_id, alerts.c.received_at, alerts.c.id)
Index("alerts_source", alerts.c.tenant_id, alerts.c.source, alerts.c.received_at)

# How far the search columns of the alerts of an earlier version are filled. No row: all are.
search_fill = Table(
    "search_fill",
    metadata,
    Column("received_at", Float, nullable=False),  # only rows before this place are not filled
    Column("id", Text, primary_key=True),
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
Index("quarantine_tenant", quarantine.c.tenant_id, quarantine.c.first_received_at, quarantine.c.id)

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
"""Append-only: triggers refuse UPDATE, DELETE and, in PostgreSQL, TRUNCATE.

Events in an archive may be deleted (contract 103)."""

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
    Column("member_cid", Text),  # of the child in Falcon Flight Control
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
    Column("propose", Text, nullable=False, server_default="urgent"),  # urgent, review, none
)

containers = Table(
    "containers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seen_at", Float, nullable=False),  # by the database's time
    Column("version", BigInteger, nullable=False),  # the newest of `guard_rails` it has read
    Column("is_dry_run", Boolean),  # NULL: by a version that does not report it
    Column("distrust", Text),  # why its clocks cannot be trusted
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

# Containers of an earlier version write it.
heartbeat = Table("heartbeat", metadata, Column("at", Float, nullable=False))

secret_uses = Table(
    "secret_uses",
    metadata,
    Column("name", Text, primary_key=True),  # the first digits of the secret's SHA-256
    Column("used_at", Float, nullable=False),
)

# Changes that a signed request made (contract 51). The same request gets the same response.
signed_changes = Table(
    "signed_changes",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("at", Float, nullable=False, index=True),
)

# Triage. Numbers of hosts and incidents are the tenant's own, from 1.
triage_tenants = Table(
    "triage_tenants",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("hosts", BigInteger, nullable=False),  # the newest number
    Column("incidents", BigInteger, nullable=False),  # the newest number
)

host_devices = Table(
    "host_devices",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("host", BigInteger, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
)
Index("host_devices_host", host_devices.c.tenant_id, host_devices.c.host)

host_names = Table(
    "host_names",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("short_name", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("host", BigInteger, primary_key=True, autoincrement=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
)
Index("host_names_host", host_names.c.tenant_id, host_names.c.host)

person_hosts = Table(
    "person_hosts",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("person", Text, primary_key=True),
    Column("host", BigInteger, primary_key=True, autoincrement=False),
    Column("last_at", Float, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("incident", BigInteger, nullable=False),
    Column("score", Float, nullable=False),
    Column("band", Text, nullable=False),
    Column("happened_at", Float, nullable=False),
    Column("judged_at", Float, nullable=False),
    Column("host", BigInteger),
    Column("fingerprint", LargeBinary, nullable=False),  # equal for alerts of one storm
    Column("verdict", LargeBinary, nullable=False),  # as JSON, with every reason
    Column("suppression", Text),  # the id of the one that lowered the band
    # Set if this `close` is one of the sample that a person should see.
    Column("sampled_at", Float),
    Column("is_counted", Boolean),  # in `daily_totals`; NULL: judged by an earlier version
)
Index(
    "verdicts_incident",
    verdicts.c.tenant_id,
    verdicts.c.incident,
    verdicts.c.happened_at,
    verdicts.c.alert_id,
)

incidents = Table(
    "incidents",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),  # open, acknowledged, closed
    Column("resolution", Text),  # of a closed one; "below_review" if triage closed it
    Column("assignee", Text),
    Column("score", Float, nullable=False),
    Column("band", Text, nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("first_at", Float, nullable=False),  # when its first alert happened
    Column("last_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("alerts", BigInteger, nullable=False),
    Column("story", LargeBinary, nullable=False),  # JSON: families, hosts, devices, links
    Column("merged_into", BigInteger),
    Column("earlier", BigInteger),  # an older incident of the same host
    # The announcement that was made last, and when the next one is due.
    Column("announced_band", Text),
    Column("announced_at", Float),
    Column("due_at", Float),
)
Index("incidents_updated", incidents.c.tenant_id, incidents.c.updated_at)

# By these keys a new alert finds the incidents that it may join.
incident_keys = Table(
    "incident_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
)
Index("incident_keys_incident", incident_keys.c.tenant_id, incident_keys.c.number)

# What people did with an incident.
incident_steps = Table(
    "incident_steps",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
    Column("by", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("text", Text),
)
Index(
    "incident_steps_incident",
    incident_steps.c.tenant_id,
    incident_steps.c.number,
    incident_steps.c.at,
)

# What a language model was asked about an incident, and what came of it (contract 61).
incident_notes = Table(
    "incident_notes",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", Text, primary_key=True),  # of what was sent
    Column("seen_at", Float, nullable=False),  # the incident's `updated_at`
    Column("asked_at", Float, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("result", Text),  # written, dropped, failed; NULL: asked
    Column("note", LargeBinary),  # JSON
)
Index("incident_notes_asked", incident_notes.c.tenant_id, incident_notes.c.asked_at)

suppressions = Table(
    "suppressions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False, index=True),
    # The scope. NULL: any.
    Column("shape", Text),
    Column("program", Text),
    Column("family", Text),
    Column("host", Text),
    Column("username", Text),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("second", Text),  # the second person, for the dangerous families
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("end_reason", Text),
    Column("hits", BigInteger, nullable=False),
    Column("last_hit_at", Float),
)

disabled_signals = Table(
    "disabled_signals",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("signal", Text, primary_key=True),
    Column("by", Text, nullable=False),
    Column("at", Float, nullable=False),
)

notify_targets = Table(
    "notify_targets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False, index=True),
    Column("format", Text, nullable=False),  # vyrox, ocsf
    Column("min_band", Text, nullable=False),
    Column("host", Text, nullable=False),  # of the URL: what may be shown
    Column("url", Text, nullable=False),  # encrypted
    Column("secret", Text, nullable=False),  # encrypted
    Column("created_at", Float, nullable=False),
    Column("removed_at", Float),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("incident", BigInteger),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float),  # NULL once it is sent or dead
    Column("sent_at", Float),
    Column("dead_at", Float),
    Column("last_error", Text),
)
Index("notifications_created", notifications.c.tenant_id, notifications.c.created_at)

proposals = Table(
    "proposals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("text", LargeBinary, nullable=False),  # canonical JSON, as it was hashed
    Column("place", LargeBinary, nullable=False),  # equal for proposals of one action on one device
    Column("state", Text, nullable=False),  # as stored; `approvals.states` says what it is now
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("approved_at", Float),
    Column("ended_at", Float),
    Column("end_reason", Text),
    Column("repeats", BigInteger, nullable=False),  # how often it was proposed again
)
Index("proposals_created", proposals.c.tenant_id, proposals.c.created_at, proposals.c.id)
Index("proposals_sha256", proposals.c.sha256)

decisions = Table(
    "decisions",
    metadata,
    Column("proposal_id", Text, primary_key=True),
    Column("approver", Text, primary_key=True),
    Column("decision", Text, nullable=False),  # approve, reject
    Column("proof", Text, nullable=False),  # webauthn, discord
    Column("proof_key", Text, nullable=False, unique=True),  # no proof counts twice
    Column("at", Float, nullable=False),
    Column("entry_hash", Text, nullable=False),  # of its event
    # The passkey's credential id, or the account at Discord: it must still be the person's when
    # the proposal is carried out.
    Column("means", Text),
    Column("comment", Text, nullable=False, server_default=""),
)

approvers = Table(
    "approvers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),  # never used again for another person
    Column("discord_user_id", Text),
    Column("added_at", Float, nullable=False),
    Column("added_by", Text, nullable=False),
    Column("removed_at", Float),
    Column("user_id", LargeBinary),  # 64 random bytes, for passkeys; no name is in them
    Column("reset_at", Float),  # when all means to decide were last taken away
)

Index("approvers_name", approvers.c.name)

# Who may see a tenant's pages, and not decide (contract 76).
viewers = Table(
    "viewers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("home", Text),  # the tenant whose approver of this name the viewer is
    Column("added_at", Float, nullable=False),
    Column("added_by", Text, nullable=False),
    Column("removed_at", Float),
)
Index("viewers_name", viewers.c.name, viewers.c.home)

approval_rules = Table(
    "approval_rules",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    # "four-eyes", or a device rule for which two persons are needed.
    Column("rule", Text, primary_key=True),
    Column("added_at", Float, nullable=False),
    Column("added_by", Text, nullable=False),
)

# Where the decisions of a tenant are asked for at Discord (contract 67).
discord_channels = Table(
    "discord_channels",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("application_id", Text, nullable=False),
    Column("public_key", Text, nullable=False),  # hex
    Column("guild_id", Text, nullable=False),
    Column("channel_id", Text, nullable=False, unique=True),  # so it names one tenant
    Column("bot_user_id", Text, nullable=False),
    Column("on_call_role_id", Text),
    Column("shows_review", Boolean, nullable=False),
    Column("configured_at", Float, nullable=False),
)

# One row for each message at Discord, from before it is posted.
discord_messages = Table(
    "discord_messages",
    metadata,
    Column("id", Text, primary_key=True),  # of the proposal, of the incident, or random
    Column("kind", Text, nullable=False),  # proposal, incident, notice, alarm
    Column("tenant_id", Text, nullable=False),
    Column("channel_id", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("next_at", Float),  # when it is next compared; NULL once nothing can change any more
    Column("attempts", Integer, nullable=False),  # since the last success
    Column("is_altered", Boolean, nullable=False),  # Discord has stored another text than was sent
    Column("text", Text),  # of a notice
    Column("link", Text),  # of a notice: the path of a page of the console
    Column("message_id", Text),  # NULL until it is posted
    Column("shown", Text),  # the state that the message shows
    Column("last_error", Text),
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("credential_id", Text, primary_key=True),  # base64url
    Column("tenant_id", Text, nullable=False),
    Column("approver", Text, nullable=False),
    Column("members", LargeBinary, nullable=False),  # JSON, as in `approver.key_added`
    Column("thumbprint", Text, nullable=False),  # RFC 7638
    Column("sign_count", BigInteger, nullable=False),
    Column("vouched_by", Text),  # the credential id of the person's earlier key that asked for it
    Column("added_at", Float, nullable=False),
    Column("confirmed_at", Float),  # NULL: it cannot decide yet
    Column("removed_at", Float),
    Column("used_at", Float),  # when it last signed something; NULL: not known
)
Index("passkeys_approver", passkeys.c.tenant_id, passkeys.c.approver)

# One-time codes. The code itself is stored nowhere.
approver_codes = Table(
    "approver_codes",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("approver", Text, nullable=False),
    Column("purpose", Text, nullable=False),  # passkey, discord
    Column("challenge", LargeBinary, nullable=False),
    Column("vouched_by", Text),
    Column("expires_at", Float, nullable=False),
)

# What was shown to be signed and is not signed yet. A row is deleted when it is used.
statements = Table(
    "statements",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("subject", Text, nullable=False),  # the id of a proposal or of a change
    Column("approver", Text, nullable=False),
    Column("expires_at", Float, nullable=False),
)
Index("statements_expires", statements.c.expires_at)

# Changes of who may decide, that wait for an approver (A17).
approver_changes = Table(
    "approver_changes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("text", Text, nullable=False),  # canonical JSON
    Column("needed", Integer, nullable=False),  # persons
    Column("asked_by", Text, nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("done_at", Float),
)
Index("approver_changes_tenant", approver_changes.c.tenant_id, approver_changes.c.expires_at)

change_endorsements = Table(
    "change_endorsements",
    metadata,
    Column("change_id", Text, primary_key=True),
    Column("approver", Text, primary_key=True),
    Column("at", Float, nullable=False),
)

# Who is signed in to the console. The id of a session is stored nowhere.
console_sessions = Table(
    "console_sessions",
    metadata,
    Column("hash", Text, primary_key=True),  # of the id
    Column("tenant_id", Text, nullable=False),
    Column("approver", Text, nullable=False),
    # The passkey, without which the session ends; NULL: a link has begun it.
    Column("credential_id", Text),
    Column("tenants", Text),  # of a session by link: JSON
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)
Index("console_sessions_approver", console_sessions.c.approver)

# One-time links that begin a session, without their secrets (contract 76).
console_links = Table(
    "console_links",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("tenants", Text, nullable=False),  # JSON: what the session sees, the first first
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)

# Challenges that were answered, so that each is answered once.
console_challenges = Table(
    "console_challenges",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("answered_at", Float, nullable=False),
)

# Containments that end by themselves: those that are in force, and those in progress (contract 68).
leases = Table(
    "leases",
    metadata,
    Column("proposal_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("vendor", Text, nullable=False),
    Column("device_id", Text, nullable=False),
    Column("hostname", Text),
    Column("action_type", Text, nullable=False),
    Column("alert_id", LargeBinary, nullable=False),  # UTF-8
    Column("sha256", Text, nullable=False),  # of the proposal
    Column("entry_hash", Text, nullable=False),  # of the containment's audit entry
    Column("token", BigInteger, nullable=False),  # of the device's lease; higher for a later action
    Column("lease_s", Integer, nullable=False),
    Column("since", Float, nullable=False),  # when the device was contained, before extensions
    Column("began_at", Float, nullable=False),
    Column("ends_at", Float, nullable=False),
    Column("postponed_at", Float),
    Column("asked_at", Float),
    Column("waits_since", Float),  # since when it is over and the tenant frozen
    Column("attempts", Integer, nullable=False),  # at the lift
    Column("next_at", Float, nullable=False),  # of the lift
    Column("last_error", Text),  # of the newest attempt; NULL until it is known
)
Index("leases_device", leases.c.tenant_id, leases.c.vendor, leases.c.device_id)
# Which tenants' alerts are pulled from a vendor's API, and how far that has come.
pollers = Table(
    "pollers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("since", Float, nullable=False),  # what was changed before is stored
    Column("place", Text),  # where reading goes on from `since`
    Column("highest", Float),  # the latest change that was read since `since`
    Column("succeeded_at", Float),
    Column("caught_up_at", Float),
    Column("failures", Integer, nullable=False),  # since the last success
    Column("last_error", Text),
    Column("next_at", Float, nullable=False),
    Column("holder", Text),  # of the lease
    Column("lease_until", Float),
    Column("warned_at", Float),  # when it was reported as stalled
)

# The alerts that pollers have read, so that reading them again makes no second row.
polled_alerts = Table(
    "polled_alerts",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("vendor", Text, primary_key=True),
    Column("key", LargeBinary, primary_key=True),  # of the vendor's id
    Column("updated", Text),  # when the vendor changed it, as the vendor spells it
    Column("digest", LargeBinary, nullable=False),  # of the alert that it became
    Column("seen_at", Float, nullable=False),
)
Index("polled_alerts_seen", polled_alerts.c.seen_at)

# Alerts that Microsoft Graph has announced, until they are fetched.
graph_notices = Table(
    "graph_notices",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("alert_id", Text, primary_key=True),  # the vendor's; empty: some were missed
    Column("raw", LargeBinary, nullable=False),  # the notification
    Column("number", Integer, nullable=False),  # how often it was announced
    Column("received_at", Float, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("holder", Text),  # of the lease
    Column("lease_until", Float),
    Column("last_error", Text),  # of the newest fetch; NULL: it has not failed
)
Index("graph_notices_next", graph_notices.c.next_at)
Index(
    "graph_notices_tenant",
    graph_notices.c.tenant_id,
    graph_notices.c.failures,
    graph_notices.c.received_at,
)

# Parts of alerts. They wait for other parts, then stay to recognise redeliveries.
alert_records = Table(
    "alert_records",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # of tenant, source and bytes
    Column("tenant_id", Text, nullable=False),
    Column("raw_id", Text, nullable=False),  # the vendor's id of the alert
    Column("alert_id", Text, nullable=False),  # of the alert that it becomes a part of
    Column("raw", LargeBinary, nullable=False),  # empty once it is joined
    Column("received_at", Float, nullable=False),
    Column("joined_at", Float),
)
Index("alert_records_waiting", alert_records.c.joined_at, alert_records.c.received_at)
Index("alert_records_alert", alert_records.c.tenant_id, alert_records.c.raw_id)

# What Vyrox has proposed by itself for an incident, and the state of the incident that it has read.
incident_proposals = Table(
    "incident_proposals",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("seen_at", Float, nullable=False),  # the incident's `updated_at`
    Column("seen_alerts", BigInteger, nullable=False),
    Column("suggestion", Text),  # what was proposed, or could not be
    Column("proposal_id", Text),
)
Index("incident_proposals_proposal", incident_proposals.c.proposal_id)

# About which proposals the approvers were pinged, and when they are reminded.
approval_pings = Table(
    "approval_pings",
    metadata,
    Column("proposal_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("is_pinged", Boolean, nullable=False),  # false: beyond the limit of an hour
    Column("remind_at", Float),  # NULL once it was done, or if it is not
)
Index("approval_pings_at", approval_pings.c.tenant_id, approval_pings.c.at)

# Actions without an approval, until an approver has acknowledged them.
break_glass = Table(
    "break_glass",
    metadata,
    Column("id", Text, primary_key=True),  # the request_id of the action
    Column("tenant_id", Text, nullable=False),
    Column("text", LargeBinary, nullable=False),  # canonical JSON, as it is displayed and hashed
    Column("sha256", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("acknowledged_at", Float),
    Column("acknowledged_by", Text),
)
Index("break_glass_tenant", break_glass.c.tenant_id, break_glass.c.at)

# What reports read (contract 81): how often something happened on a day of a tenant.
daily_totals = Table(
    "daily_totals",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970, UTC
    Column("name", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    # Of alerts: how many of them a person has judged, and found benign.
    Column("judged", BigInteger, nullable=False),
    Column("benign", BigInteger, nullable=False),
)

Index("daily_totals_day", daily_totals.c.day)

# Up to which entry of each chain `daily_totals` has what the chain says.
totals_places = Table(
    "totals_places",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)

# Each action's last outcome, and by what authority it was done, as the chains say.
action_results = Table(
    "action_results",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("entry_hash", Text, primary_key=True),
    Column("day", Integer, nullable=False),
    Column("action_type", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # '': not known yet
    Column("authority", Text),  # proposal:ID, break_glass:ID, lease:ID of the proposal
)

# The random id of this log, part of the name of every chain. One row.
audit_identity = Table("audit_identity", metadata, Column("log_id", Text, primary_key=True))

# The roots of complete subtrees of each chain's Merkle tree, so that a proof reads few rows. They
# can be made from `audit_log` again.
audit_tree = Table(
    "audit_tree",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("level", Integer, primary_key=True, autoincrement=False),  # 8, 16, 24, 32
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # from 0, without gaps
    Column("hash", LargeBinary, nullable=False),
)

# The keys that have signed checkpoints.
checkpoint_keys = Table(
    "checkpoint_keys",
    metadata,
    Column("public_key", LargeBinary, primary_key=True),
    Column("number", Integer, nullable=False),  # from 1, in order of their first use
    Column("log", Text, nullable=False),  # its name at that time
    Column("since", BigInteger, nullable=False),
    Column("endorsement", Text),  # a note signed by the key before; NULL: that key was not there
)

# Keys with which a tenant's audit log can be read, and nothing else done.
audit_readers = Table(
    "audit_readers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("secret", Text, nullable=False),  # encrypted
    Column("added_at", Float, nullable=False),
    Column("added_by", Text, nullable=False),
)

# The newest checkpoint of each chain that each witness has co-signed.
audit_cosignatures = Table(
    "audit_cosignatures",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("witness", Text, primary_key=True),  # its URL
    Column("size", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False),  # with our signature and that of the witness
    Column("at", Float, nullable=False),
)

# Up to which event of a tenant's chain archives have all. The events of an archive, except those
# that `chain.archived` retains, may be deleted: the triggers of `audit_log` look here.
audit_archives = Table(
    "audit_archives",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("last", BigInteger, primary_key=True, autoincrement=False),
)
"""Append-only, as `audit_log`."""

# The hashes of all events in archives: checkpoints and proofs are made from them.
archived_hashes = Table(
    "archived_hashes",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),  # of 256 events, from 0
    Column("hashes", LargeBinary, nullable=False),  # 256 times 32 bytes
)
"""Append-only, as `audit_log`."""
