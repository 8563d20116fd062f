"""`vyrox doctor`, and what of it stops the start (contract 99)."""

import json
import secrets
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.audit import change_entry
from tests.cli import Vyrox
from tests.cli.test_edr import CROWDSTRIKE, set_
from vyrox.cli import doctor_stores
from vyrox.edr.client import Deadline, Finding
from vyrox.errors import OperatorError, SettingsError, VendorError
from vyrox.lifespan.fatal import check_fatal
from vyrox.settings import Settings

pytestmark = pytest.mark.usefixtures("anyio_backend")


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None, redis_url: str) -> Vyrox:
    more = {"INGESTION_PORT": "0", "PROXY_PORT": "0", "CONSOLE_PORT": "0"}
    secret = secrets.token_hex(32)
    return Vyrox(
        data_dir, database_url, REDIS_URL=redis_url, VYROX_HMAC_SECRET=secret, **more
    ).migrated()


def found(vyrox: Vyrox, *options: str) -> dict[str, tuple[str, str]]:
    """Return state and text of each check; of several with one name, the worst."""
    result = vyrox("doctor", "--json", *options)
    checks: list[dict[str, Any]] = json.loads(result.stdout)
    assert result.exit_code == int(any(each["state"] == "FAIL" for each in checks))
    assert all(each["do"] for each in checks if each["state"] != "OK")
    return {each["what"]: (each["state"], each["text"]) for each in reversed(checks)}


def test_doctor_finds_nothing_that_fails_in_a_healthy_installation_contract_99(
    vyrox: Vyrox,
) -> None:
    set_(vyrox, *CROWDSTRIKE)
    checks = found(vyrox)
    assert {state for state, _ in checks.values()} <= {"OK", "WARN"}
    for what in ("database", "redis", "clocks", "audit log", "secrets", "settings", "port"):
        assert checks[what][0] == "OK", checks[what]
    assert checks["audit log"][1].startswith("the newest 1 entries")
    # The vendors were not called.
    assert "vendor" not in checks
    table = vyrox("doctor").stdout
    assert max(map(len, table.splitlines())) <= 80
    assert vyrox.env["VYROX_HMAC_SECRET"] not in table


def test_doctor_says_what_is_broken_and_what_to_do_contract_99(
    vyrox: Vyrox, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        set_(vyrox, *CROWDSTRIKE)
    vyrox.write(change_entry, "events", 2, b'{"changed":1}')
    vyrox.env |= {
        "VYROX_HMAC_SECRET": "changemechangemechangemechangeme",
        "REDIS_URL": f"unix://{data_dir}/away.sock",
        "QUEUE_MAX_ALERT": "5",
    }
    data_dir.chmod(0o777)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        vyrox.env["PROXY_PORT"] = str(other.getsockname()[1])
        checks = found(vyrox)
        lines = vyrox("doctor").stdout.splitlines()
    data_dir.chmod(0o700)
    assert {what for what, (state, _) in checks.items() if state == "FAIL"} == {
        "audit log",
        "redis",
        "port",
        "service",  # Redis does not work
    }
    assert checks["audit log"][1].startswith("acme, events: entry 2: ")
    assert checks["secrets"] == (
        "WARN",
        "VYROX_HMAC_SECRET can be guessed: it does not look random",
    )
    assert checks["files"][0] == checks["settings"][0] == "WARN"
    states = [line.split()[0] for line in lines[:-2] if not line.startswith(" ")]
    assert states == sorted(states, key=("FAIL", "WARN", "OK").index)


def test_doctor_stops_at_settings_that_are_refused_contract_99(vyrox: Vyrox) -> None:
    vyrox.env["RETENTION_DAYS"] = "many"
    checks = found(vyrox)
    assert checks["settings"][0] == "FAIL"
    assert checks["settings"][1].startswith("RETENTION_DAYS")


def test_doctor_knows_an_older_and_a_newer_schema_contract_99(vyrox: Vyrox) -> None:
    def say(connection: Connection, number: str) -> None:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :n"), {"n": number})

    vyrox.write(say, "0001")
    state, text = found(vyrox)["database"]
    assert (state, "0001" in text) == ("WARN", True)


def test_doctor_looks_at_redis_also_without_a_database_contract_99(
    data_dir: Path, redis_url: str
) -> None:
    env = {"REDIS_URL": redis_url, "VYROX_HMAC_SECRET": secrets.token_hex(32)}
    vyrox = Vyrox(data_dir, "postgresql://some:word@127.0.0.1:1/db?sslmode=disable", **env)
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            checks = found(vyrox)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert checks["redis"][0] == checks["database"][0] == "FAIL"
    assert "noeviction" in checks["redis"][1]
    assert checks["database"][1].startswith("PostgreSQL at 127.0.0.1:1/db: ")
    assert "word" not in str(checks)
    assert checks["clocks"] == ("OK", "this machine and Redis agree")


async def test_fatal_part_stops_the_start_contract_99(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="VYROX_HMAC_SECRET is required"):
        check_fatal(Settings(data_dir=data_dir))
    settings = Settings(hmac_secret="s" * 32, data_dir=data_dir)
    check_fatal(settings)
    full = shutil._ntuple_diskusage(10**9, 10**9, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(OperatorError, match="the disk is full"):
        check_fatal(settings)


def test_doctor_calls_the_vendors_only_if_asked_to_contract_99(
    vyrox: Vyrox, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_(vyrox, *CROWDSTRIKE)

    class Client:
        async def check(self, _: Deadline) -> tuple[Finding, ...]:
            return (Finding("Hosts: Read", "all", True), Finding("Hosts: Write", "acts", False))

    class Away(Client):
        async def check(self, _: Deadline) -> tuple[Finding, ...]:
            raise VendorError("token: not sent: ConnectError")

    monkeypatch.setattr(doctor_stores, "make_client", lambda *_: Client())
    assert found(vyrox, "--vendors")["vendor"] == ("FAIL", "acme, crowdstrike lacks: Hosts: Write")
    monkeypatch.setattr(doctor_stores, "make_client", lambda *_: Away())
    assert "ConnectError" in found(vyrox, "--vendors")["vendor"][1]
