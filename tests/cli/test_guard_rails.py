"""`vyrox tenant freeze`, `unfreeze` and `policy` (contract 35)."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, succeeded
from tests.conftest import new_postgres_database
from tests.polling import until
from tests.postgres import Postgres
from vyrox import devices, guard_rails
from vyrox.guard_rails import Rails

pytestmark = pytest.mark.usefixtures("anyio_backend")


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    return Vyrox(data_dir, database_url)


def rails(vyrox: Vyrox) -> Rails:
    def find(connection: Connection) -> Rails:
        return guard_rails.find(connection, ["acme"]).get("acme", guard_rails.NONE)

    return vyrox.write(find)


def test_policy_is_shown_and_changed_contract_35(vyrox: Vyrox) -> None:
    shown = "frozen         no\nper hour       no limit\nnever contain  -\n"
    assert succeeded(vyrox("tenant", "policy", "acme")) == shown
    changed = vyrox(
        *("tenant", "policy", "acme", "--per-hour", "20"),
        *("--never-contain", "host:DC-*", "--never-contain", "tag:Tier0"),
    )
    assert succeeded(changed) == (
        "frozen         no\nper hour       20\nnever contain  host:dc-*, tag:tier0\n"
    )
    assert rails(vyrox) == Rails(None, 20, ("host:dc-*", "tag:tier0"))
    succeeded(vyrox("tenant", "policy", "acme", "--allow-again", "tag:TIER0"))
    printed = succeeded(vyrox("tenant", "policy", "acme", "--per-hour", "0", "--json"))
    assert json.loads(printed) == {
        "frozen_at": None,
        "per_hour": 0,
        "never_contain": ["host:dc-*"],
    }
    told = succeeded(vyrox("audit", "events", "--tenant", "acme", "--json"))
    assert [json.loads(line)["change"] for line in told.splitlines()] == [
        "policy: per_hour 20, never_contain host:dc-*, never_contain tag:tier0",
        "policy: allow again tag:tier0",
        "policy: per_hour 0",
    ]


def test_policy_refuses_what_is_no_rule_contract_35(vyrox: Vyrox) -> None:
    bad = vyrox("tenant", "policy", "acme", "--never-contain", "dc-01")
    assert bad.exit_code == 2
    assert "device:ID, host:PATTERN or tag:TAG" in bad.stderr
    unknown = vyrox("tenant", "policy", "acme", "--allow-again", "host:dc-01")
    assert refused(unknown) == "no such rule: host:dc-01"
    assert rails(vyrox) == guard_rails.NONE


def test_freeze_and_unfreeze_contract_35(vyrox: Vyrox) -> None:
    assert succeeded(vyrox("tenant", "freeze", "acme")) == "acme is frozen\n"
    assert succeeded(vyrox("tenant", "freeze", "acme")) == "acme is frozen, and was before\n"
    assert rails(vyrox).frozen_at is not None
    assert "frozen         since 20" in succeeded(vyrox("tenant", "policy", "acme"))
    assert succeeded(vyrox("tenant", "unfreeze", "acme")) == "acme is not frozen\n"
    assert rails(vyrox).frozen_at is None


@pytest.mark.parametrize("command", [("freeze", "acme"), ("policy", "acme", "--per-hour", "3")])
async def test_change_waits_for_who_is_claiming_contract_35(
    data_dir: Path, postgres: Postgres, command: tuple[str, ...]
) -> None:
    """What has read the guard rails before is committed before, and no other change is lost."""
    url = await new_postgres_database(postgres)
    vyrox = Vyrox(data_dir, url)
    succeeded(await asyncio.to_thread(vyrox, "tenant", "policy", "acme"))  # makes the tables
    claiming = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:

        async def is_waited_for() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return bool(await claiming.fetchval(waiting))

        async with claiming.transaction():
            await claiming.execute(devices._POSTGRES_LOCK)
            changing = asyncio.create_task(asyncio.to_thread(vyrox, "tenant", *command))
            await until(is_waited_for)
        succeeded(await changing)
    finally:
        await claiming.close()
