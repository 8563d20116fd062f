"""Settings, read from the environment once. No other module reads it."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from vyrox.errors import SettingsError
from vyrox.models import BEARER_VENDORS, Vendor

MIN_SECRET_BYTES: Final = 32
"""Shorter keys are guessable or weaken HMAC-SHA256 (RFC 2104: at least the digest's length)."""

MAX_SECRET_BYTES: Final = 1024
"""Of a webhook's secret: as a bearer token it has to fit into a header."""

DEFAULT_SECRET_VARIABLES: Final[dict[Vendor, str]] = {
    "crowdstrike": "CROWDSTRIKE_WEBHOOK_SECRET",
    "sentinelone": "SENTINELONE_WEBHOOK_SECRET",
    "defender": "DEFENDER_WEBHOOK_SECRET",
    "generic": "GENERIC_WEBHOOK_SECRET",
}

T = TypeVar("T")

_BEARER_TOKEN = re.compile(rb"[\x21-\x7e]+")
"""What a vendor can put behind `Authorization: Bearer`."""

_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=")
"""Fernet itself would take two keys with a space between them for the first one alone."""

_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
"""Source: libpq, `sslmode`."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the operator chose. Secrets are kept out of the repr.

    Attributes:
        hmac_secret: Signs `/execute` and `/audit/export`; None is refused by `serve`.
        default_secrets: Per vendor, for tenants not onboarded (contract 8).
        database_url: A SQLAlchemy URL for asyncpg, or None for SQLite in `data_dir`.
        encryption_keys: Fernet keys, the first encrypts; empty means the key file in `data_dir`.
        redelivery_window_s: See contract 14.
        execute_rate_per_minute: Per tenant; 0 is no limit.
        edr_deadline_s: For one whole action at the vendor.
        unauthenticated_events_per_second: Audit events without a credential; what is beyond it, or
            beyond `unauthenticated_event_bytes_per_day`, is summed up (contract 47).
        edr_test_url: Base URLs below it may be used beside the vendors' own (contract 38).
    """

    hmac_secret: str | None = field(default=None, repr=False)
    default_secrets: Mapping[Vendor, bytes] = field(default_factory=dict, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    public_url: str | None = None
    data_dir: Path = Path(".vyrox")
    ingestion_host: str = "0.0.0.0"  # noqa: S104  (the public listener is meant to be reached)
    ingestion_port: int = 8001
    proxy_host: str = "127.0.0.1"
    proxy_port: int = 3000
    require_onboarding: bool = False
    max_body_bytes: int = 1_048_576
    queue_max_alerts: int = 1_000_000
    queue_max_bytes: int = 1_073_741_824
    quarantine_max_bytes: int = 268_435_456
    redelivery_window_s: int = 86_400
    dry_run: bool = True
    execute_rate_per_minute: int = 0
    edr_deadline_s: int = 30
    edr_test_url: str | None = None
    retention_days: int = 90
    unauthenticated_events_per_second: int = 10
    unauthenticated_event_bytes_per_day: int = 20_000_000

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Return the settings in `env`, each checked.

        Raises:
            SettingsError: A value is bad; the text names the variable and what it takes.
        """
        read = _Reader(env)
        database_url = read.value("DATABASE_URL", None, _database_url)
        encryption_keys = read.value("VYROX_ENCRYPTION_KEY", cls.encryption_keys, _encryption_keys)
        if database_url is not None and not encryption_keys:
            raise SettingsError(
                "VYROX_ENCRYPTION_KEY is required with DATABASE_URL: a key file would be lost with "
                "the container's disk. Make one with: vyrox generate-key"
            )
        hmac_secret = read.value("VYROX_HMAC_SECRET", None, _secret)
        secrets = {
            vendor: secret
            for vendor, name in DEFAULT_SECRET_VARIABLES.items()
            if (secret := read.value(name, None, partial(_webhook_secret, vendor, hmac_secret)))
            is not None
        }
        port = read.value("INGESTION_PORT", cls.ingestion_port, _integer(0, 65535))
        return cls(
            hmac_secret=hmac_secret,
            default_secrets=secrets,
            redis_url=read.value("REDIS_URL", None, _redis_url),
            database_url=database_url,
            encryption_keys=encryption_keys,
            public_url=read.value("PUBLIC_URL", None, _public_url),
            data_dir=read.value("VYROX_DATA_DIR", cls.data_dir, _directory),
            ingestion_host=read.value("INGESTION_HOST", cls.ingestion_host, _host),
            ingestion_port=read.value("PORT", port, _integer(0, 65535)),
            proxy_host=read.value("PROXY_HOST", cls.proxy_host, _host),
            proxy_port=read.value("PROXY_PORT", cls.proxy_port, _integer(0, 65535)),
            require_onboarding=read.value("REQUIRE_ONBOARDING", False, _boolean),
            max_body_bytes=read.value(
                "MAX_BODY_BYTES", cls.max_body_bytes, _integer(1024, 67_108_864)
            ),
            queue_max_alerts=read.value(
                "QUEUE_MAX_ALERTS", cls.queue_max_alerts, _integer(1, 1_000_000_000)
            ),
            quarantine_max_bytes=read.value(
                "QUARANTINE_MAX_BYTES", cls.quarantine_max_bytes, _integer(65_536, 10**12)
            ),
            queue_max_bytes=read.value(
                "QUEUE_MAX_BYTES", cls.queue_max_bytes, _integer(65_536, 10**12)
            ),
            redelivery_window_s=read.value(
                "REDELIVERY_WINDOW_SECONDS", cls.redelivery_window_s, _integer(0, 31_536_000)
            ),
            dry_run=read.value("DRY_RUN", cls.dry_run, _boolean),
            execute_rate_per_minute=read.value(
                "EXECUTE_RATE_PER_MINUTE", cls.execute_rate_per_minute, _integer(0, 1_000_000)
            ),
            edr_deadline_s=read.value("EDR_DEADLINE_SECONDS", cls.edr_deadline_s, _integer(1, 300)),
            edr_test_url=read.value("EDR_TEST_URL", None, _public_url),
            retention_days=read.value("RETENTION_DAYS", cls.retention_days, _integer(1, 36_500)),
            unauthenticated_events_per_second=read.value(
                "UNAUTHENTICATED_EVENTS_PER_SECOND",
                cls.unauthenticated_events_per_second,
                _integer(0, 10_000),
            ),
            unauthenticated_event_bytes_per_day=read.value(
                "UNAUTHENTICATED_EVENT_BYTES_PER_DAY",
                cls.unauthenticated_event_bytes_per_day,
                _integer(0, 1_000_000_000_000),
            ),
        )

    @classmethod
    def from_process(cls) -> "Settings":
        """Return the settings in this process's environment. Raises as `from_env`."""
        return cls.from_env(os.environ)  # noqa: TID251  (this is the one reader)

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


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def value(self, name: str, default: T, parse: Callable[[str], T]) -> T:
        """Return the parsed value of `name`, or `default` where it is not set.

        `parse` raises ValueError with what the variable takes; the value itself is not repeated.
        """
        text = self._env.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as exc:
            empty = "" if text else ": it is set, but empty"
            raise SettingsError(f"{name} {exc}{empty}") from None


def check_webhook_secret(vendor: Vendor, secret: bytes, hmac_secret: str | None) -> None:
    """Return if `secret` can be the secret of a webhook of `vendor`.

    Raises:
        ValueError: It cannot; the text says what it must be and holds nothing of it.
    """
    if hmac_secret is not None and secret == hmac_secret.encode():
        # Senders of alerts know it, and some send it as it is: they could contain any host.
        raise ValueError("must not be VYROX_HMAC_SECRET, which signs containment")
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(f"must be {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
    if vendor in BEARER_VENDORS and _BEARER_TOKEN.fullmatch(secret) is None:
        raise ValueError("must be printable ASCII without spaces: it is a bearer token")


def check_ends(secret: str) -> None:
    """Return if no white space is at an end of `secret`.

    It is there by mistake, as a line end out of a file, and the other side signs without it.

    Raises:
        ValueError: White space is there.
    """
    if secret != secret.strip():
        raise ValueError("must not begin or end with white space")


def _webhook_secret(vendor: Vendor, hmac_secret: str | None, text: str) -> bytes:
    secret = _utf8(text)
    check_ends(text)
    check_webhook_secret(vendor, secret, hmac_secret)
    return secret


def _secret(text: str) -> str:
    secret = _utf8(text)
    check_ends(text)
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"must be at least {MIN_SECRET_BYTES} bytes")
    return text


def _utf8(text: str) -> bytes:
    # Python decodes bytes of the environment that are not UTF-8 as lone surrogates.
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() alone would take "1_000", " 12\n" and other scripts' digits.
        if text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"must be a whole number from {low} to {high}")

    return parse


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("must be one of true, 1, yes, on, false, 0, no, off")


def _directory(text: str) -> Path:
    if not text:
        raise ValueError("must name a directory")
    return Path(text)


def _host(text: str) -> str:
    if not text:
        raise ValueError("must be an address or a host name")
    return text


def _redis_url(text: str) -> str:
    # Imported only if the variable is set: most commands do without.
    import redis.asyncio
    import redis.exceptions

    # Not refused in the library's words, which can repeat the URL and with it the password.
    refused = ValueError("must be a redis://, rediss:// or unix:// URL that redis-py takes")
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    try:
        # Makes a connection without opening it, which is when redis-py checks the parameters.
        pool = redis.asyncio.ConnectionPool.from_url(text)
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, redis.exceptions.RedisError):
        raise refused from None
    # Others go before what `redis_client.connect` asks for, and can undo it: its time limits, the
    # form of the replies.
    names = parse_qs(urlsplit(text).query).keys()
    if not all(name == "db" or name.startswith("ssl_") for name in names):
        raise ValueError("takes no parameters but db and those that begin with ssl_")
    return text


def _database_url(text: str) -> str:
    import sqlalchemy as sa  # as above

    refused = ValueError("must be a postgres:// or postgresql:// URL with a host")
    try:
        url = sa.make_url(text)
    except (ValueError, sa.exc.ArgumentError):
        raise refused from None
    hosted = (url.host or "host" in url.query) and (url.port or 0) <= 65535
    if url.drivername not in {"postgres", "postgresql"} or not hosted:
        raise refused
    query = dict(url.query)
    if not query.keys() <= {"host", "sslmode"}:
        raise ValueError("takes no parameters but host and sslmode")
    if "sslmode" in query:
        # libpq's `sslmode` is `ssl` to asyncpg; platforms hand out libpq's spelling.
        query["ssl"] = query.pop("sslmode")
        if query["ssl"] not in _SSL_MODES:
            raise ValueError(f"takes as sslmode one of {', '.join(sorted(_SSL_MODES))}")
    url = url.set(drivername="postgresql+asyncpg", query=query)
    return url.render_as_string(hide_password=False)


def _encryption_keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    if not all(_FERNET_KEY.fullmatch(key) for key in keys):
        raise ValueError(
            "must be one or more Fernet keys (32 bytes, URL-safe base64), comma-separated; "
            "make one with: vyrox generate-key"
        )
    return keys


def _public_url(text: str) -> str:
    # A password in it would be printed and logged.
    refused = ValueError("must be an http:// or https:// URL with a host, and without a query")
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError if the port is invalid
    except ValueError:
        raise refused from None
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or a password")
    unwanted = parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or not parts.hostname or unwanted:
        raise refused
    return text.rstrip("/")
