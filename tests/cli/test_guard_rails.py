"""`vyrox tenant freeze`, `unfreeze` and `policy` (contract 35 and 39)."""

import asyncio
import json
import re
import signal
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import msgspec
import pytest
from sqlalchemy import Connection

from tests.audit import action
from tests.cli import Vyrox, refused, rows_of, succeeded
from tests.conftest import ready_postgres_database
from tests.polling import until
from tests.postgres import Postgres
from tests.sample_alerts import NOW, WINDOW_S, new_delivery
from tests.service import running_service
from vyrox.alerts.intake import Intake
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.cli import stores as cli_opened
from vyrox.clock import wall_clock
from vyrox.store import data_dir as data_dirs
from vyrox.store import locks, sqlite, tables
from vyrox.store.database import Database, open_database
from vyrox.tenants import containers, guard_rails
from vyrox.tenants.freezes import frozen_since
from vyrox.tenants.guard_rails import Rails

ADDED: Final = Rails(other_hosts="refuse")
"""The guard rails of a tenant that was added, and no more."""

pytestmark = pytest.mark.usefixtures("anyio_backend")


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    return known(Vyrox(data_dir, database_url))


def known(vyrox: Vyrox) -> Vyrox:
    """Make `acme` a known tenant, and make a database if it is missing."""
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "generic"))
    return vyrox


PERSONS: Final = (
    "four eyes      no\ntwo persons    -\npropose        what urgent incidents suggest\n"
)


def rails(vyrox: Vyrox) -> Rails:
    def find(connection: Connection) -> Rails:
        return guard_rails.find(connection, ["acme"])["acme"]

    return vyrox.write(find)


def test_policy_is_shown_and_changed_contract_35(vyrox: Vyrox) -> None:
    shown = (
        "frozen         no\nper hour       no limit\nnever contain  -\n"
        "other hosts    refuse\nalerts         any\n" + PERSONS
    )
    assert succeeded(vyrox("tenant", "policy", "acme")) == shown
    changed = vyrox(
        *("tenant", "policy", "acme", "--per-hour", "20"),
        *("--never-contain", "host:DC-*", "--never-contain", "tag:Tier0"),
    )
    assert succeeded(changed) == (
        "frozen         no\nper hour       20\nnever contain  host:dc-*, tag:tier0\n"
        "other hosts    refuse\nalerts         any\n" + PERSONS
    )
    assert rails(vyrox) == msgspec.structs.replace(
        ADDED, per_hour=20, never_contain=("host:dc-*", "tag:tier0")
    )
    succeeded(vyrox("tenant", "policy", "acme", "--allow-again", "tag:TIER0"))
    printed = succeeded(vyrox("tenant", "policy", "acme", "--per-hour", "0", "--json"))
    assert json.loads(printed) == {
        "frozen_at": None,
        "per_hour": 0,
        "never_contain": ["host:dc-*"],
        "all_frozen_at": None,
        "other_hosts": "refuse",
        "known_alerts_only": False,
        "propose": "urgent",
        "four_eyes": False,
        "two_person": [],
        "waits_for": 0,
    }
    told = succeeded(vyrox("audit", "events", "--tenant", "acme", "--json"))
    assert [json.loads(line)["change"] for line in told.splitlines()] == [
        "added",
        "policy: other_hosts refuse",
        "policy: per_hour 20, never_contain host:dc-*, never_contain tag:tier0",
        "policy: allow again tag:tier0",
        "policy: per_hour 0",
    ]


def test_policy_about_hosts_and_alerts_contract_35(vyrox: Vyrox) -> None:
    """On for a tenant that is added; one that was here before has no row, and is not changed."""
    assert rails(vyrox) == ADDED
    vyrox.write(forget_rails)
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "defender"))
    succeeded(vyrox("tenant", "remove", "acme", "--yes", "--vendor", "generic"))
    succeeded(vyrox("tenant", "add", "acme", "--vendor", "generic"))
    assert rails(vyrox) == guard_rails.NONE
    policy = ("tenant", "policy", "acme")
    shown = succeeded(vyrox(*policy, "--other-hosts", "refuse", "--known-alerts-only"))
    assert shown.endswith("\nother hosts    refuse\nalerts         known ones only\n" + PERSONS)
    assert rails(vyrox) == Rails(other_hosts="refuse", known_alerts_only=True)
    succeeded(vyrox(*policy, "--other-hosts", "allow", "--any-alert"))
    assert rails(vyrox) == guard_rails.NONE
    told = succeeded(vyrox("audit", "events", "--tenant", "acme", "--json"))
    changes = [json.loads(line)["change"] for line in told.splitlines()]
    assert [change for change in changes if change.startswith("policy")] == [
        "policy: other_hosts refuse",
        "policy: other_hosts refuse, known_alerts_only true",
        "policy: other_hosts allow, known_alerts_only false",
    ]


def forget_rails(connection: Connection) -> None:
    connection.execute(tables.guard_rails.delete())


def test_policy_refuses_what_is_no_rule_contract_35(vyrox: Vyrox) -> None:
    bad = vyrox("tenant", "policy", "acme", "--never-contain", "dc-01")
    assert bad.exit_code == 2
    assert "device:ID, host:PATTERN or tag:TAG" in bad.stderr
    unknown = vyrox("tenant", "policy", "acme", "--allow-again", "host:dc-01")
    assert refused(unknown) == "no such rule: host:dc-01"
    assert rails(vyrox) == ADDED


def change(vyrox: Vyrox, *args: str) -> str:
    return succeeded(vyrox("tenant", *args))


def not_served(vyrox: Vyrox) -> str:
    """Return the line of a freeze on data that no service uses."""
    if "DATABASE_URL" in vyrox.env:
        return "stored; no service has reported on this data within 10 s\n"
    return (
        f"stored in {vyrox.env['VYROX_DATA_DIR']}, where no service is running: nothing that runs "
        "elsewhere is frozen\n"
    )


def test_freeze_and_unfreeze_contract_35_and_39(vyrox: Vyrox) -> None:
    line = not_served(vyrox)
    assert change(vyrox, "freeze", "acme") == f"acme is frozen\n{line}"
    assert change(vyrox, "freeze", "acme") == f"acme is frozen, and was before\n{line}"
    assert rails(vyrox).frozen_at is not None
    assert "frozen         since 20" in change(vyrox, "policy", "acme")
    assert change(vyrox, "unfreeze", "acme") == "acme is not frozen\n"
    assert change(vyrox, "unfreeze", "acme") == "acme is not frozen, and was not before\n"
    assert rails(vyrox).frozen_at is None


def test_freeze_of_every_tenant_is_apart_from_a_tenants_own_contract_39(vyrox: Vyrox) -> None:
    change(vyrox, "freeze", "acme")
    assert change(vyrox, "freeze", "--all") == f"every tenant is frozen\n{not_served(vyrox)}"
    assert vyrox.write(frozen_since, "added-later") is not None
    assert change(vyrox, "unfreeze", "acme") == (
        "acme is STILL FROZEN, with every tenant; to end that: vyrox tenant unfreeze --all\n"
    )
    assert rails(vyrox).frozen_at is None
    assert vyrox.write(frozen_since, "acme") is not None
    assert change(vyrox, "policy", "acme").splitlines()[0].endswith("UTC, with every tenant")
    change(vyrox, "freeze", "acme")
    listed = vyrox("tenant", "list").stderr
    assert re.search(r"^every tenant is frozen since 20[-0-9: ]{17} UTC$", listed)
    still = "Still frozen by their own freeze: acme\n"
    assert change(vyrox, "unfreeze", "--all") == f"the freeze of every tenant is ended. {still}"
    assert change(vyrox, "unfreeze", "--all") == f"there was no freeze of every tenant. {still}"
    assert rails(vyrox).is_frozen
    assert vyrox.write(frozen_since, "added-later") is None
    assert vyrox("tenant", "freeze").exit_code == 2
    assert vyrox("tenant", "freeze", "acme", "--all").exit_code == 2
    told = change(vyrox, "list", "--json")
    assert json.loads(told)[0]["frozen_at"] == rails(vyrox).frozen_at


def test_list_shows_freeze_and_limit_of_all_that_have_one_contract_39(vyrox: Vyrox) -> None:
    change(vyrox, "policy", "acme", "--per-hour", "7")
    change(vyrox, "policy", "not-onboarded", "--per-hour", "3", "--new")
    change(vyrox, "freeze", "--all")
    rows = json.loads(change(vyrox, "list", "--json"))
    members = ("tenant_id", "vendor", "per_hour", "other_hosts")
    assert [tuple(row[member] for member in members) for row in rows] == [
        ("acme", "generic", 7, "refuse"),
        ("not-onboarded", None, 3, "refuse"),
    ]
    assert None not in [row["frozen_at"] for row in rows]
    table = [(row["STATE"], row["LIMIT"]) for row in rows_of(change(vyrox, "list"))]
    assert table == [("FROZEN", "7/h"), ("not onboarded, FROZEN", "3/h")]


@pytest.mark.parametrize(
    "command",
    [
        ("freeze", "acmee"),
        ("unfreeze", "acmee"),
        ("policy", "acmee"),
        ("policy", "acmee", "--per-hour", "3"),
        ("edr", "set", "acmee", "--vendor", "crowdstrike", "--client-id", "id"),
    ],
)
def test_unknown_tenant_is_an_error_that_names_the_nearest_contract_39(
    data_dir: Path, command: tuple[str, ...]
) -> None:
    vyrox = known(Vyrox(data_dir))
    line = refused(vyrox("tenant", *command, stdin=b"secret"))
    assert line.startswith("acmee is not onboarded and has sent no alert; did you mean acme?")
    assert vyrox.write(guard_rails.list_all) == (guard_rails.NONE, {"acme": ADDED})
    assert change(vyrox, "edr", "list", "--json") == "[]\n"


def test_tenant_on_a_default_secret_is_known_by_its_alerts_contract_39(data_dir: Path) -> None:
    vyrox = known(Vyrox(data_dir))

    def accept(connection: Connection) -> None:
        new = new_delivery(b"{}", "by-default")
        [outcome] = Intake(cast(Any, None), WINDOW_S)._store(connection, [new])
        append(connection, outcome.drafts, NOW)

    vyrox.write(accept)
    assert change(vyrox, "freeze", "by-default").startswith("by-default is frozen\n")


READING: tuple[tuple[str, ...], ...] = (
    ("tenant", "freeze", "acme"),
    ("tenant", "freeze", "--all"),
    ("tenant", "policy", "acme", "--per-hour", "3", "--new"),
    ("tenant", "list"),
    ("tenant", "rotate", "acme"),
    ("tenant", "edr", "list"),
    ("queue", "stats"),
    ("queue", "quarantine", "list", "acme"),
    ("audit", "events"),
)


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_only_some_commands_make_a_database_contract_39(
    data_dir: Path, command: tuple[str, ...]
) -> None:
    elsewhere = data_dir / "elsewhere"
    line = refused(Vyrox(elsewhere)(*command))
    assert line.startswith(f"there is no database in {elsewhere}: ")
    assert "vyrox tenant add" in line
    elsewhere.mkdir()
    assert refused(Vyrox(elsewhere)(*command)) == line
    assert list(data_dir.rglob("*")) == [elsewhere]


def test_tenant_add_makes_a_database_and_says_where_contract_39(
    data_dir: Path, empty_database_url: str | None
) -> None:
    elsewhere = data_dir / "elsewhere"
    vyrox = Vyrox(elsewhere, empty_database_url)
    if empty_database_url is not None:
        assert "at DATABASE_URL is not Vyrox's yet" in refused(vyrox("tenant", "list"))
    added = vyrox("tenant", "add", "acme", "--vendor", "defender")
    succeeded(added)
    where = f"in {elsewhere}" if empty_database_url is None else "at DATABASE_URL"
    assert added.stderr.splitlines()[0] == f"vyrox: there was no database {where}; it was made"
    assert elsewhere.exists() == (empty_database_url is None)
    again = vyrox("tenant", "add", "acme", "--vendor", "generic")
    assert "it was made" not in again.stderr


def test_freeze_waits_for_every_container_contract_39(
    vyrox: Vyrox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reads the freeze while the command waits, and one does not."""
    now = wall_clock()
    vyrox.write(containers.report, "reads", now)
    vyrox.write(containers.report, "does-not", now)
    monkeypatch.setattr(containers, "CONFIRM_TIMEOUT_S", 0.0)
    line = refused(vyrox("tenant", "freeze", "acme"))
    assert line.startswith("the freeze of acme is stored, but 2 of 2 containers have not confirmed")
    vyrox.write(containers.report, "reads", now)
    line = refused(vyrox("tenant", "freeze", "acme"))
    assert "1 of 2 containers" in line
    assert "does-not (last report " in line
    vyrox.write(containers.report, "does-not", now)
    told = change(vyrox, "freeze", "acme")
    assert re.fullmatch(
        r"acme is frozen, and was before\nfrozen since 20[-0-9: ]{17} UTC; "
        r"in force in 2 containers now\n",
        told,
    )


def test_freeze_names_a_silent_service_that_holds_the_directory_contract_39(
    data_dir: Path,
) -> None:
    """A stopped process may act when it continues, so this is no success."""
    vyrox = known(Vyrox(data_dir))
    with data_dirs.owned(data_dir):
        line = refused(vyrox("tenant", "freeze", "--all"))
        assert line == (
            f"the freeze of every tenant is stored, but a service that uses {data_dir} has never "
            "reported. It may still act: stop it, or run this again"
        )
        vyrox.write(containers.report, "stopped", wall_clock() - 12)
        line = refused(vyrox("tenant", "freeze", "acme"))
        silent = re.search(rf"a service that uses {data_dir} has not reported for (\d+) s", line)
        assert silent
        assert int(silent[1]) >= 12
    assert change(vyrox, "freeze", "acme").endswith(not_served(vyrox))


def test_tenant_of_a_mistyped_action_is_not_known_contract_39(vyrox: Vyrox) -> None:
    """The entry of an action, and its events, are written for any name."""
    vyrox.write(append, [action("host", "acmee"), event("execute.outcome", "acmee", None)], NOW)
    line = refused(vyrox("tenant", "freeze", "acmee"))
    assert line == "acmee is not onboarded and has sent no alert; did you mean acme?"
    line = refused(vyrox("tenant", "freeze", "acmeee"))
    assert line.endswith("did you mean acme?")
    change(vyrox, "policy", "by-policy", "--per-hour", "3", "--new")
    assert change(vyrox, "freeze", "by-policy").startswith("by-policy is frozen\n")


async def test_freeze_is_in_force_in_the_service_contract_39(data_dir: Path) -> None:
    vyrox = await asyncio.to_thread(known, Vyrox(data_dir))
    async with running_service(data_dir) as service:
        told = await asyncio.to_thread(change, vyrox, "freeze", "acme")
        assert told.startswith("acme is frozen\nin force in 1 container since 20")
        service.signal(signal.SIGTERM)
        await service.ended()
    assert (await asyncio.to_thread(change, vyrox, "freeze", "acme")).endswith(not_served(vyrox))


def test_freeze_tries_again_while_the_database_is_locked_contract_39(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vyrox = known(Vyrox(data_dir))
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)
    locked = closing(sqlite3.connect(data_dir / "vyrox.db", isolation_level=None))
    opened: list[Path] = []

    def opens_and_unlocks(
        url: str | None, directory: Path, *, create: bool, urgent: bool
    ) -> AbstractAsyncContextManager[Database]:
        if len(opened) == 1:
            other.execute("ROLLBACK")
        opened.append(directory)
        return open_database(url, directory, create=create, urgent=urgent)

    with locked as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(cli_opened, "open_database", opens_and_unlocks)
        assert change(vyrox, "freeze", "acme").startswith("acme is frozen\n")
    assert len(opened) == 3  # refused once, written, and read back


@pytest.mark.parametrize("command", [("freeze", "acme"), ("policy", "acme", "--per-hour", "3")])
async def test_change_waits_for_who_is_claiming_contract_35(
    data_dir: Path, postgres: Postgres, command: tuple[str, ...]
) -> None:
    """What has read the guard rails before is committed before, and no other change is lost."""
    url = await ready_postgres_database(postgres)
    vyrox = Vyrox(data_dir, url)
    await asyncio.to_thread(known, vyrox)
    claiming = await asyncpg.connect(url)
    try:

        async def is_waited_for() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return bool(await claiming.fetchval(waiting))

        async with claiming.transaction():
            number = locks._NUMBERS["containments"]
            await claiming.execute(f"SELECT pg_advisory_xact_lock({number})")
            changing = asyncio.create_task(asyncio.to_thread(vyrox, "tenant", *command))
            await until(is_waited_for)
        succeeded(await changing)
    finally:
        await claiming.close()


@pytest.mark.parametrize(
    ("options", "per_hour", "other_hosts"),
    [
        (("--other-hosts", "allow"), 0, "allow"),
        (("--other-hosts", "allow", "--per-hour", "9"), 9, "allow"),
        (("--per-hour", "9"), 9, "refuse"),
    ],
)
def test_add_leaves_what_an_operator_has_set_contract_35(
    vyrox: Vyrox, options: tuple[str, ...], per_hour: int, other_hosts: str
) -> None:
    succeeded(vyrox("tenant", "policy", "globex", "--new", *options))
    succeeded(vyrox("tenant", "add", "globex", "--vendor", "defender"))
    stored = json.loads(succeeded(vyrox("tenant", "policy", "globex", "--json")))
    assert (stored["per_hour"], stored["other_hosts"]) == (per_hour, other_hosts)
