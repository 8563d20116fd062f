"""Which values the environment may have, and the error text for any other."""

import dataclasses
import os
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.errors import SettingsError
from vyrox.settings import Settings
from vyrox.settings.checkpoints import CheckpointSettings, Witness

SECRET = "canary-secret-0123456789-0123456789"
KEY = b64encode(bytes(range(32))).decode()
OTHER_KEY = b64encode(bytes(range(1, 33))).decode()
WITNESS = "w.x/a+00112233+BA" + "A" * 42


def refused(env: dict[str, str]) -> str:
    """Return why the one bad variable is refused, without the words for an empty one."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(env)
    assert caught.value.__cause__ is None
    reason = str(caught.value)
    is_empty = reason.endswith(": it is set, but empty")
    assert is_empty == (env.get(reason.split()[0]) == "")
    return reason.removesuffix(": it is set, but empty")


def test_from_env_of_nothing_gives_the_documented_defaults() -> None:
    assert dataclasses.asdict(Settings.from_env({})) == {
        "hmac_secret": None,
        "previous_hmac_secret": None,
        "read_secret": None,
        "default_secrets": {},
        "redis_url": None,
        "database_url": None,
        "encryption_keys": (),
        "trusted_proxies": (),
        "public_url": None,
        "data_dir": Path(".vyrox"),
        "ingestion_host": "0.0.0.0",  # noqa: S104
        "ingestion_port": 8001,
        "proxy_host": "127.0.0.1",
        "proxy_port": 3000,
        "console_host": "127.0.0.1",
        "console_port": None,
        "console_origin": None,
        "console_on_public": False,
        "require_onboarding": False,
        "max_body_bytes": 1048576,
        "queue_max_alerts": 1000000,
        "queue_max_bytes": 1073741824,
        "quarantine_max_bytes": 268435456,
        "redelivery_window_s": 86400,
        "dry_run": True,
        "approval_ttl_s": 900,
        "require_approval": False,
        "execute_rate_per_minute": 0,
        "edr_deadline_s": 30,
        "edr_test_url": None,
        "outbound": {"proxy": None, "ca": None, "ignored": ()},
        "discord": None,
        "retention_days": 90,
        "triage_enabled": None,
        "triage_sigma_dir": None,
        "triage_note_url": None,
        "triage_note_model": None,
        "triage_note_key": None,
        "triage_note_per_hour": 20,
        "unauthenticated_events_per_second": 10,
        "unauthenticated_event_bytes_per_day": 20_000_000,
        "notify_allowed_hosts": (),
        "notify_group_wait_s": 30,
        "notify_group_interval_s": 300,
        "notify_repeat_s": 14_400,
        "notify_per_hour": 30,
        "metrics_tenants": False,
        "log_format": None,
        "no_color": None,
        "checkpoints": {"origin": "vyrox", "keys": (), "witnesses": ()},
        "telemetry": {"url": None, "headers": {}, "service": "vyrox", "share": 1.0},
    }


def test_from_env_ignores_what_it_does_not_know() -> None:
    assert Settings.from_env({"PATH": "/bin", "VYROX_URL": "x"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("VYROX_HMAC_SECRET", "k" * 32, "hmac_secret", "k" * 32),
        ("VYROX_HMAC_SECRET", "é" * 16, "hmac_secret", "é" * 16),
        ("CROWDSTRIKE_WEBHOOK_SECRET", "c" * 32, "default_secrets", {"crowdstrike": b"c" * 32}),
        ("GENERIC_WEBHOOK_SECRET", "é" * 16, "default_secrets", {"generic": "é".encode() * 16}),
        ("SENTINELONE_WEBHOOK_SECRET", "s" * 1024, "default_secrets", {"sentinelone": b"s" * 1024}),
        ("DEFENDER_WEBHOOK_SECRET", "~!" * 16, "default_secrets", {"defender": b"~!" * 16}),
        ("REDIS_URL", "redis://:p@host:6380/2", "redis_url", "redis://:p@host:6380/2"),
        ("REDIS_URL", "redis://host?db=3", "redis_url", "redis://host?db=3"),
        ("REDIS_URL", "rediss://h?ssl_cert_reqs=none", "redis_url", "rediss://h?ssl_cert_reqs=none"),
        ("REDIS_URL", "rediss://host?ssl_cert_reqs=none", "redis_url", "rediss://host?ssl_cert_reqs=none"),
        ("REDIS_URL", "unix:///run/valkey.sock", "redis_url", "unix:///run/valkey.sock"),
        ("VYROX_ENCRYPTION_KEY", KEY, "encryption_keys", (KEY,)),
        ("VYROX_ENCRYPTION_KEY", f"{KEY},{OTHER_KEY}", "encryption_keys", (KEY, OTHER_KEY)),
        ("VYROX_ENCRYPTION_KEY", f" {KEY} , {OTHER_KEY}\n", "encryption_keys", (KEY, OTHER_KEY)),
        ("PUBLIC_URL", "https://vyrox.example.com", "public_url", "https://vyrox.example.com"),
        ("PUBLIC_URL", "http://h:8080/edge/", "public_url", "http://h:8080/edge"),
        ("VYROX_DATA_DIR", "/var/lib/vyrox", "data_dir", Path("/var/lib/vyrox")),
        ("TRIAGE_SIGMA_DIR", "/etc/sigma", "triage_sigma_dir", Path("/etc/sigma")),
        ("TRIAGE_NOTE_MODEL", "qwen3:8b", "triage_note_model", "qwen3:8b"),
        ("TRIAGE_NOTE_KEY", "sk-1", "triage_note_key", "sk-1"),
        ("LOG_FORMAT", "text", "log_format", "text"),
        ("LOG_FORMAT", "json", "log_format", "json"),
        ("NO_COLOR", "1", "no_color", True),
        ("NO_COLOR", "", "no_color", False),
        ("INGESTION_HOST", "::1", "ingestion_host", "::1"),
        ("INGESTION_PORT", "0", "ingestion_port", 0),
        ("INGESTION_PORT", "65535", "ingestion_port", 65535),
        ("PORT", "5000", "ingestion_port", 5000),
        ("PROXY_HOST", "localhost", "proxy_host", "localhost"),
        ("PROXY_PORT", "3001", "proxy_port", 3001),
        ("CONSOLE_HOST", "::", "console_host", "::"),
        ("CONSOLE_PORT", "0", "console_port", 0),
        ("CONSOLE_PORT", "8002", "console_port", 8002),
        ("CONSOLE_ORIGIN", "https://vyrox", "console_origin", "https://vyrox"),
        ("CONSOLE_ORIGIN", "https://C.Example.com:443", "console_origin", "https://c.example.com"),
        ("CONSOLE_ORIGIN", "https://c.x:8443", "console_origin", "https://c.x:8443"),
        ("CONSOLE_ORIGIN", "http://localhost:80", "console_origin", "http://localhost"),
        ("CONSOLE_ORIGIN", "http://v.localhost:1", "console_origin", "http://v.localhost:1"),
        ("REQUIRE_ONBOARDING", "true", "require_onboarding", True),
        ("MAX_BODY_BYTES", "1024", "max_body_bytes", 1024),
        ("QUEUE_MAX_ALERTS", "1", "queue_max_alerts", 1),
        ("QUEUE_MAX_BYTES", "65536", "queue_max_bytes", 65536),
        ("QUARANTINE_MAX_BYTES", "65536", "quarantine_max_bytes", 65_536),
        ("REDELIVERY_WINDOW_SECONDS", "0", "redelivery_window_s", 0),
        ("DRY_RUN", "false", "dry_run", False),
        ("EXECUTE_RATE_PER_MINUTE", "1000000", "execute_rate_per_minute", 1000000),
        ("EDR_DEADLINE_SECONDS", "1", "edr_deadline_s", 1),
        ("RETENTION_DAYS", "36500", "retention_days", 36500),
        ("NOTIFY_ALLOWED_HOSTS", "SIEM.x, [::1]", "notify_allowed_hosts", ("siem.x", "::1")),
        ("NOTIFY_ALLOWED_HOSTS", "10.0.0.5", "notify_allowed_hosts", ("10.0.0.5",)),
        ("NOTIFY_GROUP_WAIT_SECONDS", "60", "notify_group_wait_s", 60),
        ("NOTIFY_GROUP_INTERVAL_SECONDS", "30", "notify_group_interval_s", 30),
        ("NOTIFY_REPEAT_SECONDS", "30", "notify_repeat_s", 30),
        ("NOTIFY_PER_HOUR", "1", "notify_per_hour", 1),
    ],
)  # fmt: skip
def test_from_env_takes_a_good_value(name: str, value: str, field: str, expected: object) -> None:
    settings = Settings.from_env({name: value})

    assert getattr(settings, field) == expected
    assert dataclasses.replace(settings, **{field: getattr(Settings(), field)}) == Settings()


def test_from_env_keeps_each_vendors_secret_apart() -> None:
    vendors = ("crowdstrike", "sentinelone", "defender", "generic")

    settings = Settings.from_env({f"{v.upper()}_WEBHOOK_SECRET": f"{v}-{SECRET}" for v in vendors})

    assert settings.default_secrets == {v: f"{v}-{SECRET}".encode() for v in vendors}


def test_from_env_port_overrides_ingestion_port_alone() -> None:
    settings = Settings.from_env({"PORT": "5000", "INGESTION_PORT": "6000", "PROXY_PORT": "7000"})

    assert (settings.ingestion_port, settings.proxy_port) == (5000, 7000)


SWITCHES = pytest.mark.parametrize(
    ("name", "field"), [("REQUIRE_ONBOARDING", "require_onboarding"), ("DRY_RUN", "dry_run")]
)


@SWITCHES
@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE", "Yes", "oN"])
def test_from_env_takes_every_true(name: str, field: str, text: str) -> None:
    assert getattr(Settings.from_env({name: text}), field) is True


@SWITCHES
@pytest.mark.parametrize("text", ["false", "0", "no", "off", "FALSE", "No", "oFF"])
def test_from_env_takes_every_false(name: str, field: str, text: str) -> None:
    assert getattr(Settings.from_env({name: text}), field) is False


@SWITCHES
@pytest.mark.parametrize("text", ["", "maybe", "2", "true ", "t", "y", "\u0661"])
def test_from_env_refuses_what_is_neither_true_nor_false(name: str, field: str, text: str) -> None:
    assert refused({name: text}) == (f"{name} must be one of true, 1, yes, on, false, 0, no, off")


@pytest.mark.parametrize("text", ["", ",", "https://siem.x", "siem.x:443", "siem x", "a,,b", "*"])
def test_from_env_refuses_what_is_no_host_name_contract_58(text: str) -> None:
    assert refused({"NOTIFY_ALLOWED_HOSTS": text}).startswith(
        "NOTIFY_ALLOWED_HOSTS must be one or more host names or addresses"
    )


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("INGESTION_PORT", 0, 65535),
        ("PORT", 0, 65535),
        ("PROXY_PORT", 0, 65535),
        ("CONSOLE_PORT", 0, 65535),
        ("MAX_BODY_BYTES", 1024, 67108864),
        ("QUEUE_MAX_ALERTS", 1, 1000000000),
        ("QUEUE_MAX_BYTES", 65536, 1000000000000),
        ("REDELIVERY_WINDOW_SECONDS", 0, 31536000),
        ("EXECUTE_RATE_PER_MINUTE", 0, 1000000),
        ("EDR_DEADLINE_SECONDS", 1, 300),
        ("RETENTION_DAYS", 1, 36500),
        ("UNAUTHENTICATED_EVENTS_PER_SECOND", 0, 10_000),
        ("UNAUTHENTICATED_EVENT_BYTES_PER_DAY", 0, 1_000_000_000_000),
        ("NOTIFY_GROUP_WAIT_SECONDS", 30, 86_400),
        ("NOTIFY_GROUP_INTERVAL_SECONDS", 30, 86_400),
        ("NOTIFY_REPEAT_SECONDS", 30, 604_800),
        ("NOTIFY_PER_HOUR", 1, 10_000),
    ],
)
def test_from_env_refuses_what_is_no_whole_number_in_range(name: str, low: int, high: int) -> None:
    lax = ["", " ", "1_000", " 1025\n", "1025 ", "+1025", "-1", "1025.0", "1e4", "0x500", "1,025"]
    lax += ["\u0661\u0660\u0662\u0665", "\uff11\uff10\uff12\uff15", "\u00b2", "9" * 5000, "nan"]
    for text in (*lax, str(low - 1), str(high + 1)):
        assert refused({name: text}) == f"{name} must be a whole number from {low} to {high}"
    for number in (low, high):
        Settings.from_env({name: str(number)})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("VYROX_LOG_ORIGIN", text) for text in ("", "https://a", "A", "a b", "a+b", "/a", "a/")),
        *(("VYROX_CHECKPOINT_KEY", text) for text in ("", "k" * 44, f"{KEY},")),
        *(("WITNESS_URLS", text) for text in ("", "w", "http://w#key", "http://w,http://w/")),
        *(("WITNESS_URLS", text) for text in ("http://u:p@w", "http://w?a", "http://w,")),
    ],
)
def test_from_env_refuses_what_cannot_sign_checkpoints_contract_93(name: str, text: str) -> None:
    assert refused({name: text}).startswith(f"{name} must ")


def test_from_env_reads_what_signs_checkpoints_contract_93() -> None:
    env = {
        "VYROX_LOG_ORIGIN": "audit.example.com/a",
        "VYROX_CHECKPOINT_KEY": f"{KEY}, {OTHER_KEY}",
        "WITNESS_URLS": f"https://w.x/a/#{WITNESS}, http://v:1",
    }
    assert Settings.from_env(env).checkpoints == CheckpointSettings(
        origin="audit.example.com/a",
        keys=(KEY, OTHER_KEY),
        witnesses=(Witness("https://w.x/a", WITNESS), Witness("http://v:1", None)),
    )


def test_the_key_of_secrets_signs_no_checkpoints_contract_93() -> None:
    env = {"VYROX_CHECKPOINT_KEY": KEY, "VYROX_ENCRYPTION_KEY": f"{OTHER_KEY},{KEY}"}
    assert refused(env) == "VYROX_CHECKPOINT_KEY must not be a key of VYROX_ENCRYPTION_KEY"


@pytest.mark.parametrize("text", ["", "k" * 31, "changeme", "é" * 15])
def test_from_env_refuses_a_short_hmac_secret(text: str) -> None:
    assert refused({"VYROX_HMAC_SECRET": text}) == "VYROX_HMAC_SECRET must be at least 32 bytes"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="reject_empty"),
        pytest.param("console.example.com", id="reject_no_scheme"),
        pytest.param("ftp://console.example.com", id="reject_scheme"),
        pytest.param("http://console.example.com", id="reject_http"),
        pytest.param("http://localhost.example.com", id="reject_http_not_localhost"),
        pytest.param("http://xlocalhost", id="reject_http_like_localhost"),
        pytest.param("https://10.0.0.5", id="reject_address"),
        pytest.param("http://127.0.0.1:8002", id="reject_loopback_address"),
        pytest.param("https://127.1", id="reject_short_address"),
        pytest.param("https://x.0x7f", id="reject_hexadecimal_address"),
        pytest.param("https://[::1]", id="reject_ipv6"),
        pytest.param("https://x/", id="reject_slash"),
        pytest.param("https://x/console", id="reject_path"),
        pytest.param("https://x?a=b", id="reject_query"),
        pytest.param("https://x#", id="reject_fragment"),
        pytest.param(f"https://u:{SECRET}@x", id="reject_user_info"),
        pytest.param("https://x:0", id="reject_port_0"),
        pytest.param("https://x:65536", id="reject_port_too_high"),
        pytest.param("https://x:", id="reject_empty_port"),
        pytest.param("https://x:0443", id="reject_port_with_zero"),
        pytest.param("https://x.", id="reject_dot_at_the_end"),
        pytest.param("https://a..b", id="reject_empty_label"),
        pytest.param("https://a_b", id="reject_underscore"),
        pytest.param("https://-a", id="reject_hyphen"),
        pytest.param("https://m\u00fcller.de", id="reject_non_ascii"),
        pytest.param(" https://x", id="reject_blank"),
    ],
)
def test_from_env_refuses_an_origin_that_no_passkey_can_be_made_for_contract_66(text: str) -> None:
    reason = refused({"CONSOLE_ORIGIN": text})
    assert reason.startswith("CONSOLE_ORIGIN must be https://NAME, ")
    assert SECRET not in reason


def test_from_env_puts_the_console_on_the_public_port_by_its_own_name_contract_66() -> None:
    wanted = {"CONSOLE_ON_PUBLIC": "true"}
    assert refused(wanted).startswith("CONSOLE_ORIGIN is required with CONSOLE_ON_PUBLIC")
    wanted["CONSOLE_ORIGIN"] = "https://console.example.com"
    assert Settings.from_env(wanted).console_on_public
    for same in ("https://console.example.com/", "https://Console.example.com:443/edge"):
        assert "must have another name" in refused({**wanted, "PUBLIC_URL": same})
    for other in ("https://example.com", "https://console.example.com:8443"):
        Settings.from_env({**wanted, "PUBLIC_URL": other})


def test_the_origin_of_the_console_is_that_of_its_port_contract_66() -> None:
    def origin(**env: str) -> str:
        return Settings.from_env(env).require_console_origin()

    assert origin() == "http://localhost:8002"
    assert origin(CONSOLE_PORT="9000") == "http://localhost:9000"
    assert origin(CONSOLE_PORT="0", CONSOLE_ORIGIN="https://x") == "https://x"
    with pytest.raises(SettingsError, match="CONSOLE_PORT is 0"):
        origin(CONSOLE_PORT="0")


DEFAULT_VENDORS = ("CROWDSTRIKE", "SENTINELONE", "DEFENDER", "GENERIC")


@pytest.mark.parametrize("vendor", DEFAULT_VENDORS)
@pytest.mark.parametrize("text", ["", "k" * 31, "changeme", "k" * 1025])
def test_from_env_refuses_a_webhook_secret_of_the_wrong_size(vendor: str, text: str) -> None:
    name = f"{vendor}_WEBHOOK_SECRET"

    assert refused({name: text}) == f"{name} must be 32 to 1024 bytes"


@pytest.mark.parametrize("vendor", ["SENTINELONE", "DEFENDER"])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{SECRET} {SECRET}", id="reject_space"),
        pytest.param(f"{SECRET}\x7f", id="reject_delete"),
        pytest.param(f"{SECRET}é", id="reject_non_ascii"),
    ],
)
def test_from_env_refuses_a_bearer_token_that_no_header_can_carry(vendor: str, text: str) -> None:
    name = f"{vendor}_WEBHOOK_SECRET"

    assert refused({name: text}) == (
        f"{name} must be printable ASCII without spaces: it is a bearer token"
    )


SECRETS = ["VYROX_HMAC_SECRET", *(f"{v}_WEBHOOK_SECRET" for v in DEFAULT_VENDORS)]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "text",
    [f"{SECRET}\n", f"{SECRET}\r\n", f" {SECRET}", f"\t{SECRET}", f"{SECRET}\u00a0", " " * 40],
)
def test_from_env_refuses_white_space_at_the_ends_of_a_secret_contract_45(
    name: str, text: str
) -> None:
    assert refused({name: text}) == f"{name} must not begin or end with white space"


@pytest.mark.parametrize("name", SECRETS[1:])
def test_from_env_refuses_a_webhook_secret_that_signs_containment_contract_45(name: str) -> None:
    line = refused({"VYROX_HMAC_SECRET": SECRET, name: SECRET})
    assert line == f"{name} must not be VYROX_HMAC_SECRET, which signs containment"
    Settings.from_env({"VYROX_HMAC_SECRET": SECRET, name: f"{SECRET}x"})


@pytest.mark.parametrize(
    "name", ["VYROX_HMAC_SECRET", "CROWDSTRIKE_WEBHOOK_SECRET", "DEFENDER_WEBHOOK_SECRET"]
)
def test_from_env_refuses_a_secret_that_is_no_utf_8(name: str) -> None:
    # Bytes of the environment that are no UTF-8 arrive as lone surrogates.
    assert refused({name: SECRET + "\udcff"}) == f"{name} must be UTF-8"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="reject_empty"),
        pytest.param("localhost:6379", id="reject_no_scheme"),
        pytest.param("redis:localhost", id="reject_no_slashes"),
        pytest.param(f"http://:{SECRET}@host", id="reject_http"),
        pytest.param(f"redis://:{SECRET}@host:port", id="reject_port_no_number"),
        pytest.param(f"redis://:{SECRET}@host:65536", id="reject_port_too_high"),
        pytest.param(f"redis://:{SECRET}@[::1", id="reject_open_bracket"),
        pytest.param(f"redis://:{SECRET}\u2100@host", id="reject_unnormalised"),
        pytest.param(f"redis://:{SECRET}@host?no_such=1", id="reject_unknown_parameter"),
        pytest.param(f"redis://:{SECRET}@host?socket_timeout=x", id="reject_parameter_value"),
        pytest.param(f"redis://:{SECRET}@host?protocol=9", id="reject_protocol"),
        pytest.param(f"redis://:{SECRET}@host?ssl_cert_reqs=none", id="reject_tls_without_tls"),
        pytest.param(f"rediss://:{SECRET}@host?ssl_cert_reqs=x", id="reject_tls_parameter_value"),
    ],
)
def test_from_env_refuses_a_bad_redis_url_without_repeating_it(url: str) -> None:
    has_scheme = url.startswith(("redis://", "rediss://"))
    assert refused({"REDIS_URL": url}) == (
        "REDIS_URL must be a redis://, rediss:// or unix:// URL that redis-py takes"
        if has_scheme
        else "REDIS_URL must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://"
    )


@pytest.mark.parametrize(
    "parameter",
    ["socket_timeout=5", "protocol=3", "decode_responses=true", "max_connections=1", "password=x"],
)
@pytest.mark.parametrize("url", ["redis://host", "rediss://host/2", "unix:///run/redis.sock"])
def test_from_env_refuses_parameters_of_redis_that_undo_what_is_asked_for(
    url: str, parameter: str
) -> None:
    said = "REDIS_URL takes no parameters but db and those that begin with ssl_"
    assert refused({"REDIS_URL": f"{url}?db=1&{parameter}"}) == said


def test_from_env_requires_an_encryption_key_with_a_database_url() -> None:
    text = refused({"DATABASE_URL": "postgres://h/d"})

    assert text.startswith("VYROX_ENCRYPTION_KEY is required with DATABASE_URL")
    assert "vyrox generate-key" in text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="reject_empty"),
        pytest.param(f"{KEY} {OTHER_KEY}", id="reject_space_between"),
        pytest.param(SECRET, id="reject_no_base64"),
        pytest.param(KEY[:-4], id="reject_too_short"),
        pytest.param(KEY + KEY, id="reject_two_run_together"),
        pytest.param(f"{KEY},", id="reject_final_comma"),
        pytest.param(f"{KEY};{OTHER_KEY}", id="reject_semicolon"),
        pytest.param(f"{KEY},{SECRET}", id="reject_second_bad"),
        pytest.param("é" * 22, id="reject_non_ascii"),
    ],
)
def test_from_env_refuses_a_bad_encryption_key_without_repeating_it(text: str) -> None:
    said = refused({"VYROX_ENCRYPTION_KEY": text})

    assert said.startswith("VYROX_ENCRYPTION_KEY must be one or more Fernet keys")
    assert KEY not in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "text",
    ["", "h", "ftp://h", "https://", "https:///x", "https://h:x", "https://h?a=b", "https://h#a"],
)
def test_from_env_refuses_a_bad_public_url(text: str) -> None:
    assert refused({"PUBLIC_URL": text}) == (
        "PUBLIC_URL must be an http:// or https:// URL with a host, and without a query"
    )


@pytest.mark.parametrize("name", ["PUBLIC_URL", "EDR_TEST_URL"])
@pytest.mark.parametrize("user_info", [f"u:{SECRET}@", f":{SECRET}@", f"{SECRET}@", "@", ":@"])
def test_from_env_refuses_user_info_in_a_url_without_repeating_it_contract_45(
    name: str, user_info: str
) -> None:
    line = refused({name: f"https://{user_info}h/x"})
    assert line == f"{name} must not hold a user name or a password"
    assert SECRET not in line


def test_from_env_refuses_an_empty_host_and_directory() -> None:
    # An empty VYROX_DATA_DIR would be the working directory, and shut for everybody else.
    assert refused({"VYROX_DATA_DIR": ""}) == "VYROX_DATA_DIR must name a directory"
    for name in ("INGESTION_HOST", "PROXY_HOST"):
        assert refused({name: ""}) == f"{name} must be an address or a host name"


def test_a_note_needs_a_model_and_its_key_is_kept_secret_contract_61() -> None:
    url = {"TRIAGE_NOTE_URL": "http://localhost:11434/v1/"}
    assert refused(url) == "TRIAGE_NOTE_MODEL is required with TRIAGE_NOTE_URL"
    env = {**url, "TRIAGE_NOTE_MODEL": "m", "TRIAGE_NOTE_KEY": SECRET}
    assert Settings.from_env(env).triage_note_url == "http://localhost:11434/v1"
    assert SECRET not in repr(Settings.from_env(env))
    for key in ("", "a b", "é", "k" * 1025):
        line = refused({"TRIAGE_NOTE_KEY": key})
        assert line.endswith("must be 1 to 1024 printable ASCII characters, no spaces")
    for model in ("", " m", "m" * 201, "a\nb"):
        assert refused({"TRIAGE_NOTE_MODEL": model}).startswith(
            "TRIAGE_NOTE_MODEL must be 1 to 200"
        )


NAMES = [
    "VYROX_HMAC_SECRET",
    "VYROX_HMAC_SECRET_PREVIOUS",
    "VYROX_READ_SECRET",
    "CROWDSTRIKE_WEBHOOK_SECRET",
    "SENTINELONE_WEBHOOK_SECRET",
    "DEFENDER_WEBHOOK_SECRET",
    "GENERIC_WEBHOOK_SECRET",
    "REDIS_URL",
    "DATABASE_URL",
    "VYROX_ENCRYPTION_KEY",
    "TRUSTED_PROXIES",
    "PUBLIC_URL",
    "VYROX_DATA_DIR",
    "INGESTION_HOST",
    "INGESTION_PORT",
    "PORT",
    "PROXY_HOST",
    "PROXY_PORT",
    "REQUIRE_ONBOARDING",
    "MAX_BODY_BYTES",
    "QUEUE_MAX_ALERTS",
    "QUEUE_MAX_BYTES",
    "REDELIVERY_WINDOW_SECONDS",
    "DRY_RUN",
    "EXECUTE_RATE_PER_MINUTE",
    "EDR_DEADLINE_SECONDS",
    "RETENTION_DAYS",
    "UNAUTHENTICATED_EVENTS_PER_SECOND",
    "UNAUTHENTICATED_EVENT_BYTES_PER_DAY",
    "NOTIFY_ALLOWED_HOSTS",
    "NOTIFY_GROUP_WAIT_SECONDS",
    "NOTIFY_GROUP_INTERVAL_SECONDS",
    "NOTIFY_REPEAT_SECONDS",
    "NOTIFY_PER_HOUR",
]

VALUE = st.text(st.characters(exclude_categories=())).map(lambda text: "canary" + text) | (
    st.from_regex(r"(redis|rediss|unix|postgres|postgresql|https?)://[^/]{0,9}canary.*")
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUE, min_size=1))
def test_from_env_refuses_in_one_line_that_names_the_variable_and_no_value(
    env: dict[str, str],
) -> None:
    try:
        Settings.from_env(env)
    except SettingsError as exc:
        text = str(exc)
        assert text.split()[0] in NAMES
        assert "canary" not in text
        assert text.isprintable()


def test_repr_shows_no_secret() -> None:
    settings = Settings.from_env(
        {
            "VYROX_HMAC_SECRET": f"{SECRET}-hmac",
            "CROWDSTRIKE_WEBHOOK_SECRET": SECRET,
            "SENTINELONE_WEBHOOK_SECRET": SECRET,
            "REDIS_URL": f"redis://:{SECRET}@host",
            "DATABASE_URL": f"postgres://u:{SECRET}@h/d",
            "VYROX_ENCRYPTION_KEY": KEY,
        }
    )

    assert SECRET not in repr(settings)
    assert KEY not in repr(settings)
    assert "ingestion_port=8001" in repr(settings)


def test_require_hmac_secret_gives_the_secret_or_says_how_to_make_one() -> None:
    assert Settings(hmac_secret=SECRET).require_hmac_secret() == SECRET
    with pytest.raises(SettingsError, match=r"VYROX_HMAC_SECRET is required.*openssl rand -hex 32"):
        Settings().require_hmac_secret()


def test_from_process_reads_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PROXY_PORT", "3999")

    assert Settings.from_process() == Settings(proxy_port=3999)
