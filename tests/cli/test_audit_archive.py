"""`vyrox audit archive`: old events leave the database, and nothing else is lost (contract 103)."""

import asyncio
import io
import json
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.audit import TENANT
from tests.chain.test_verify_approvals import whole_story
from tests.cli import Vyrox, refused, rows_of, succeeded
from tests.ready_schema import copy_file
from tests.service import HMAC_SECRET, running_service
from vyrox.chain import archiving, verify
from vyrox.chain.archived import is_removed
from vyrox.chain.entry import GENESIS
from vyrox.chain.events import event
from vyrox.chain.kinds import EVENT_KINDS
from vyrox.chain.live import verify_newest
from vyrox.chain.log_keys import new_key
from vyrox.chain.nodes import read_entry_hashes
from vyrox.chain.verify import Approvals
from vyrox.chain.writer import append
from vyrox.cli import audit_archive, audit_archiver
from vyrox.settings import Settings
from vyrox.store.database import SQLITE_FILE, open_database
from vyrox.store.tables import archived_hashes, audit_archives, audit_log
from vyrox.tenants.known import is_known, list_known
from vyrox.triage.totals_log import count_log

OLD, NEWER, NOW = 1_706_745_600, 1_735_689_600, 1_750_000_000
"""1 February 2024, 1 January 2025, June 2025."""

pytestmark = pytest.mark.usefixtures("anyio_backend")


KEY = new_key()


@pytest.fixture(autouse=True)
def the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (audit_archive, audit_archiver):
        monkeypatch.setattr(module, "wall_clock", lambda: float(NOW))


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    return Vyrox(data_dir, database_url, VYROX_CHECKPOINT_KEY=KEY)


@pytest.fixture(scope="module")
def of_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database as `filled` makes it, and one with an archive too: most tests copy one."""
    directory = tmp_path_factory.mktemp("filled")
    vyrox = filled(Vyrox(directory, VYROX_CHECKPOINT_KEY=KEY))
    copy_file(directory / SQLITE_FILE, directory / "filled.db")
    with pytest.MonkeyPatch.context() as patch:
        for module in (audit_archive, audit_archiver):
            patch.setattr(module, "wall_clock", lambda: float(NOW))
        archive(vyrox, directory / "archives")
    return directory


@pytest.fixture
def full(vyrox: Vyrox, database_url: str | None, of_module: Path) -> Vyrox:
    """With what `filled` writes."""
    if database_url is not None:
        return filled(vyrox)
    copy_file(of_module / "filled.db", Path(vyrox.env["VYROX_DATA_DIR"]) / SQLITE_FILE)
    return vyrox


@pytest.fixture
def own(data_dir: Path, of_module: Path) -> Vyrox:
    """On SQLite, with an archive of the events 1 to 512 in `of_module`."""
    copy_file(of_module / SQLITE_FILE, data_dir / SQLITE_FILE)
    return Vyrox(data_dir, VYROX_CHECKPOINT_KEY=KEY)


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    return tmp_path / "archives"


@pytest.fixture
def bare(data_dir: Path, of_module: Path) -> Vyrox:
    """On SQLite, what `filled` writes, without an archive."""
    copy_file(of_module / "filled.db", data_dir / SQLITE_FILE)
    return Vyrox(data_dir, VYROX_CHECKPOINT_KEY=KEY)


def accepted(connection: Connection, number: int, at: int, tenant_id: str = TENANT) -> None:
    drafts = [event("alert.accepted", tenant_id, None, alert_id=f"a-{n}") for n in range(number)]
    append(connection, drafts, at)


def counted(connection: Connection) -> None:
    while count_log(connection, TENANT):
        pass


def filled(vyrox: Vyrox) -> Vyrox:
    """Write who approved what, 600 old alerts, and 10 newer ones."""
    vyrox.write(whole_story().append)
    vyrox.write(accepted, 600, OLD)
    vyrox.write(accepted, 10, NEWER)
    vyrox.write(counted)
    return vyrox


def archive(vyrox: Vyrox, directory: Path, *options: str, before: str = "2025-01-01") -> list[Any]:
    printed = succeeded(
        vyrox("audit", "archive", "--before", before, "--out", str(directory), "--json", *options)
    )
    found: list[Any] = json.loads(printed)
    return found


def exported(vyrox: Vyrox, directory: Path) -> Path:
    succeeded(vyrox("audit", "export", TENANT, "--out", str(directory)))
    return directory


def verified(directory: Path, *options: str) -> tuple[int, dict[str, Any]]:
    printed = io.StringIO()
    with redirect_stdout(printed):
        status = verify.main(["--json", *options, str(directory)])
    return status, json.loads(printed.getvalue())


def live(vyrox: Vyrox, tenant_id: str = TENANT) -> tuple[int, str]:
    found = vyrox("audit", "verify", "--live", tenant_id)
    return found.exit_code, found.output


def numbers(connection: Connection, tenant_id: str = TENANT) -> list[int]:
    c = audit_log.c
    query = sa.select(c.sequence).where(c.tenant_id == tenant_id, c.stream == "events")
    return list(connection.execute(query.order_by(c.sequence)).scalars())


def run(connection: Connection, statement: str) -> None:
    connection.execute(sa.text(statement))


def test_what_the_proofs_of_approvals_need_is_never_removed_contract_103() -> None:
    needed = Approvals({}, None)._checks
    assert [kind for kind in needed if is_removed(kind)] == []
    assert {"alert.accepted", "auth.failed"} <= {kind for kind in EVENT_KINDS if is_removed(kind)}
    assert not is_removed("chain.archived")
    assert not is_removed("kind.of_a_later_version")


def test_old_events_leave_the_database_and_all_of_it_verifies_contract_103(
    full: Vyrox, archives: Path, tmp_path: Path
) -> None:
    whole = exported(full, tmp_path / "whole")
    status, before = verified(whole)
    assert (status, before["result"]) == (0, "approvals hold")
    hashes = full.write(lambda c: read_entry_hashes(c, (TENANT, "events"), 0, 600))

    [planned] = rows_of(succeeded(full("audit", "archive", "--before=2025-01-01", "--dry-run")))
    assert planned["EVENTS"] == "1 to 512"
    assert live(full)[0] == 3
    [done] = archive(full, archives)
    assert done["directory"] == str(archives / TENANT / "1-512")
    assert f"{done['rows']:,}" == planned["WOULD GO"]
    assert f"{done['size_bytes']:,}" == planned["BYTES"]
    left = full.write(numbers)
    assert len([each for each in left if each <= 512]) == 512 - done["rows"] > 10

    files = archives / TENANT / "1-512"
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in files.iterdir()} == {
        "audit-2024-01-01.jsonl": 0o600,
        "audit-2024-02-01.jsonl": 0o600,
        "checkpoint-events.txt": 0o600,
        "keys.json": 0o600,
        "verify_audit.py": 0o700,
    }
    status, of_archive = verified(files)
    assert (status, of_archive["result"], of_archive["entries"]) == (0, "verified", 512)

    rest = exported(full, tmp_path / "rest")
    status, of_rest = verified(rest)
    assert (status, of_rest["result"]) == (0, "approvals hold")
    assert of_rest["actions"] == before["actions"]
    events = of_rest["chains"]["events"]
    said_by = left[-1]
    assert (events["first_entry"], events["archived_by"]) == (513, said_by)
    assert events["retained"] == 512 - done["rows"]
    shown = succeeded(full("audit", "verify", str(rest)))
    assert f"entries 1 to 512 are in an archive, as event {said_by} says" in shown

    kept = [f"--checkpoint={whole / f'checkpoint-{stream}.txt'}" for stream in verify.STREAMS]
    status, together = verified(rest, f"--archive={archives / TENANT}", *kept)
    assert (status, together["result"]) == (0, "approvals hold")
    assert together["chains"]["events"]["first_entry"] == 1
    assert together["chains"]["events"]["entries"] == said_by

    status, text = live(full)
    assert status == 3, text
    assert f"entries 1 to 512 are in an archive, as event {said_by} says" in text
    # What an outsider has kept can be proven as before, of any entry and any size.
    assert full.write(lambda c: read_entry_hashes(c, (TENANT, "events"), 0, 600)) == hashes
    entry = ("audit", "prove", TENANT, "5", "--stream", "events")
    proof = json.loads(succeeded(full(*entry)))
    assert proof["hash"] == hashes[4].hex()
    assert archive(full, archives) == []


def test_a_second_archive_follows_the_first_contract_103(
    full: Vyrox,
    archives: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = archive(full, archives)
    full.write(accepted, 300, NOW + 1)
    full.write(counted)  # as a running service does; until then the event of the archive stays
    for module in (audit_archive, audit_archiver):
        monkeypatch.setattr(module, "wall_clock", lambda: NOW + 3600.0)
    second = archive(full, archives, before="2025-06-15T15:30")
    assert [(each["first"], each["last"]) for each in first + second] == [(1, 512), (513, 768)]
    own = archives / TENANT
    assert verified(own / "513-768")[0] == 0  # with its proof
    rest = exported(full, tmp_path / "rest")
    assert verified(rest)[0] == 0
    both = [f"--archive={own / name}" for name in ("1-512", "513-768")]
    for given in (both, [f"--archive={own}"]):
        status, found = verified(rest, *given)
        assert (status, found["chains"]["events"]["first_entry"]) == (0, 1), found
    status, found = verified(rest, both[1])
    assert (status, found["chains"]["events"]["first_entry"]) == (0, 513), found
    # A wrong choice of archives is no fraud: one is missing between them, or one is there twice.
    for given in (both[:1], [both[1], both[0]], [both[0], *both], [both[1], both[1]]):
        assert verify.main(["--json", *given, str(rest)]) == verify.USAGE, given
    assert "does not begin with entry 513 of its chain" in capsys.readouterr().out
    assert live(full)[0] == 3


def test_a_wrong_choice_of_files_is_no_fraud_and_says_what_is_wanted_contract_103(
    own: Vyrox, of_module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = {each: tmp_path / each for each in verify.STREAMS}
    for stream, directory in out.items():
        succeeded(own("audit", "export", TENANT, "--stream", stream, "--out", str(directory)))
    actions, events = str(out["actions"]), str(out["events"])
    archives = of_module / "archives"
    for words, said in (
        ([actions, f"--archive={archives / TENANT}"], f"after it are actions of '{TENANT}': give"),
        ([events, f"--archive={actions}"], "has actions, so it is no archive"),
        ([events, f"--archive={archives}"], f"give one, as '{archives / TENANT}'"),
        ([str(archives / TENANT)], "It holds archives"),
        (["--approvals", events, actions], "the actions are an export of events"),
    ):
        assert verify.main(words) == verify.USAGE, words
        assert said in capsys.readouterr().err
    assert verified(out["events"], f"--archive={archives / TENANT}")[0] == 0


def test_commands_say_that_there_is_an_archive_contract_103(
    full: Vyrox, archives: Path, tmp_path: Path
) -> None:
    assert full("audit", "events", TENANT).stderr == ""
    archive(full, archives)
    said = f"events 1 to 512 of {TENANT} are in an archive"
    for options in ([TENANT], [], [TENANT, "--since=2024-01-01"], [TENANT, "--kind=auth.failed"]):
        assert said in full("audit", "events", *options).stderr
    assert said not in full("audit", "events", TENANT, "--since=2025-06-01").stderr
    assert said not in full("audit", "events", "").stderr


def shown_of(directory: Path) -> dict[str, Any]:
    """Return what the verifier reports of an export, and the approvers in its `keys.json`."""
    status, found = verified(directory)
    assert (status, found["result"]) == (0, "approvals hold"), found
    names = [
        each["approver"] for each in json.loads((directory / "keys.json").read_text())["approvers"]
    ]
    return {**found["chains"]["events"], "actions": found["actions"], "approvers": names}


def test_an_earlier_export_is_continued_after_an_archive_contract_97(
    bare: Vyrox, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that runs each night goes on with the same directory."""
    whole, short = (exported(bare, tmp_path / name) for name in ("whole", "short"))
    before = shown_of(whole)
    assert before["approvers"]
    days = sorted(short.glob("events-*.jsonl"))
    for day in days[1:]:
        day.unlink()  # it ends before the archive does
    archive(bare, archives)
    rest = exported(bare, tmp_path / "rest")
    assert shown_of(rest)["first_entry"] == 513
    after = shown_of(exported(bare, whole))  # a whole export stays whole
    assert (after["first_entry"], after["entries"]) == (1, before["entries"] + 1)
    assert (after["approvers"], after["actions"]) == (before["approvers"], before["actions"])
    assert not (whole / "retained-events.txt").exists()
    kept = {path: path.read_bytes() for path in short.iterdir()}
    text = refused(bare("audit", "export", TENANT, "--out", str(short)))
    assert "in which the events begin after an archive, so nothing was written" in text
    assert {path: path.read_bytes() for path in short.iterdir()} == kept

    bare.write(accepted, 300, NOW + 1)
    bare.write(counted)
    for module in (audit_archive, audit_archiver):
        monkeypatch.setattr(module, "wall_clock", lambda: NOW + 3600.0)
    for directory in (whole, rest):
        exported(bare, directory)
    archive(bare, archives, before="2025-06-15T15:30")
    for directory, first in ((whole, 1), (rest, 513), (tmp_path / "new", 769)):
        found = shown_of(exported(bare, directory))
        assert (found["first_entry"], found["approvers"]) == (first, before["approvers"])
        assert found["actions"] == before["actions"]


def test_what_is_not_the_chain_before_an_archive_is_not_continued_contract_97(
    bare: Vyrox, archives: Path, tmp_path: Path
) -> None:
    """It may be the only proof of a change, or was cut, or its beginning is gone."""
    earlier = exported(bare, tmp_path / "earlier")
    archive(bare, archives)
    old, new = "events-2024-01-01.jsonl", "events-2024-02-01.jsonl"
    lines = (earlier / new).read_bytes().splitlines(keepends=True)
    number = 512 - len((earlier / old).read_bytes().splitlines())
    in_archive = b"".join(lines[:number])
    for name, changed in (
        ("changed", {new: b"".join(lines).replace(b"a-7", b"a-8", 1)}),
        ("removed", {new: b"".join(lines[:7] + lines[8:])}),
        ("twice", {old: (earlier / old).read_bytes() + lines[number]}),
        ("moved", {old: (earlier / old).read_bytes() + lines[0], new: b"".join(lines[1:])}),
        ("emptied", {"events-2023-01-01.jsonl": b""}),
        ("cut", {new: in_archive[:-1], "events-2025-01-01.jsonl": None}),
        ("without its beginning", {old: None}),
        ("without it and with a proof", {old: None, "proof-events.json": b'{"entry":18}'}),
    ):
        there = tmp_path / name
        shutil.copytree(earlier, there)
        for file, content in changed.items():
            (there / file).unlink() if content is None else (there / file).write_bytes(content)
        kept = {path: path.read_bytes() for path in there.iterdir()}
        text = refused(bare("audit", "export", TENANT, "--out", str(there)))
        assert "so nothing was written: keep it" in text, name
        assert {path: path.read_bytes() for path in there.iterdir()} == kept, name

    cut = tmp_path / "cut"
    (cut / new).write_bytes(in_archive)  # between two lines nothing is missing
    assert shown_of(exported(bare, cut))["first_entry"] == 1


def test_a_mistyped_tenant_is_an_error_contract_88(bare: Vyrox) -> None:
    words = ("audit", "archive", "--before=2025-01-01", "--dry-run", "--tenant=acme-crop")
    assert "acme-corp" in refused(bare(*words))


def test_the_service_and_all_tenants_are_archived_contract_103(
    vyrox: Vyrox, archives: Path
) -> None:
    vyrox.write(accepted, 300, OLD)
    vyrox.write(accepted, 300, OLD, "other-corp")
    vyrox.write(lambda c: append(c, [event("auth.failed", "", None) for _ in range(300)], OLD))
    done = archive(vyrox, archives)
    assert [(each["tenant_id"], each["last"], each["rows"]) for each in done] == [
        ("", 256, 256),
        (TENANT, 256, 256),
        ("other-corp", 256, 256),
    ]
    names = sorted(path.name for path in archives.iterdir())
    assert names == [".lock", TENANT, "other-corp", "~service"]
    assert verified(archives / "~service" / "1-256")[0] == 0
    assert live(vyrox, "")[0] == 3
    for each in ("other-corp", TENANT):
        assert vyrox.write(is_known, each)
    vyrox.write(accepted, 300, NEWER, "other-corp")
    assert archive(vyrox, archives, "--tenant", TENANT, before="2025-02-01") == []
    assert set(vyrox.write(list_known)) == {TENANT, "other-corp"}


def test_events_that_the_totals_do_not_have_yet_stay_contract_103(
    vyrox: Vyrox, archives: Path
) -> None:
    vyrox.write(whole_story().append)
    vyrox.write(accepted, 600, OLD)
    assert archive(vyrox, archives) == []
    vyrox.write(counted)
    assert len(archive(vyrox, archives)) == 1


STEPS = [
    pytest.param(place, name, when, marks=[] if is_quick else [pytest.mark.long])
    for place, name, is_quick in (
        (audit_archiver, "write_daily_files", False),
        (audit_archiver.Archiver, "_verified", False),
        (audit_archiver, "move", False),
        (archiving, "_store_hashes", False),
        (archiving, "_record", True),
        (archiving, "_remove", False),
    )
    for when in ("before", "after")
]


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("place", "name", "when"), STEPS)
def test_killed_between_any_two_steps_it_is_run_again_contract_103(
    bare: Vyrox,
    archives: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    name: str,
    when: str,
) -> None:
    """At each point what is there verifies, and the second run ends as the only one would."""
    with monkeypatch.context() as patch:
        patch.setattr(archiving, "PAGE", 100)
        patch.setattr(place, name, dying(getattr(place, name), when))
        with pytest.raises(Killed):
            archive(bare, archives)
        assert live(bare)[0] == 3
        assert verified(exported(bare, tmp_path / "between"))[0] == 0
    archive(bare, archives)
    left = bare.write(numbers)
    assert [each for each in left if each > 512] == list(range(513, left[-1] + 1))
    assert live(bare)[0] == 3
    rest = exported(bare, tmp_path / "rest")
    assert verified(rest, f"--archive={archives / TENANT}")[0] == 0
    assert [path.name for path in (archives / TENANT).iterdir()] == ["1-512"]


def dying(function: Callable[..., Any], when: str) -> Callable[..., Any]:
    if asyncio.iscoroutinefunction(function):

        async def later(*args: object, **named: object) -> object:
            if when == "after":
                await function(*args, **named)
            raise Killed

        return later

    def now(*args: object, **named: object) -> object:
        if when == "after":
            function(*args, **named)
        raise Killed

    return now


def test_an_archive_that_is_gone_or_was_changed_stops_the_removal_contract_103(
    full: Vyrox, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(archiving, "_remove", dying(archiving._remove, "before"))
        with pytest.raises(Killed):
            archive(full, archives)
    left = full.write(numbers)
    command = ("audit", "archive", "--before", "2025-01-01", "--out")
    assert "there is no archive" in refused(full(*command, str(tmp_path / "elsewhere")))
    file = archives / TENANT / "1-512" / "audit-2024-02-01.jsonl"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"a-20", b"a-21", 1))
    assert "nothing was removed" in refused(full(*command, str(archives)))
    file.write_bytes(content)
    (archives / TENANT).rename(tmp_path / "moved")
    (archives / TENANT).symlink_to(tmp_path / "moved")
    (tmp_path / "moved" / "1-512").rename(tmp_path / "real")
    (tmp_path / "moved" / "1-512").symlink_to(tmp_path / "real")
    assert "is a link" in refused(full(*command, str(archives)))
    assert full.write(numbers) == left


def test_one_command_at_a_time_and_what_a_killed_one_left_is_removed_contract_103(
    full: Vyrox, archives: Path
) -> None:
    left = archives / TENANT / ".archive-killed"
    left.mkdir(parents=True)
    (left / "audit-2024-01-01.jsonl").write_text("half")
    command = ("audit", "archive", "--before", "2025-01-01", "--out", str(archives))
    with audit_archiver.alone(archives):
        assert "another vyrox audit archive writes" in refused(full(*command))
    left.mkdir()
    archive(full, archives)
    assert [path.name for path in (archives / TENANT).iterdir()] == ["1-512"]


def test_an_archive_that_the_log_does_not_know_yet_is_used_contract_103(
    bare: Vyrox, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is interrupted, and the next one, whose --before is an age, has more to archive."""
    with monkeypatch.context() as patch:
        patch.setattr(archiving, "record", dying(archiving.record, "before"))
        with pytest.raises(Killed):
            archive(bare, archives)
    command = ("audit", "archive", "--out", str(archives), "--before")
    bare.write(accepted, 400, NEWER)
    bare.write(counted)
    (archives / TENANT / "1-512").rename(archives / TENANT / "1-1280")
    assert "remove it" in refused(bare(*command, "2025-06-01"))
    (archives / TENANT / "1-1280").rename(archives / TENANT / "1-512")
    done = archive(bare, archives, before="2025-06-01")
    assert [(each["first"], each["last"]) for each in done] == [(1, 512), (513, 1024)]
    rest = exported(bare, tmp_path / "rest")
    assert verified(rest, f"--archive={archives / TENANT}")[0] == 0


def test_a_directory_that_others_may_change_is_refused_contract_103(
    bare: Vyrox, archives: Path, tmp_path: Path
) -> None:
    command = ("audit", "archive", "--before", "2025-01-01", "--out", str(archives))
    archives.symlink_to(tmp_path)
    assert "is a link" in refused(bare(*command))
    archives.unlink()
    archives.mkdir()
    archives.chmod(0o777)
    assert "that everybody may write" in refused(bare(*command))
    archives.chmod(0o1777)  # as /tmp
    succeeded(bare(*command))


def test_without_a_key_or_with_a_time_to_come_nothing_is_archived_contract_103(
    data_dir: Path, archives: Path
) -> None:
    vyrox = Vyrox(data_dir)
    vyrox.write(accepted, 300, OLD)
    command = ("audit", "archive", "--out", str(archives), "--before")
    assert "there is no key for checkpoints" in refused(vyrox(*command, "2025-01-01"))
    assert "in the future" in vyrox(*command, "2999-01-01").output
    assert len(vyrox.write(numbers)) == 300


# What an attacker with the database does


def tampered(vyrox: Vyrox, *statements: str) -> str:
    directory = Settings.from_env(vyrox.env).data_dir
    with closing(sqlite3.connect(directory / SQLITE_FILE)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    status, text = live(vyrox)
    assert status == 1, text
    return text


EVENTS = "FROM audit_log WHERE tenant_id = 'acme-corp' AND stream = 'events'"


def test_rows_that_no_event_says_are_archived_are_missed_contract_103(bare: Vyrox) -> None:
    assert "at entry 1 " in tampered(bare, f"DELETE {EVENTS} AND sequence <= 512")
    # Nor is it enough to claim an archive.
    said = "INSERT INTO audit_archives VALUES ('acme-corp', 512)"
    assert "its hash is not with those of the archive" in tampered(bare, said)
    made = (
        "INSERT INTO archived_hashes"
        " VALUES ('acme-corp', 0, zeroblob(8192)), ('acme-corp', 1, zeroblob(8192))"
    )
    text = tampered(bare, f"DELETE {EVENTS} AND sequence <= 513", made)
    assert "its previous_hash is not" in text


def claim(connection: Connection, last: int) -> None:
    """Permit the removal without an event. The trigger that refuses it is gone."""
    connection.execute(sa.text("DROP TRIGGER audit_archives_said"))
    archiving._store_hashes(connection, TENANT, 0, last)
    connection.execute(audit_archives.insert().values(tenant_id=TENANT, last=last))


def test_a_second_archive_does_not_hide_what_was_removed_before_contract_103(
    bare: Vyrox, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was retained of all events before it, so these are verified first."""
    bare.write(claim, 256)
    bare.write(run, f"DELETE {EVENTS} AND sequence <= 256 AND kind LIKE 'alert.%'")
    command = ("audit", "archive", "--before", "2025-01-01", "--out", str(archives))
    assert "no event says that it is in an archive" in refused(bare(*command))
    assert not (archives / TENANT).exists()

    async def not_verified(*_: object) -> None:
        pass

    monkeypatch.setattr(audit_archiver.Archiver, "_require_whole", not_verified)
    succeeded(bare(*command))
    assert "no event chain.archived says that it is elsewhere" in live(bare)[1]
    status, found = verified(exported(bare, tmp_path / "rest"))
    assert (status, found["result"], found["entry"]) == (1, "tampered", 1)


def test_a_proof_that_was_removed_is_not_forgotten_by_the_next_archive_contract_103(
    own: Vyrox, of_module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_archive, "wall_clock", lambda: float(NOW + 86_400))
    own.write(accepted, 600, NOW)
    own.write(counted)
    removed = f"DELETE {EVENTS} AND kind = 'approval.decided'"
    assert "not the ones that an event" in tampered(own, removed)
    command = ("audit", "archive", "--before", "2025-06-16", "--out", str(of_module / "archives"))
    assert "Nothing was removed" in refused(own(*command))


def test_an_archive_of_true_hashes_that_no_event_names_is_refused_contract_103(bare: Vyrox) -> None:
    bare.write(claim, 512)
    text = tampered(bare, f"DELETE {EVENTS} AND sequence <= 512 AND kind LIKE 'alert.%'")
    assert "no event says that it is in an archive" in text


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (f"DELETE {EVENTS} AND kind = 'approval.decided'", "not the ones that an event"),
        (f"DELETE {EVENTS} AND sequence <= 512", "not the ones that an event"),
        (f"DELETE {EVENTS} AND kind = 'chain.archived'", "no event says"),
        (f"DELETE {EVENTS} AND sequence = 600", "at entry 600 "),
        (
            "UPDATE audit_log SET entry = replace(entry, 'jane', 'mary')"
            " WHERE kind = 'approver.added' AND sequence <= 512",
            "its hash is not that of its content",
        ),
        ("UPDATE archived_hashes SET hashes = zeroblob(8192) WHERE position = 0", "another entry"),
        ("UPDATE archived_hashes SET hashes = zeroblob(8192) WHERE position = 1", "previous_hash"),
        ("DELETE FROM archived_hashes WHERE position = 0", "its hash is not with those"),
        ("DELETE FROM audit_archives", "at entry "),
        ("INSERT INTO audit_archives VALUES ('acme-corp', 768)", "its hash is not with those"),
    ],
)
def test_a_change_after_an_archive_is_found_contract_103(
    own: Vyrox, statement: str, reason: str
) -> None:
    assert reason in tampered(own, statement)


def test_a_hash_of_a_removed_event_that_was_changed_is_found_contract_103(
    own: Vyrox, data_dir: Path
) -> None:
    with closing(sqlite3.connect(data_dir / SQLITE_FILE)) as connection, connection:
        connection.execute("DROP TRIGGER archived_hashes_no_update")
        place = "archived_hashes WHERE position = 0"
        [(hashes,)] = connection.execute(f"SELECT hashes FROM {place}").fetchall()  # noqa: S608
        changed = hashes[: 32 * 200] + bytes(32) + hashes[32 * 201 :]
        connection.execute("UPDATE archived_hashes SET hashes = ? WHERE position = 0", (changed,))
    status, text = live(own)
    assert (status, "it says that the archive has other entries" in text) == (1, True), text


def test_only_the_archive_of_this_log_with_its_checkpoint_counts_contract_103(
    bare: Vyrox, of_module: Path, archives: Path, tmp_path: Path
) -> None:
    """What lies at its place may be of another log, or have no proof of its end."""
    command = ("audit", "archive", "--before", "2025-01-01", "--out", str(archives))
    other = filled(Vyrox(tmp_path, VYROX_CHECKPOINT_KEY=KEY))
    other.write(accepted, 1, NOW)
    archive(other, archives)
    target = archives / TENANT / "1-512"
    assert verified(target)[0] == 0
    assert "nothing was removed" in refused(bare(*command))
    shutil.rmtree(target)
    shutil.copytree(of_module / "archives" / TENANT / "1-512", target)
    (target / "checkpoint-events.txt").rename(tmp_path / "checkpoint")
    assert verified(target, "--links-only")[0] == 0
    assert "nothing was removed" in refused(bare(*command))
    assert bare.write(numbers)[-1] > 610
    (tmp_path / "checkpoint").rename(target / "checkpoint-events.txt")
    assert len(archive(bare, archives)) == 1


def test_a_forged_event_of_an_archive_is_found_contract_103(
    own: Vyrox, of_module: Path, tmp_path: Path
) -> None:
    """A person who may write to the database may append, but not say another hash."""
    forged = event(
        "chain.archived",
        TENANT,
        None,
        first=1,
        last=512,
        last_hash=GENESIS,
        root="",
        retained=0,
        retained_sha256="",
    )
    own.write(lambda c: append(c, [forged], NOW))
    rest = exported(own, tmp_path / "rest")
    for given in ([], [f"--archive={of_module / 'archives' / TENANT}"]):
        status, found = verified(rest, *given)
        assert (status, found["result"]) == (1, "tampered")
        assert "another hash than it has" in found["reason"]
    assert "another hash than it has" in live(own)[1]


def test_retained_events_of_an_export_are_all_that_the_event_lists_contract_103(
    own: Vyrox, tmp_path: Path
) -> None:
    rest = exported(own, tmp_path / "rest")
    file = rest / "retained-events.txt"
    lines = file.read_bytes().splitlines(keepends=True)
    swapped = [lines[1], lines[0], *lines[2:]]
    for changed in (lines[1:], lines[:-1], swapped, [*lines, lines[-1]], [], [b"x\n", *lines]):
        file.write_bytes(b"".join(changed))
        status, found = verified(rest)
        # Nothing is said of the entries before a number that the file gives.
        assert (status, found["result"], found["entry"]) == (1, "tampered", 1), found
    file.write_bytes(b"".join([*lines, b"999 {}\n"]))
    found = verified(rest)[1]
    assert (found["line"], found["reason"][:14]) == (len(lines) + 1, "of event 999: ")
    file.unlink()
    status, found = verified(rest)
    assert (status, found["result"]) == (0, "range holds")
    assert any("who approved" in each for each in found["not_proven"])


def test_the_triggers_let_go_only_what_is_in_an_archive_contract_103(
    full: Vyrox, archives: Path
) -> None:
    full.write(accepted, 300, OLD, "other-corp")
    archive(full, archives, "--tenant", TENANT)
    full.write(accepted, 1, NOW)
    left = full.write(numbers)
    for statement in (
        f"DELETE {EVENTS} AND sequence = 513",
        f"DELETE {EVENTS} AND sequence <= 512",
        f"DELETE {EVENTS} AND kind = 'chain.archived'",
        "DELETE FROM audit_log WHERE stream = 'actions'",
        "DELETE FROM audit_log WHERE tenant_id = 'other-corp' AND sequence = 1",
        "DELETE FROM audit_archives",
        # Nor is a removal permitted of which no event says that it may be.
        "INSERT INTO audit_archives VALUES ('acme-corp', 256)",
        "INSERT INTO audit_archives VALUES ('acme-corp', 768)",
        "INSERT INTO audit_archives VALUES ('acme-corp', -1)",
        "INSERT INTO audit_archives VALUES ('other-corp', 512)",
        "UPDATE audit_archives SET last = 768",
        "DELETE FROM archived_hashes",
        "UPDATE archived_hashes SET position = 9",
    ):
        with pytest.raises(sa.exc.IntegrityError):
            full.write(run, statement)
    assert full.write(numbers) == left


def test_hashes_that_somebody_has_put_there_before_are_refused_contract_103(
    full: Vyrox, archives: Path
) -> None:
    planted = {"tenant_id": TENANT, "position": 1, "hashes": bytes(8192)}
    full.write(lambda c: c.execute(archived_hashes.insert().values(planted)).rowcount)
    command = ("audit", "archive", "--before", "2025-01-01", "--out", str(archives))
    assert "other hashes than the events" in refused(full(*command))
    assert len(full.write(numbers)) > 610


async def test_the_newest_entries_are_checked_from_the_archive_on_contract_103(
    own: Vyrox, data_dir: Path
) -> None:
    async with open_database(None, data_dir) as database:
        left = await database.read(numbers)
        assert await verify_newest(database, TENANT, "events") == left[-1] - 512


@pytest.mark.long
async def test_a_reader_far_away_proves_who_approved_contract_103(
    own: Vyrox, data_dir: Path, of_module: Path, tmp_path: Path, valkey_url: str
) -> None:
    settings = {"VYROX_CHECKPOINT_KEY": KEY, "REDIS_URL": valkey_url}
    async with running_service(data_dir, **settings) as service:
        out = tmp_path / "rest"
        command = ("audit", "export", TENANT, "--out", str(out), "--url", service.proxy_url)
        secret = {"VYROX_HMAC_SECRET": HMAC_SECRET}
        succeeded(await asyncio.to_thread(lambda: own(*command, env=secret)))
    _, found = verified(out)
    assert (found["result"], found["chains"]["events"]["first_entry"]) == ("approvals hold", 513)
    proven = [each for each in found["actions"] if each.get("not_proven") is None]
    assert len(proven) == 4
    archive_of = f"--archive={of_module / 'archives' / TENANT}"
    _, found = verified(out, archive_of)
    assert found["chains"]["events"]["first_entry"] == 1
