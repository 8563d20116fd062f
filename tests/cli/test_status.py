"""`vyrox status` and `vyrox contained` (contract 86)."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.approvals.decided import prepared
from tests.approvals.test_leases import opened_site
from tests.audit import TENANT
from tests.cli import Vyrox, rows_of, succeeded
from tests.cli.test_queue import alert
from tests.tenants.test_guard_rails import wanted
from vyrox.alerts.intake import delivery, store
from vyrox.clock import wall_clock
from vyrox.models import ContainmentRequest
from vyrox.store.data_dir import owned
from vyrox.store.database import open_database
from vyrox.store.encryption import KEY_FILE
from vyrox.store.tables import secret_uses
from vyrox.tenants import containers
from vyrox.tenants.policy import set_frozen
from vyrox.tenants.private_secrets import name_of

pytestmark = pytest.mark.usefixtures("anyio_backend")


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None, redis_url: str) -> Vyrox:
    return Vyrox(data_dir, database_url, REDIS_URL=redis_url).migrated()


@pytest.fixture
def on_sqlite(data_dir: Path, redis_url: str) -> Vyrox:
    return Vyrox(data_dir, REDIS_URL=redis_url).migrated()


@pytest.fixture
def locked(data_dir: Path) -> Iterator[None]:
    """The data directory is locked, as by a service."""
    with owned(data_dir):
        yield


def status(vyrox: Vyrox) -> dict[str, Any]:
    """Return what is printed with `--json`; the exit code says whether all is well."""
    result = vyrox("status", "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    assert (result.exit_code == 0) == found["is_ok"] == (not found["wrong"])
    return found


def wrong(vyrox: Vyrox) -> list[tuple[str | None, str]]:
    return [(each["tenant_id"], each["what"]) for each in status(vyrox)["wrong"]]


def runs(vyrox: Vyrox, name: str = "a", *, dry_run: bool = False, why: str | None = None) -> None:
    """Report as a container does that runs."""
    vyrox.write(containers.report, name, wall_clock(), dry_run, why)


def test_a_service_that_does_not_run_is_the_first_line_contract_86(on_sqlite: Vyrox) -> None:
    result = on_sqlite("status")
    assert result.exit_code == 1
    first, second, third, *_ = result.stdout.splitlines()
    assert first == "WRONG: The service does not run"
    assert second.startswith("- The service does not run: no alert is accepted")
    assert third == "    do: vyrox serve"
    assert "mode          not known: no service runs that reports it" in result.stdout


def test_a_row_in_a_copy_of_the_file_is_no_service_contract_86(on_sqlite: Vyrox) -> None:
    """Nor is that of a service that was killed a moment ago."""
    runs(on_sqlite)
    assert wrong(on_sqlite) == [(None, "The service does not run")]


@pytest.mark.usefixtures("locked")
def test_a_service_that_cannot_write_its_row_runs_contract_86(on_sqlite: Vyrox) -> None:
    """As on a full disk."""
    on_sqlite.write(containers.report, "a", wall_clock() - 600)
    assert wrong(on_sqlite) == []
    away = on_sqlite("status", env={"REDIS_URL": "redis://127.0.0.1:1"})
    assert away.stderr == ""
    # So would be the rows of a copied PostgreSQL database, for a moment.
    [line] = [each for each in away.stdout.splitlines() if each.startswith("service ")]
    assert re.search(r"1 container, last report \d+ s ago: ended, cannot write, or a copy", line)
    assert len(line) <= 80


@pytest.mark.usefixtures("locked")
def test_all_is_well_contract_86(vyrox: Vyrox) -> None:
    runs(vyrox, dry_run=True)
    found = status(vyrox)
    assert (found["mode"], found["stores"], found["clocks"]) == (
        "dry_run",
        {"database": None, "redis": None},
        None,
    )
    printed = succeeded(vyrox("status"))
    assert printed.startswith("ALL IS WELL\n\nmode          DRY RUN: no vendor is called\n")
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.usefixtures("locked")
def test_each_thing_that_is_wrong_has_a_line_contract_86(on_sqlite: Vyrox) -> None:
    succeeded(on_sqlite("tenant", "add", "acme", "--vendor", "crowdstrike"))
    succeeded(on_sqlite("tenant", "add", "gone", "--vendor", "generic"))
    succeeded(on_sqlite("tenant", "remove", "gone", "--yes"))  # its silence is no trouble
    runs(on_sqlite)
    assert wrong(on_sqlite) == [("acme", "No alert has arrived yet")]
    arrived = delivery(alert(), b"x", wall_clock() - 400)
    on_sqlite.write(store, [arrived], 1)
    assert wrong(on_sqlite) == [(None, "Alerts are not finished")]
    [source] = status(on_sqlite)["sources"]
    assert (source["tenant_id"], source["is_ok"]) == ("acme", True)
    assert source["last_alert_at"] == pytest.approx(arrived.received_at)

    succeeded(on_sqlite("alert", "finish", arrived.alert_id, "--verdict", "benign"))
    on_sqlite.write(set_frozen_of_acme)
    runs(on_sqlite, why="the wall clock has jumped by 900 s")
    runs(on_sqlite, "b", dry_run=True)
    found = wrong(on_sqlite)
    assert found[0] == (None, "Some containers act and some do not")
    assert found[1:] == [(None, "The clocks cannot be trusted"), ("acme", "Frozen")]
    lines = on_sqlite("status").stdout.splitlines()
    assert lines[0] == "WRONG: Some containers act and some do not (and 2 more)"
    assert "    do: vyrox tenant unfreeze acme" in lines
    away = {"REDIS_URL": "redis://127.0.0.1:1"}
    result = on_sqlite("status", env=away)
    assert "Redis does not work" in result.stdout
    assert result.exit_code == 1


def set_frozen_of_acme(connection: Connection) -> None:
    set_frozen(connection, "acme", wall_clock(), frozen=True)


@pytest.mark.usefixtures("locked")
def test_a_lost_key_is_a_thing_that_is_wrong_contract_86(on_sqlite: Vyrox, data_dir: Path) -> None:
    runs(on_sqlite)
    succeeded(on_sqlite("status"))
    assert not (data_dir / KEY_FILE).exists()  # a command that only looks makes none
    succeeded(on_sqlite("tenant", "add", "acme", "--vendor", "crowdstrike"))
    (data_dir / KEY_FILE).unlink()
    assert (None, "The secrets cannot be read") in wrong(on_sqlite)
    doctor = on_sqlite("doctor")
    assert doctor.exit_code == 1
    assert "FAIL  service            The secrets cannot be read" in doctor.stdout
    assert not (data_dir / KEY_FILE).exists()


def contain(vyrox: Vyrox, data_dir: Path, database_url: str | None) -> list[str]:
    """Contain one device with an end and one without; return their alerts."""

    async def run() -> list[str]:
        async with open_database(database_url, data_dir) as database:
            await prepared(database)
            async with opened_site(database) as site:
                site.proxy.clock.now = wall_clock()
                leased = await site.contain()
                request = wanted(
                    "r-2",
                    host="srv-2",
                    alert_id="alert-2",
                    approved_by="ann",
                    approved_at=int(site.proxy.clock.now),
                )
                await site.proxy.execute(request)
            return [leased.id, request.alert_id]

    return asyncio.run(run())


def test_contained_shows_since_when_by_whom_and_why_contract_86(
    vyrox: Vyrox, data_dir: Path, database_url: str | None
) -> None:
    assert "nothing is contained" in vyrox("contained").stderr
    before = int(wall_clock())
    contain(vyrox, data_dir, database_url)
    rows = {row["HOST"]: row for row in rows_of(succeeded(vyrox("contained", TENANT)))}
    assert set(rows) == {"srv-2", "workstation-01"}
    assert rows["srv-2"]["APPROVED BY"] == "ann"
    assert rows["srv-2"]["ALERT"] == "alert-2"
    assert rows["srv-2"]["ENDS"] == "never"
    assert rows["workstation-01"]["ENDS"].startswith("20")
    assert "sha256" not in rows["workstation-01"]["APPROVED BY"]
    found = json.loads(succeeded(vyrox("contained", "--json")))
    assert {each["state"] for each in found} <= {"contained", "waiting"}
    assert all(before <= each["since"] <= wall_clock() for each in found)
    assert status(vyrox)["contained"] == 2
    assert "did you mean" in vyrox("contained", f"{TENANT}x").stderr


def test_a_plain_lift_takes_the_rest_from_the_containment_contract_88(
    on_sqlite: Vyrox, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contain(on_sqlite, data_dir, None)
    sent: list[ContainmentRequest] = []
    monkeypatch.setattr(
        "vyrox.cli.execute.send_after_question", lambda request, *_: sent.append(request)
    )
    lift = ("lift", TENANT, "SRV-2", "--approved-by", "bob")
    succeeded(on_sqlite(*lift))
    succeeded(on_sqlite(*lift, "--alert", "another"))
    earlier = ("--tenant", TENANT, "--host", "x", "--alert", "a", "--approved-by", "b")
    succeeded(on_sqlite("lift", *earlier, "--action", "LIFT_NETWORK_QUARANTINE"))
    assert [(each.host, each.alert_id, each.action_type) for each in sent] == [
        ("SRV-2", "alert-2", "LIFT_HOST_ISOLATION"),
        ("SRV-2", "another", "LIFT_HOST_ISOLATION"),
        ("x", "a", "LIFT_NETWORK_QUARANTINE"),
    ]
    unknown = on_sqlite("lift", TENANT, "nohost", "--approved-by", "bob")
    assert (unknown.exit_code, "no containment of nohost" in unknown.stderr) == (2, True)
    mistyped = on_sqlite("lift", f"{TENANT}x", "nohost", "--approved-by", "bob")
    assert f"did you mean {TENANT}?" in mistyped.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("option", "action"),
    [
        ("--isolate", "HOST_ISOLATION"),
        ("--kill", "PROCESS_KILL"),
        ("--quarantine", "NETWORK_QUARANTINE"),
    ],
)
def test_short_names_of_actions_contract_88(
    on_sqlite: Vyrox, monkeypatch: pytest.MonkeyPatch, option: str, action: str
) -> None:
    sent: list[ContainmentRequest] = []
    monkeypatch.setattr(
        "vyrox.cli.execute.send_after_question", lambda request, *_: sent.append(request)
    )
    rest = ("--alert", "a", "--approved-by", "b")
    succeeded(on_sqlite("execute", "acme", "pc-1", option, *rest))
    succeeded(on_sqlite("execute", "--tenant", "acme", "--host", "pc-1", "--action", action, *rest))
    assert {(e.tenant_id, e.host, e.action_type, e.alert_id) for e in sent} == {
        ("acme", "pc-1", action, "a")
    }
    for wrong in (
        ("acme", "pc-1", option, "--action", "HOST_ISOLATION", "--kill", "--quarantine"),
        ("acme", "pc-1"),
        ("acme", option),
        ("acme", "pc-1", option, "--tenant", "other"),
        ("acme", "pc-1", option, "--host", "other"),
    ):
        assert on_sqlite("execute", *wrong, *rest).exit_code == 2


def test_last_use_of_the_previous_secret_is_shown_contract_85(on_sqlite: Vyrox) -> None:
    previous = "previous-secret-0123456789-0123456789"
    assert status(on_sqlite)["previous_secret"] is None
    on_sqlite.env["VYROX_HMAC_SECRET_PREVIOUS"] = previous
    assert status(on_sqlite)["previous_secret"] == {"used_at": None}
    assert "VYROX_HMAC_SECRET_PREVIOUS, never used\n" in on_sqlite("status").stdout
    row: dict[str, object] = {"name": name_of(previous), "used_at": 1_764_417_600.0}
    on_sqlite.write(_insert, row)
    shown = on_sqlite("status").stdout
    assert "VYROX_HMAC_SECRET_PREVIOUS, last used 2025-11-29 12:00:00 UTC\n" in shown
    assert previous not in shown


def _insert(connection: Connection, row: dict[str, object]) -> None:
    connection.execute(secret_uses.insert().values(row))
