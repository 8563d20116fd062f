"""`vyrox backup` and `vyrox restore` (contract 91)."""

import asyncio
import fcntl
import json
import os
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import httpx
import pytest
import sqlalchemy as sa
from alembic import command
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from tests.cli import Vyrox, refused, succeeded
from tests.conftest import drop_postgres_database, new_postgres_database
from tests.ingestion import SECRET, TENANTS, webhook
from tests.patient_service import patient_service
from tests.polling import PATIENCE_S
from tests.postgres import Postgres
from tests.store.test_data_dir import change_owner
from vyrox.chain import log_keys
from vyrox.chain.identity import read_log_name, renew_log_id
from vyrox.chain.live import verify_tenant
from vyrox.chain.verify import Report
from vyrox.clock import wall_clock
from vyrox.errors import OperatorError
from vyrox.store import data_dir as data_directory
from vyrox.store import database as store_database
from vyrox.store.backups import files, making, restoring
from vyrox.store.database import SQLITE_FILE, open_database
from vyrox.store.encryption import KEY_FILE
from vyrox.store.version import HEAD
from vyrox.tenants import containers

# For the asynchronous fixtures that these synchronous tests use.
pytestmark = pytest.mark.usefixtures("anyio_backend")

NOTHING = making.Contents(vault=None, keys={}, others={})
PLAN = restoring.Plan(finish=[renew_log_id])


def with_tenant(directory: Path) -> Vyrox:
    """A data directory with a tenant, whose secret is encrypted."""
    vyrox = Vyrox(directory)
    succeeded(vyrox("tenant", "add", "acme-corp", "--vendor", "crowdstrike"))
    return vyrox


def content(directory: Path) -> list[str]:
    """The names in a data directory that is not there, or that nothing was restored to."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def test_backup_and_restore_contract_91(tmp_path: Path) -> None:
    vyrox, kept = with_tenant(tmp_path / "data"), tmp_path / "kept"
    vyrox.write(containers.report, "a", wall_clock())
    made = json.loads(succeeded(vyrox("backup", str(kept), "--json")))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in kept.iterdir()
    } == dict.fromkeys(("manifest.json", "settings.json", SQLITE_FILE), 0o600)
    assert (made["facts"]["secrets"], made["readable"]) == (1, 1)
    [chain] = made["facts"]["chains"]
    assert (chain["tenant_id"], chain["entries"]) == ("acme-corp", chain["sequence"])

    other = Vyrox(tmp_path / "other")
    (tmp_path / "other").mkdir(0o700)
    key = (tmp_path / "data" / KEY_FILE).read_bytes()
    (tmp_path / "other" / KEY_FILE).write_bytes(key)
    succeeded(other("restore", str(kept)))
    listed = [succeeded(each("tenant", "list", "--json")) for each in (vyrox, other)]
    assert listed[0] == listed[1]
    assert other.write(containers.last_report_age, wall_clock()) is None
    # It may say another thing than the other one did since: so it is another log (contract 93).
    assert len({each.write(read_log_name, "vyrox") for each in (vyrox, other)}) == 2
    assert stat.S_IMODE((tmp_path / "other" / SQLITE_FILE).stat().st_mode) == 0o600
    assert restoring.STAGING not in content(tmp_path / "other")


def test_backup_has_the_key_only_if_asked_contract_91(tmp_path: Path) -> None:
    vyrox, kept = with_tenant(tmp_path / "data"), tmp_path / "kept"
    without = vyrox("backup", str(tmp_path / "without"))
    assert str(tmp_path / "data" / KEY_FILE) in without.stdout
    assert not (tmp_path / "without" / KEY_FILE).exists()
    log_keys.open_log_keys([], tmp_path / "data", make=True)
    succeeded(vyrox("backup", str(kept), "--with-key"))
    other = Vyrox(tmp_path / "other")
    succeeded(other("restore", str(kept)))
    names = (KEY_FILE, log_keys.KEY_FILE)
    keys = [(tmp_path / "data" / name).read_bytes() for name in names]
    assert [(tmp_path / "other" / name).read_bytes() for name in names] == keys
    for path in (tmp_path / "without").iterdir():
        assert [key for key in keys if key in path.read_bytes()] == []


async def test_backup_of_a_running_service_is_of_one_moment_contract_91(
    data_dir: Path, tmp_path: Path
) -> None:
    """What was accepted before it began is in it, and its chains are whole."""
    accepted: list[str] = []
    async with (
        patient_service(data_dir, CROWDSTRIKE_WEBHOOK_SECRET=SECRET) as service,
        httpx.AsyncClient(base_url=service.ingestion_url, timeout=PATIENCE_S) as client,
    ):

        async def send() -> None:
            for number in range(10_000):
                body = webhook("crowdstrike").body + b" " * number
                sent = webhook("crowdstrike", body)
                answer = await client.post(sent.path, headers=sent.headers, content=body)
                accepted.append(answer.json()["alert_id"])
                if len(accepted) == 20:
                    begun.set()

        begun = asyncio.Event()
        sending = asyncio.create_task(send())
        beginning = asyncio.create_task(begun.wait())
        await asyncio.wait({sending, beginning}, return_when=asyncio.FIRST_COMPLETED)
        assert begun.is_set(), sending.result()
        before = set(accepted)
        manifest = await asyncio.to_thread(
            making.back_up_sqlite, data_dir, tmp_path / "kept", NOTHING, 0.0
        )
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    await restoring.restore_sqlite(tmp_path / "kept", tmp_path / "other", PLAN)
    async with open_database(None, tmp_path / "other") as database:
        found = await database.read(
            lambda connection: set(connection.execute(sa.text("SELECT id FROM alerts")).scalars())
        )
        report = (await verify_tenant(database, TENANTS["crowdstrike"]))["events"]
    assert before <= found
    assert len(found) == manifest.facts.tables["alerts"]
    assert isinstance(report, Report)
    assert report.entries == manifest.facts.chains[0].entries >= len(before)


def flip_a_byte(kept: Path) -> None:
    with (kept / SQLITE_FILE).open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))


def edit(kept: Path, change: Callable[[dict[str, object]], object]) -> None:
    path = kept / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def add_a_file(kept: Path) -> None:
    edit(kept, lambda made: made["files"].append({"name": "../x", "size": 0, "sha256": ""}))  # type: ignore[attr-defined]


def change_head(kept: Path) -> None:
    edit(kept, lambda made: made["facts"]["chains"][0].update(hash="0" * 64))  # type: ignore[index]


def change_count(kept: Path) -> None:
    edit(kept, lambda made: made["facts"]["tables"].update(alerts=9))  # type: ignore[index]


def link_file(kept: Path) -> None:
    (kept / SQLITE_FILE).rename(kept / "elsewhere")
    (kept / SQLITE_FILE).symlink_to(kept / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_byte, "is not the file that the manifest describes"),
        (change_head, "other rows or entries"),
        (change_count, "other rows or entries"),
        (add_a_file, "names files that a backup cannot have"),
        (link_file, "Too many levels of symbolic links"),
        (lambda kept: (kept / SQLITE_FILE).unlink(), "No such file"),
        (lambda kept: (kept / "manifest.json").unlink(), "is not a backup"),
        (lambda kept: (kept / "manifest.json").write_bytes(b"{"), "is not a manifest"),
        (lambda kept: edit(kept, lambda made: made.update(format=2)), "later version"),
    ],
)
def test_restore_refuses_what_is_not_as_the_manifest_says_contract_91(
    tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    succeeded(with_tenant(tmp_path / "data")("backup", str(kept), "--with-key"))
    damage(kept)
    assert reason in refused(Vyrox(other)("restore", str(kept)))
    assert set(content(other)) <= {data_directory.LOCK_FILE}


def test_restore_refuses_a_key_that_does_not_fit_contract_91(tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    succeeded(with_tenant(tmp_path / "data")("backup", str(kept)))
    assert "no key to them" in refused(Vyrox(other)("restore", str(kept)))
    (other / KEY_FILE).write_bytes(Fernet.generate_key())
    assert "the key does not fit" in refused(Vyrox(other)("restore", str(kept)))
    wrong = {"VYROX_ENCRYPTION_KEY": Fernet.generate_key().decode()}
    assert "the key does not fit" in refused(Vyrox(other)("restore", str(kept), env=wrong))
    assert SQLITE_FILE not in content(other)
    succeeded(Vyrox(other)("restore", str(kept), "--key-lost"))


def test_restore_refuses_a_directory_with_data_contract_91(tmp_path: Path) -> None:
    kept, data = tmp_path / "kept", tmp_path / "data"
    vyrox = with_tenant(data)
    succeeded(vyrox("backup", str(kept), "--with-key"))
    before = (data / SQLITE_FILE).read_bytes()
    assert "holds data already (vyrox.db" in refused(vyrox("restore", str(kept)))
    assert (data / SQLITE_FILE).read_bytes() == before
    (tmp_path / "other" / "valkey").mkdir(parents=True)
    assert "holds data" in refused(Vyrox(tmp_path / "other")("restore", str(kept)))
    assert content(tmp_path / "other") == ["valkey"]  # and no lock file


def test_a_lock_file_that_goes_meanwhile_is_no_lock_contract_91(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused restore removes its own, which another process may have opened just before."""

    def remove_and_lock(file: BinaryIO, operation: int) -> None:
        (tmp_path / data_directory.LOCK_FILE).unlink()
        fcntl.flock(file, operation)

    own = SimpleNamespace(**vars(fcntl) | {"flock": remove_and_lock})
    monkeypatch.setattr(data_directory, "fcntl", own)
    with (
        pytest.raises(OperatorError, match="in use"),
        data_directory.owned(data_directory.prepare(tmp_path)),
    ):
        pass


def test_restore_refuses_while_a_service_runs_contract_91(tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    succeeded(with_tenant(tmp_path / "data")("backup", str(kept), "--with-key"))
    with data_directory.owned(data_directory.prepare(other)):
        assert "a service runs on" in refused(Vyrox(other)("restore", str(kept)))


def test_restore_goes_on_after_one_that_was_killed_contract_91(tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    succeeded(with_tenant(tmp_path / "data")("backup", str(kept), "--with-key"))
    (other / restoring.STAGING).mkdir(parents=True)
    (other / restoring.STAGING / SQLITE_FILE).write_bytes(b"half")
    succeeded(Vyrox(other)("restore", str(kept)))
    assert restoring.STAGING not in content(other)


async def test_restore_of_an_earlier_version_migrates_contract_91(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_database, "_connect", store_database._connect.__wrapped__)  # type: ignore[attr-defined]
    data = data_directory.prepare(tmp_path / "data")
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _head: upgrade(config, "0019"))
        async with open_database(None, data):
            pass
    manifest = making.back_up_sqlite(data, tmp_path / "kept", NOTHING, 0.0)
    assert manifest.facts.schema == "0019"
    await restoring.restore_sqlite(tmp_path / "kept", tmp_path / "other", PLAN)
    facts, _ = making.inspect_sqlite(tmp_path / "other" / SQLITE_FILE, None)
    assert facts.schema == HEAD


def test_restore_refuses_a_later_version_contract_91(tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    vyrox = with_tenant(tmp_path / "data")
    succeeded(vyrox("backup", str(kept), "--with-key"))
    with closing(sqlite3.connect(kept / SQLITE_FILE)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    # As that version would have written it.
    [file] = files.describe(kept, [SQLITE_FILE])

    def change(made: dict[str, object]) -> None:
        kept_files = [each for each in made["files"] if each["name"] != SQLITE_FILE]  # type: ignore[attr-defined]
        made["files"] = [*kept_files, {"name": file.name, "size": file.size, "sha256": file.sha256}]
        made["facts"]["schema"] = "9999"  # type: ignore[index]

    edit(kept, change)
    assert "a later version of vyrox made this database" in refused(
        Vyrox(other)("restore", str(kept))
    )


def test_backup_needs_a_new_directory_contract_91(tmp_path: Path) -> None:
    vyrox = with_tenant(tmp_path / "data")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    assert "is not empty" in refused(vyrox("backup", str(tmp_path / "full")))
    assert content(tmp_path / "full") == ["mine"]
    assert "inside the data directory" in refused(vyrox("backup", str(tmp_path / "data" / "kept")))
    (tmp_path / "beside").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for inside in ("beside/../data/kept", "link/kept"):
        assert "inside the data directory" in refused(vyrox("backup", f"{tmp_path}/{inside}"))
    assert "kept" not in content(tmp_path / "data")
    (tmp_path / "empty").mkdir(0o755)
    succeeded(vyrox("backup", str(tmp_path / "empty")))
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700


def test_backup_is_not_written_where_another_user_could_replace_it_contract_91(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    change_owner(theirs, monkeypatch)
    with (
        pytest.raises(OperatorError, match="belongs to another user"),
        files.new_directory(theirs),
    ):
        pytest.fail("it was taken")
    assert content(theirs) == []
    with files.new_directory(tmp_path / "new") as new:
        assert new.exists()


def test_restore_lets_no_manifest_drive_the_terminal(tmp_path: Path) -> None:
    vyrox, kept = with_tenant(tmp_path / "data"), tmp_path / "kept"
    succeeded(vyrox("backup", str(kept), "--with-key"))
    edit(kept, lambda manifest: manifest.update(made_at="\x1b[2Jnow"))
    printed = succeeded(Vyrox(tmp_path / "other")("restore", str(kept)))
    assert printed.startswith(r"restored the backup of \x1b[2Jnow UTC")


def test_backup_of_a_damaged_database_leaves_nothing_contract_91(tmp_path: Path) -> None:
    vyrox = with_tenant(tmp_path / "data")
    path = tmp_path / "data" / SQLITE_FILE
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * 4096 * 20)
    result = vyrox("backup", str(tmp_path / "kept"))
    assert result.exit_code == 1
    assert not (tmp_path / "kept").exists()


PASSWORD = "canary-password"


async def test_backup_beside_postgresql_contract_91(tmp_path: Path, postgres: Postgres) -> None:
    """With a real pg_dump and pg_restore, as the commands print them."""
    url, empty = [await new_postgres_database(postgres) for _ in range(2)]
    kept = tmp_path / "kept"
    key = Fernet.generate_key().decode()
    programs = {"PATH": f"{postgres.programs}:{os.environ['PATH']}"}
    vyrox, other = (
        Vyrox(tmp_path / "none", DATABASE_URL=each, VYROX_ENCRYPTION_KEY=key)
        for each in (with_password(url), with_password(empty))
    )

    def run() -> None:
        succeeded(vyrox("tenant", "add", "acme-corp", "--vendor", "crowdstrike"))
        vyrox.write(_report_a_minute_ago)
        result = vyrox("backup", str(kept))
        assert PASSWORD not in result.output
        assert sorted(path.name for path in kept.iterdir()) == ["manifest.json", "settings.json"]
        dump = succeeded(result).splitlines()[-1]
        subprocess.run(["sh", "-c", dump], check=True, env=programs)
        assert stat.S_IMODE((kept / "database.dump").stat().st_mode) == 0o600

        result = other("restore", str(kept))
        assert result.exit_code == 1
        load = result.stdout.strip()
        assert PASSWORD not in result.output
        subprocess.run(["sh", "-c", load], check=True, env=programs)
        succeeded(other("restore", str(kept)))
        listed = [succeeded(each("tenant", "list", "--json")) for each in (vyrox, other)]
        assert listed[0] == listed[1]
        assert other.write(containers.last_report_age, wall_clock()) is None

    await asyncio.to_thread(run)
    for each in (url, empty):
        await drop_postgres_database(postgres, each)


def _report_a_minute_ago(connection: Connection) -> None:
    containers.report(connection, "a", wall_clock())
    connection.execute(sa.text("UPDATE containers SET seen_at = seen_at - 60"))


def with_password(url: str) -> str:
    plain = url.replace("postgresql+asyncpg://", "postgres://")
    return plain.replace("@", f":{PASSWORD}@", 1)
