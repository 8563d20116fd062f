"""Settings, read from the environment once. No other module reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final, Literal

from vyrox.errors import SettingsError
from vyrox.models import DIRECT, Outbound, Sentinels, Vendor
from vyrox.settings import postgres_url, redis_url, values
from vyrox.settings.checkpoints import CheckpointSettings, read_checkpoints
from vyrox.settings.discord import DiscordApplication, read_application
from vyrox.settings.outbound import read_outbound
from vyrox.settings.private import PrivateSecrets, read_secrets
from vyrox.settings.reading import Reader, default_secrets, environment
from vyrox.settings.telemetry import TelemetrySettings, read_telemetry

DEFAULT_CONSOLE_PORT: Final = 8002


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator chose. Secrets are kept out of the repr.

    Attributes:
        hmac_secret: Signs requests to the private listener; None is refused by `serve`.
        previous_hmac_secret: Is accepted too, while a rotation lasts (contract 85).
        read_secret: Is accepted too, for reads.
        default_secrets: Per vendor, for tenants not onboarded (contract 8).
        database_url: A `postgresql://` URL, or None for SQLite in `data_dir`.
        encryption_keys: Fernet keys, the first encrypts; empty means the key file in `data_dir`.
        trusted_proxies: From these, X-Forwarded-For names the sender in the log (contract 84).
        redelivery_window_s: See contract 14.
        console_port: Of the console's listener; None: DEFAULT_CONSOLE_PORT, if it is free.
        console_origin: As a browser shows it, without a slash at its end; None: `localhost` with
            the console's port (contract 66).
        console_on_public: The console is on the public listener, by its name.
        require_approval: Refuse what has no approved proposal (contract 62).
        execute_rate_per_minute: Per tenant; 0 is no limit.
        edr_deadline_s: For one whole action at the vendor.
        unauthenticated_events_per_second: Audit events without a credential; what is beyond it, or
            beyond `unauthenticated_event_bytes_per_day`, is summed up (contract 47).
        edr_test_url: Base URLs below it may be used beside the vendors' own (contract 38).
        outbound: How other servers are reached (contract 73).
        discord: The application at Discord; None: no proposal is shown there (contract 67).
        triage_sigma_dir: Sigma rules of the user's own (contract 60).
        triage_note_url: The base URL of a language model; None: no notes (contract 61).
        triage_note_per_hour: Requests to it for one tenant.
        notify_allowed_hosts: Hosts of notification targets that may have a private address, and to
            which http may be used (contract 58).
        notify_group_wait_s: See `notify.timers.Intervals`, also for the next two.
        notify_per_hour: For one target; the announcements beyond it become one digest.
        log_format: None: text if standard error is a terminal, else JSON (contract 90).
        no_color: The text has no colours.
        checkpoints: What signs the checkpoints of the audit log (contract 93).
        metrics_tenants: `/metrics` names tenants (contract 98); spans too.
        telemetry: Where spans go (contract 106).
    """

    hmac_secret: str | None = field(default=None, repr=False)
    previous_hmac_secret: str | None = field(default=None, repr=False)
    read_secret: str | None = field(default=None, repr=False)
    default_secrets: Mapping[Vendor, bytes] = field(default_factory=dict, repr=False)
    redis_url: str | Sentinels | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    public_url: str | None = None
    data_dir: Path = Path(".vyrox")
    ingestion_host: str = "0.0.0.0"  # noqa: S104  (the public listener is meant to be reached)
    ingestion_port: int = 8001
    proxy_host: str = "127.0.0.1"
    proxy_port: int = 3000
    approval_ttl_s: int = 900
    console_host: str = "127.0.0.1"
    console_port: int | None = None
    console_origin: str | None = None
    console_on_public: bool = False
    require_onboarding: bool = False
    max_body_bytes: int = 1_048_576
    queue_max_alerts: int = 1_000_000
    queue_max_bytes: int = 1_073_741_824
    quarantine_max_bytes: int = 268_435_456
    redelivery_window_s: int = 86_400
    dry_run: bool = True
    require_approval: bool = False
    execute_rate_per_minute: int = 0
    edr_deadline_s: int = 30
    edr_test_url: str | None = None
    outbound: Outbound = DIRECT
    discord: DiscordApplication | None = None
    retention_days: int = 90
    triage_enabled: bool | None = None
    triage_sigma_dir: Path | None = None
    triage_note_url: str | None = None
    triage_note_model: str | None = None
    triage_note_key: str | None = field(default=None, repr=False)
    triage_note_per_hour: int = 20
    unauthenticated_events_per_second: int = 10
    unauthenticated_event_bytes_per_day: int = 20_000_000
    notify_allowed_hosts: tuple[str, ...] = ()
    notify_group_wait_s: int = 30
    notify_group_interval_s: int = 300
    notify_repeat_s: int = 14_400
    notify_per_hour: int = 30
    log_format: Literal["text", "json"] | None = None
    no_color: bool | None = None
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)
    metrics_tenants: bool = False
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Return the settings in `env`, each checked.

        Raises:
            SettingsError: A value is bad; the text names the variable and what it takes.
        """
        return cls.read(Reader(env))

    @classmethod
    def read(cls, read: Reader) -> "Settings":
        """Return the settings, as `from_env`, with a reader that remembers what it has read.

        Raises:
            SettingsError: As `from_env`.
        """
        database_url = read.value("DATABASE_URL", None, postgres_url.database_url)
        encryption_keys = read.value(
            "VYROX_ENCRYPTION_KEY", cls.encryption_keys, values.encryption_keys
        )
        if database_url is not None and not encryption_keys:
            raise SettingsError(
                "VYROX_ENCRYPTION_KEY is required with DATABASE_URL: a key file would be lost with "
                "the container's disk. Make one with: vyrox generate-key"
            )
        note_url = read.value("TRIAGE_NOTE_URL", None, values.public_url)
        note_model = read.value("TRIAGE_NOTE_MODEL", None, values.model)
        if note_url is not None and note_model is None:
            raise SettingsError("TRIAGE_NOTE_MODEL is required with TRIAGE_NOTE_URL")
        private = read_secrets(read.value)
        port = read.value("PORT", None, values.integer(0, 65535))
        ingestion_port = read.value("INGESTION_PORT", cls.ingestion_port, values.integer(0, 65535))
        settings = cls(
            hmac_secret=private.current,
            previous_hmac_secret=private.previous,
            read_secret=private.read,
            default_secrets=default_secrets(read.value, private.by_name()),
            redis_url=read.value("REDIS_URL", None, redis_url.redis_url),
            database_url=database_url,
            encryption_keys=encryption_keys,
            trusted_proxies=read.value("TRUSTED_PROXIES", (), values.networks),
            public_url=read.value("PUBLIC_URL", None, values.public_url),
            data_dir=read.value("VYROX_DATA_DIR", cls.data_dir, values.directory),
            ingestion_host=read.value("INGESTION_HOST", cls.ingestion_host, values.host),
            ingestion_port=ingestion_port if port is None else port,
            proxy_host=read.value("PROXY_HOST", cls.proxy_host, values.host),
            proxy_port=read.value("PROXY_PORT", cls.proxy_port, values.integer(0, 65535)),
            approval_ttl_s=read.value(
                "APPROVAL_TTL_SECONDS", cls.approval_ttl_s, values.integer(60, 86_400)
            ),
            console_host=read.value("CONSOLE_HOST", cls.console_host, values.host),
            console_port=read.value("CONSOLE_PORT", None, values.integer(0, 65535)),
            console_origin=read.value("CONSOLE_ORIGIN", None, values.origin),
            console_on_public=read.value("CONSOLE_ON_PUBLIC", False, values.boolean),
            require_onboarding=read.value("REQUIRE_ONBOARDING", False, values.boolean),
            max_body_bytes=read.value(
                "MAX_BODY_BYTES", cls.max_body_bytes, values.integer(1024, 67_108_864)
            ),
            queue_max_alerts=read.value(
                "QUEUE_MAX_ALERTS", cls.queue_max_alerts, values.integer(1, 1_000_000_000)
            ),
            quarantine_max_bytes=read.value(
                "QUARANTINE_MAX_BYTES", cls.quarantine_max_bytes, values.integer(65_536, 10**12)
            ),
            queue_max_bytes=read.value(
                "QUEUE_MAX_BYTES", cls.queue_max_bytes, values.integer(65_536, 10**12)
            ),
            redelivery_window_s=read.value(
                "REDELIVERY_WINDOW_SECONDS", cls.redelivery_window_s, values.integer(0, 31_536_000)
            ),
            dry_run=read.value("DRY_RUN", cls.dry_run, values.boolean),
            require_approval=read.value("REQUIRE_APPROVAL", False, values.boolean),
            execute_rate_per_minute=read.value(
                "EXECUTE_RATE_PER_MINUTE", cls.execute_rate_per_minute, values.integer(0, 1_000_000)
            ),
            edr_deadline_s=read.value(
                "EDR_DEADLINE_SECONDS", cls.edr_deadline_s, values.integer(1, 300)
            ),
            edr_test_url=read.value("EDR_TEST_URL", None, values.public_url),
            outbound=read_outbound(read.value, read.env),
            discord=read_application(read.value),
            retention_days=read.value(
                "RETENTION_DAYS", cls.retention_days, values.integer(1, 36_500)
            ),
            triage_enabled=read.value("TRIAGE_ENABLED", None, values.boolean),
            triage_sigma_dir=read.value("TRIAGE_SIGMA_DIR", None, values.directory),
            triage_note_url=note_url,
            triage_note_model=note_model,
            triage_note_key=read.value("TRIAGE_NOTE_KEY", None, values.token),
            triage_note_per_hour=read.value(
                "TRIAGE_NOTE_PER_HOUR", cls.triage_note_per_hour, values.integer(1, 10_000)
            ),
            unauthenticated_events_per_second=read.value(
                "UNAUTHENTICATED_EVENTS_PER_SECOND",
                cls.unauthenticated_events_per_second,
                values.integer(0, 10_000),
            ),
            unauthenticated_event_bytes_per_day=read.value(
                "UNAUTHENTICATED_EVENT_BYTES_PER_DAY",
                cls.unauthenticated_event_bytes_per_day,
                values.integer(0, 1_000_000_000_000),
            ),
            notify_allowed_hosts=read.value("NOTIFY_ALLOWED_HOSTS", (), values.host_names),
            notify_group_wait_s=read.value(
                "NOTIFY_GROUP_WAIT_SECONDS", cls.notify_group_wait_s, values.integer(30, 86_400)
            ),
            notify_group_interval_s=read.value(
                "NOTIFY_GROUP_INTERVAL_SECONDS",
                cls.notify_group_interval_s,
                values.integer(30, 86_400),
            ),
            notify_repeat_s=read.value(
                "NOTIFY_REPEAT_SECONDS", cls.notify_repeat_s, values.integer(30, 604_800)
            ),
            notify_per_hour=read.value(
                "NOTIFY_PER_HOUR", cls.notify_per_hour, values.integer(1, 10_000)
            ),
            log_format=read.value("LOG_FORMAT", None, values.log_format),
            no_color=read.value("NO_COLOR", None, bool),
            checkpoints=read_checkpoints(read.value),
            metrics_tenants=read.value("METRICS_TENANTS", False, values.boolean),
            telemetry=read_telemetry(read.value),
        )
        settings._check_console()
        if set(settings.checkpoints.keys) & set(encryption_keys):
            raise SettingsError("VYROX_CHECKPOINT_KEY must not be a key of VYROX_ENCRYPTION_KEY")
        return settings

    @classmethod
    def from_process(cls) -> "Settings":
        """Return the settings in this process's environment. Raises as `from_env`."""
        return cls.from_env(environment())

    def require_hmac_secret(self) -> str:
        """Return `hmac_secret`.

        Raises:
            SettingsError: It is not set. There is no default: it signs containment.
        """
        if self.hmac_secret is None:
            raise SettingsError(
                "VYROX_HMAC_SECRET is required: at least 32 bytes that sign /execute and "
                "/audit/export. Make one with: openssl rand -hex 32"
            )
        return self.hmac_secret

    def require_reading_secret(self) -> str:
        """Return what signs reads of the private listener: `hmac_secret`, else `read_secret`.

        Raises:
            SettingsError: Neither is set.
        """
        if self.hmac_secret is None and self.read_secret is not None:
            return self.read_secret
        return self.require_hmac_secret()

    def private_secrets(self) -> dict[str, str]:
        """Return the secrets of the private listener that are set, by variable."""
        secrets = (self.hmac_secret, self.previous_hmac_secret, self.read_secret)
        return PrivateSecrets(*secrets).by_name()

    def require_console_origin(self) -> str:
        """Return the origin of the console, also if it is the default.

        Raises:
            SettingsError: It depends on a port that only the running service knows.
        """
        if self.console_origin is None and self.console_port == 0:
            raise SettingsError("CONSOLE_PORT is 0, any free port: set CONSOLE_ORIGIN")
        return self.console_origin_at(self.console_port or DEFAULT_CONSOLE_PORT)

    def console_origin_at(self, port: int) -> str:
        """Return the origin of the console if it listens on `port`."""
        return self.console_origin or f"http://localhost:{port}"

    def _check_console(self) -> None:
        if not self.console_on_public:
            return
        if self.console_origin is None:
            raise SettingsError(
                "CONSOLE_ORIGIN is required with CONSOLE_ON_PUBLIC: its name says which requests "
                "are for the console"
            )
        public = values.authority(self.public_url or "")
        if public == values.authority(self.console_origin):
            text = "CONSOLE_ORIGIN must have another name or port than PUBLIC_URL: "
            raise SettingsError(f"{text}with CONSOLE_ON_PUBLIC no alert would arrive")
