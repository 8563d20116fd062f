"""`vyrox config`, and the variables that look like a setting (contract 89)."""

import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from tests.cli import Vyrox, succeeded
from tests.service import environment, running_service
from tests.test_docs import variables
from vyrox.cli.folding import say
from vyrox.settings.look_alikes import find_look_alikes
from vyrox.settings.shown import look_alikes, show

CANARY = "canary0123456789canary0123456789canary"


def lines_of(text: str) -> dict[str, list[str]]:
    """The words of each line, by the name of its setting."""
    words = [line.split() for line in text.splitlines()]
    return {line[1]: [line[0], *line[2:]] for line in words if len(line) > 2}


def test_config_shows_value_and_source_contract_89(data_dir: Path) -> None:
    vyrox = Vyrox(data_dir, DRY_RUN="no", VYROX_HMAC_SECRET=CANARY)
    shown = lines_of(succeeded(vyrox("config")))
    assert shown["DRY_RUN"] == ["environment", "no"]
    assert shown["VYROX_HMAC_SECRET"] == ["environment", "set"]
    assert shown["PROXY_PORT"] == ["default", "3000"]
    assert shown["VYROX_ENCRYPTION_KEY"] == ["default", "not", "set"]
    (data_dir / "encryption.key").write_bytes(Fernet.generate_key())
    shown = lines_of(succeeded(vyrox("config", "vyrox_encryption_key", "PORT")))
    assert shown.pop("VYROX_ENCRYPTION_KEY") == ["file", "set"]
    assert shown.pop("PORT") == ["default", "not", "set"]
    assert shown.keys() <= {"SETTING"} | {key for key in shown if key.startswith("-")}


def test_config_shows_every_setting_contract_89(data_dir: Path) -> None:
    shown = json.loads(succeeded(Vyrox(data_dir)("config", "--json")))
    assert sorted(each["name"] for each in shown["settings"]) == sorted(variables())
    assert (shown["unknown"], shown["problem"]) == ([], None)


SHOWN_AS_IT_IS = [
    name
    for name in variables()
    if name not in {"DATABASE_URL", "REDIS_URL", "OUTBOUND_PROXY"}
    and not any(word in name for word in ("SECRET", "KEY", "TOKEN"))
]


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        f"redis://u:{CANARY}/x@y@h:1/0?p={CANARY}",
        f"http://{CANARY}@h:1",
        f"http://h#{CANARY}",
    ],
)
def test_config_never_shows_a_secret_contract_89(value: str) -> None:
    """Also if it is invalid, or if a URL with a login is in a variable that takes none."""
    for name in variables():
        if value == CANARY and name in SHOWN_AS_IT_IS:
            continue  # a host, a path, a model
        found = show({name: value}, {})
        assert CANARY not in repr(found), name
        assert [each.source for each in found.settings if each.name == name] == ["environment"]


def test_config_says_why_the_service_would_not_start_contract_89(data_dir: Path) -> None:
    result = Vyrox(data_dir, DATABASE_URL="postgres://u:p@h/d", PROXY_PORT="x")("config")
    assert result.exit_code == 1
    assert lines_of(result.stdout)["PROXY_PORT"][:2] == ["environment", "REFUSED:"]
    assert lines_of(result.stdout)["DATABASE_URL"] == ["environment", "postgres://...@h/d"]
    assert "vyrox: " in result.stderr


def test_config_of_an_unknown_setting_names_the_nearest_contract_89(data_dir: Path) -> None:
    result = Vyrox(data_dir)("config", "DRYRUN")
    assert result.exit_code == 2
    assert "Did you mean 'DRY_RUN'?" in result.stderr


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("DRYRUN", "DRY_RUN"),
        ("dry_run", "DRY_RUN"),
        ("DRY_RNU", "DRY_RUN"),
        ("VYROX_DRY_RUN", "DRY_RUN"),
        ("REDIS_URI", "REDIS_URL"),
        ("VYROX_HMAC_SECRETS", "VYROX_HMAC_SECRET"),
        ("VYROX_HMAC", "VYROX_HMAC_SECRET"),
        ("HMAC_SECRET", "VYROX_HMAC_SECRET"),
        ("VYROX_REDISURI", "REDIS_URL"),
        ("CROWDSTRIKE_WEBHOOK_SECERT", "CROWDSTRIKE_WEBHOOK_SECRET"),
        ("VYROX_QQQ", None),
    ],
)
def test_look_alike_has_the_nearest_name_contract_89(variable: str, nearest: str | None) -> None:
    [found] = look_alikes({variable: CANARY})
    assert found == (variable, nearest)
    assert CANARY not in str(found)


COMMON = [
    "PATH",
    "PORT",
    "POST",
    "HOST",
    "HOME",
    "USER",
    "LANG",
    "TERM",
    "SHELL",
    "PWD",
    "TZ",
    "DISPLAY",
    "HOSTNAME",
    "LOGNAME",
    "EDITOR",
    "PAGER",
    "DYNO",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "LOG_LEVEL",
    "LOGLEVEL",
    "DEBUG",
    "COLUMNS",
    "REDIS_TLS_URL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_PASSWORD",
    "DATABASE_USER",
    "DATABASE_NAME",
    "DATABASE_PORT",
    "DATABASE_POOL_SIZE",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "POSTGRES_URL",
    "POSTGRES_PASSWORD",
    "VYROX_URL",
    "VYROX_TENANT_ID",
    "HEROKU_POSTGRESQL_RED_URL",
    "HEROKU_APP_NAME",
    "FLY_APP_NAME",
    "RENDER_EXTERNAL_URL",
    "RAILWAY_PUBLIC_DOMAIN",
    "KUBERNETES_PORT",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "KUBERNETES_PORT_443_TCP",
    "PUBLIC_IP",
    "VYROX_SERVICE_HOST",
    "VYROX_SERVICE_PORT",
    "VYROX_PORT",
    "VYROX_PORT_8001_TCP_ADDR",
    "PROXY_USER",
    "PROXY_PASS",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_REGION",
    "SECRET_KEY",
    "API_KEY",
    "WEB_CONCURRENCY",
    "DISCORD_TOKEN",
    "PYTHONUNBUFFERED",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "SLACK_WEBHOOK_URL",
    "CONSOLE",
    "FORCE_COLOR",
    "CLICOLOR",
    "COLORTERM",
    "LS_COLORS",
    "DATA",
    "ENCRYPTION",
    "QUEUE_URL",
]


def test_common_names_of_platforms_are_no_look_alikes_contract_89() -> None:
    assert look_alikes(dict.fromkeys(COMMON, "x")) == []
    assert look_alikes(dict.fromkeys(variables(), "x")) == []


def test_a_name_without_our_prefix_is_a_mistake_only_if_ours_is_missing_contract_89() -> None:
    both = {"ENCRYPTION_KEY": "x", "VYROX_ENCRYPTION_KEY": "y"}
    assert look_alikes(both) == []
    assert [each.nearest for each in look_alikes({"ENCRYPTION_KEY": "x"})] == [
        "VYROX_ENCRYPTION_KEY"
    ]


@given(st.lists(st.text(max_size=300)))
def test_look_alikes_takes_any_names_contract_89(names: list[str]) -> None:
    for each in find_look_alikes(dict.fromkeys(["VYROX_", *names], "x"), variables()):
        assert str(each).isprintable()


async def test_serve_warns_of_look_alikes_contract_89(data_dir: Path) -> None:
    async with running_service(data_dir, DRYRUN=CANARY) as service:
        [line] = [line for line in service.lines if line["event"] == "settings.look_alike"]
        assert (line["variable"], line["nearest"]) == ("DRYRUN", "DRY_RUN")
        assert CANARY not in "".join(service.output)


def test_serve_that_does_not_start_warns_too_contract_89(data_dir: Path) -> None:
    env = {**environment(data_dir, {}), "VYROX_HMAC_SECRETS": CANARY, "PROXY_PORT": "x"}
    result = Vyrox(data_dir)("serve", env=env)
    assert result.exit_code == 1
    first, last = result.stderr.splitlines()
    assert "VYROX_HMAC_SECRETS" in first
    assert "PROXY_PORT" in last
    assert CANARY not in result.output


def test_sentences_are_folded_between_words_on_a_terminal_only_contract_89(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    say("word " * 30)
    assert capsys.readouterr().err == "word " * 30 + "\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    say("word " * 30)
    first, second = capsys.readouterr().err.splitlines()
    assert len(first) <= 80
    assert second.startswith("  word")
