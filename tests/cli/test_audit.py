"""`vyrox audit`: what it shows of the events, what it exports, and what it finds changed."""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import Result
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from tests.audit import action
from tests.cli import Vyrox, refused, succeeded
from tests.polling import PATIENCE_S
from tests.proxy import NOWHERE, OTHER_SECRET, TENANT
from tests.service import HMAC_SECRET, ROOT, environment, running_service
from vyrox.chain.entry import SERVICE, Draft
from vyrox.chain.events import event
from vyrox.chain.verify import verify_path
from vyrox.chain.writer import append
from vyrox.cli.options import user_name
from vyrox.clock import wall_clock
from vyrox.crypto import sign, verify
from vyrox.store.database import open_database
from vyrox.tenants.guard_rails import refuse_other_hosts

# For the asynchronous fixtures that these synchronous tests use.
pytestmark = pytest.mark.usefixtures("anyio_backend")

DAY_S: Final = 86_400
MIDNIGHT: Final = 1_704_153_600
"""2024-01-02T00:00:00Z."""

Entry = dict[str, object]


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None) -> Vyrox:
    """The command on each of the two databases."""
    return Vyrox(data_dir, database_url, VYROX_HMAC_SECRET=HMAC_SECRET)


@pytest.fixture
def on_sqlite(data_dir: Path) -> Vyrox:
    return Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)


@pytest.fixture
def out(data_dir: Path) -> Path:
    """A directory that does not exist yet."""
    return data_dir / "exports" / "acme"


def refusal(number: int, tenant_id: str = TENANT) -> Draft:
    return event("execute.refused", tenant_id, f"request-{number}", status=400)


def fill(vyrox: Vyrox, days: int = 3, tenant_id: str = TENANT) -> None:
    """Append four actions on each day from MIDNIGHT on, the first and the last at its borders."""

    def write(connection: Connection) -> None:
        for day in range(days):
            begin = MIDNIGHT + day * DAY_S
            for number, now in enumerate((begin, begin + 1, begin + 1, begin + DAY_S - 1)):
                append(connection, [action(f"host-{day}-{number}", tenant_id)], now)

    vyrox.write(write)


def lines_of(printed: str) -> list[Entry]:
    return [msgspec.json.decode(line) for line in printed.splitlines()]


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def shown(vyrox: Vyrox, *args: str) -> list[object]:
    """Return the request ids of the events that are shown."""
    printed = succeeded(vyrox("audit", "events", "--json", *args))
    return [line["request_id"] for line in lines_of(printed)]


def test_events_are_shown_in_order_of_time_and_as_wanted_contract_27(vyrox: Vyrox) -> None:
    now = int(wall_clock())
    for number, (age_s, tenant_id, kind) in enumerate(
        [
            (90 * DAY_S, "acme-corp", "tenant.changed"),
            (5 * 3600, "initech", "auth.failed"),
            (4 * 3600, SERVICE, "auth.failed"),
            (3600, "acme-corp", "auth.failed"),
            (60, "acme-corp", "execute.refused"),
            (10, "initech", "execute.refused"),
        ]
    ):
        vyrox.write(append, [event(kind, tenant_id, str(number))], now - age_s)
    vyrox.write(append, [action("no-event")], now)
    assert shown(vyrox) == ["0", "1", "2", "3", "4", "5"]
    for args, expected in {
        ("--tenant", "acme-corp"): ["0", "3", "4"],
        ("--tenant", ""): ["2"],
        ("--kind", "auth.failed"): ["1", "2", "3"],
        ("--kind", "auth"): [],
        ("--tenant", "acme-corp", "--kind", "auth.failed"): ["3"],
        ("--since", "45s"): ["5"],
        ("--since", "30m"): ["4", "5"],
        ("--since", "2h"): ["3", "4", "5"],
        ("--since", "2d"): ["1", "2", "3", "4", "5"],
        ("--since", "999999999d"): ["0", "1", "2", "3", "4", "5"],
        ("--since", "2h", "--kind", "auth.failed"): ["3"],
    }.items():
        assert (args, shown(vyrox, *args)) == (args, expected)


def test_events_take_a_time_in_iso_8601(on_sqlite: Vyrox) -> None:
    for number in range(3):
        on_sqlite.write(append, [refusal(number)], MIDNIGHT + number)
    for since, count in {
        "2024-01-02": 3,
        "20240102": 3,
        "2024-01-02T00:00:01": 2,
        "2024-01-02T00:00:01Z": 2,
        "2024-01-02T00:00:01.9Z": 2,
        "2024-01-02T01:00:02+01:00": 1,
        "2024-01-01T23:00:02-01:00": 1,
        "2024-01-02T00:00:03": 0,
        "0001-01-01": 3,
        "9999-12-31T23:59:59": 0,
    }.items():
        assert (since, len(shown(on_sqlite, "--since", since))) == (since, count)


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["events", "--since", ""], id="reject_empty_since"),
        pytest.param(["events", "--since", "yesterday"], id="reject_word"),
        pytest.param(["events", "--since", "1w"], id="reject_unit"),
        pytest.param(["events", "--since", "1.5h"], id="reject_fraction"),
        pytest.param(["events", "--since", "-1h"], id="reject_negative"),
        pytest.param(["events", "--since", "\u0661h"], id="reject_other_digits"),
        pytest.param(["events", "--since", "9999999999d"], id="reject_too_many_digits"),
        pytest.param(["events", "--since", "2024-13-01"], id="reject_month"),
        pytest.param(["events", "--tenant", "a b"], id="reject_tenant"),
        pytest.param(["events", "--tenant", os.fsdecode(b"\xff")], id="reject_tenant_no_utf_8"),
        pytest.param(["events", "--kind", os.fsdecode(b"\xff")], id="reject_kind_no_utf_8"),
        pytest.param(["events", "--kind", "a\0"], id="reject_kind_with_nul"),
        pytest.param(["verify"], id="reject_nothing_to_verify"),
        pytest.param(["verify", "x", "--live", TENANT], id="reject_two_things_to_verify"),
        pytest.param(["verify", "--live", "../x"], id="reject_live_path"),
        pytest.param(["verify", "--live", ""], id="reject_live_service_without_entries"),
        pytest.param(["export", TENANT], id="reject_no_directory"),
        pytest.param(["export", "a/b", "--out", "x"], id="reject_export_of_no_tenant"),
    ],
)
def test_audit_refuses_wrong_usage(on_sqlite: Vyrox, args: list[str]) -> None:
    result = on_sqlite.migrated()("audit", *args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: vyrox audit")


def test_events_in_json_are_the_entries_themselves_contract_31(on_sqlite: Vyrox) -> None:
    """So they verify; and whatever they hold, no line of them drives a terminal."""
    hostile = "\x00\n\x1b[31m\x7f\x9b31m\u2028\u202e\U0001f512\u00e9"
    for number in range(3):
        told = event(
            "auth.failed", TENANT, f"request-{number}", claimed=hostile, by=None, at=number
        )
        on_sqlite.write(append, [told], MIDNIGHT)
    printed = succeeded(on_sqlite("audit", "events", "--json"))
    assert printed.replace("\n", "").isprintable()
    lines = lines_of(printed)
    assert [(line["claimed"], line["by"], line["at"]) for line in lines] == [
        (hostile, None, number) for number in range(3)
    ]
    verified = on_sqlite("audit", "verify", "--links-only", "-", stdin=printed.encode())
    assert verified.exit_code == 0


def test_events_for_people_have_a_line_for_each_member(on_sqlite: Vyrox) -> None:
    on_sqlite.write(append, [event("auth.failed", SERVICE, "trace\x1b[2J", claimed="x")], MIDNIGHT)
    on_sqlite.write(
        append, [event("tenant.changed", TENANT, None, change="added", is_new=True)], MIDNIGHT + 1
    )
    printed = succeeded(on_sqlite("audit", "events"))
    assert printed.replace("\n", "").isprintable()
    assert printed.splitlines() == [
        "2024-01-02 00:00:00  (service)  auth.failed",
        r"    request: trace\x1b[2J",
        "    claimed: x",
        "2024-01-02 00:00:01  acme-corp  tenant.changed",
        "    change: added",
        "    is_new: yes",
    ]
    none = on_sqlite("audit", "events", "--kind", "none.such")
    assert (succeeded(none), none.stderr) == ("", "no events match\n")
    line = refused(on_sqlite("audit", "events", "--tenant", "acme-crop"))
    assert line.startswith("acme-crop is not onboarded and has sent no alert")


def test_events_are_all_shown_however_many_contract_27(on_sqlite: Vyrox) -> None:
    drafts = [refusal(number) for number in range(2500)]
    on_sqlite.write(append, drafts, MIDNIGHT)
    assert shown(on_sqlite) == [f"request-{number}" for number in range(2500)]


@asynccontextmanager
async def following(data_dir: Path, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `vyrox audit events --follow` until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vyrox", "audit", "events", "--follow", *args),
        cwd=ROOT,
        env=environment(data_dir, {"VYROX_ENCRYPTION_KEY": Fernet.generate_key().decode()}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # A job in the background of a shell, as the tests may be, is deaf to Ctrl-C by inheritance.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def next_line(process: asyncio.subprocess.Process) -> Entry:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        line: Entry = msgspec.json.decode(await process.stdout.readline())
    return line


async def test_events_are_followed_until_ctrl_c_contract_27(data_dir: Path) -> None:
    """Whatever the clock of the service says: each event once, and no other."""
    async with open_database(None, data_dir) as database:
        await database.write(append, [refusal(0)], wall_clock() - 600)
        async with following(data_dir, "--json", "--kind", "execute.refused") as process:
            assert (await next_line(process))["request_id"] == "request-0"
            for ages_s in (
                {TENANT: 600},  # a service whose clock is ten minutes slow
                {TENANT: 0, "initech": -600},  # and a container whose clock is far ahead
                {TENANT: 1, "globex": 3},  # and another whose clock is a little behind
            ):
                for tenant_id, age_s in ages_s.items():
                    drafts = [event("auth.failed", SERVICE, None), refusal(age_s, tenant_id)]
                    await database.write(append, drafts, wall_clock() - age_s)
                lines = [await next_line(process) for _ in ages_s]
                assert {line["request_id"] for line in lines} == {
                    f"request-{age_s}" for age_s in ages_s.values()
                }
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE_S):
                assert await process.communicate() == (b"", b"")
            assert process.returncode == 130


def test_changes_of_tenants_are_told_contract_27(vyrox: Vyrox, data_dir: Path) -> None:
    """In the tenant's own chain, by the commands that make them; no secret is in it."""
    field_map = data_dir / "map.json"
    field_map.write_bytes(b'{"raw_id":"a","hostname":"b","vendor_severity":"c"}')
    succeeded(vyrox("tenant", "add", "acme-corp", "--vendor", "generic"))
    succeeded(vyrox("tenant", "add", "initech", "--vendor", "crowdstrike"))
    succeeded(vyrox("tenant", "field-map", "acme-corp", str(field_map)))
    succeeded(vyrox("tenant", "rotate", "acme-corp"))
    succeeded(vyrox("tenant", "remove", "acme-corp", "--yes"))
    printed = succeeded(vyrox("audit", "events", "--json", "--kind", "tenant.changed"))
    told = [(line["tenant_id"], line["source"], line["change"]) for line in lines_of(printed)]
    assert sorted(told, key=repr) == sorted(
        [
            ("acme-corp", "generic", "added"),
            ("acme-corp", None, "policy: other_hosts refuse"),
            ("initech", "crowdstrike", "added"),
            ("initech", None, "policy: other_hosts refuse"),
            ("acme-corp", "generic", "field map changed"),
            ("acme-corp", "generic", "rotated"),
            ("acme-corp", "generic", "removed"),
        ],
        key=repr,
    )
    for tenant_id in ("acme-corp", "initech"):
        assert vyrox("audit", "verify", "--links-only", "--live", tenant_id).exit_code == 0


@pytest.fixture
def exported(on_sqlite: Vyrox, out: Path) -> Path:
    """A directory with three daily files and the verifier."""
    fill(on_sqlite)
    succeeded(on_sqlite("audit", "export", TENANT, "--out", str(out)))
    return out


def forms(directory: Path) -> dict[str, bytes]:
    """Return the export in `directory` as a JSON array and as lines."""
    lines = b"".join(path.read_bytes() for path in sorted(directory.glob("*.jsonl")))
    return {"array": b"[" + b",".join(lines.splitlines()) + b"]", "lines": lines}


@pytest.mark.parametrize("form", ["array", "lines", "directory", "stdin"])
@pytest.mark.parametrize(
    ("flags", "is_tampered", "code"),
    [
        pytest.param((), False, 3, id="allow_without_a_checkpoint"),
        pytest.param(("--links-only",), False, 0, id="allow_links_only"),
        pytest.param((), True, 1, id="reject_tampered"),
        pytest.param(("--links-only",), True, 1, id="reject_tampered_links_only"),
    ],
)
def test_verify_exits_with_the_documented_code(
    on_sqlite: Vyrox,
    exported: Path,
    form: str,
    flags: tuple[str, ...],
    is_tampered: bool,
    code: int,
) -> None:
    if is_tampered:
        [_, middle, _] = sorted(exported.glob("*.jsonl"))
        middle.write_bytes(middle.read_bytes().replace(b"host-1-2", b"host-1-9"))
    stdin, path = b"", str(exported)
    if form == "stdin":
        stdin, path = forms(exported)["lines"], "-"
    elif form != "directory":
        file = exported.parent / form
        file.write_bytes(forms(exported)[form])
        path = str(file)
    result = on_sqlite("audit", "verify", *flags, path, stdin=stdin)
    assert result.exit_code == code
    if is_tampered:
        assert "at entry 7 (" in result.stdout
        assert "it was changed" in result.stdout
    else:
        assert "12 entries" in result.stdout
        assert "LINKS HOLD" in result.stdout
        assert "NOT SHOWN" in result.stdout
    as_json = on_sqlite("audit", "verify", "--json", *flags, path, stdin=stdin)
    assert as_json.exit_code == code
    assert msgspec.json.decode(as_json.stdout)["status"] == code


@pytest.mark.parametrize("path", ["nothing-here", "empty-directory", "empty-file"])
def test_verify_of_nothing_is_no_success(on_sqlite: Vyrox, data_dir: Path, path: str) -> None:
    (data_dir / "empty-directory").mkdir()
    (data_dir / "empty-file").touch()
    result = on_sqlite("audit", "verify", "--links-only", str(data_dir / path))
    assert result.exit_code == 2
    assert result.stdout == ""


def drop_triggers(connection: Connection) -> None:
    """Do what somebody with the database's own password can."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
        return
    names = connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
    for name in names.scalars().all():
        connection.execute(sa.text(f"DROP TRIGGER {name}"))


def tamper(connection: Connection, *statements: str, entry: bytes = b"x") -> None:
    drop_triggers(connection)
    for statement in statements:
        given = {"entry": entry} if ":entry" in statement else {}
        connection.execute(sa.text(statement), given)


TAMPERED: Final[dict[str, tuple[int, tuple[str, ...]]]] = {
    "reject_changed_entry": (
        3,
        (
            "UPDATE audit_log SET entry = (SELECT entry FROM audit_log AS other "
            "WHERE stream = 'actions' AND sequence = 4) WHERE stream = 'actions' AND sequence = 3",
        ),
    ),
    "reject_entry_that_is_no_json": (
        3,
        ("UPDATE audit_log SET entry = :entry WHERE stream = 'actions' AND sequence = 3",),
    ),
    "reject_first_deleted": (
        1,
        ("DELETE FROM audit_log WHERE stream = 'actions' AND sequence = 1",),
    ),
    "reject_deleted": (
        5,
        ("DELETE FROM audit_log WHERE stream = 'actions' AND sequence = 5",),
    ),
    "reject_moved": (
        2,
        (
            "UPDATE audit_log SET sequence = 99 WHERE stream = 'actions' AND sequence = 2",
            "UPDATE audit_log SET sequence = 2 WHERE stream = 'actions' AND sequence = 3",
            "UPDATE audit_log SET sequence = 3 WHERE stream = 'actions' AND sequence = 99",
        ),
    ),
    "reject_renumbered": (
        12,
        ("UPDATE audit_log SET sequence = 13 WHERE stream = 'actions' AND sequence = 12",),
    ),
    "reject_inserted_before_all": (
        1,
        (
            "INSERT INTO audit_log SELECT tenant_id, stream, -1, kind, timestamp, hash, entry "
            "FROM audit_log WHERE stream = 'actions' AND sequence = 1",
        ),
    ),
    "reject_inserted_behind_all": (
        13,
        (
            "INSERT INTO audit_log SELECT tenant_id, stream, 13, kind, timestamp, hash, entry "
            "FROM audit_log WHERE stream = 'actions' AND sequence = 1",
        ),
    ),
    "reject_other_hash_beside_it": (
        12,
        ("UPDATE audit_log SET hash = 'x' WHERE stream = 'actions' AND sequence = 12",),
    ),
    "reject_other_time_beside_it": (
        4,
        ("UPDATE audit_log SET timestamp = 0 WHERE stream = 'actions' AND sequence = 4",),
    ),
    "reject_other_kind_beside_it": (
        4,
        ("UPDATE audit_log SET kind = 'PROCESS_KILL' WHERE stream = 'actions' AND sequence = 4",),
    ),
    "reject_another_tenants_chain": (
        1,
        (
            "DELETE FROM audit_log WHERE stream = 'actions' AND tenant_id = 'acme-corp'",
            "UPDATE audit_log SET tenant_id = 'acme-corp' WHERE tenant_id = 'initech'",
        ),
    ),
}
"""Where the verifier must find it, and how the rows are changed."""


@pytest.mark.parametrize("case", TAMPERED)
def test_verify_live_names_what_somebody_changed_contract_30(on_sqlite: Vyrox, case: str) -> None:
    check_found(on_sqlite, case)


@pytest.mark.parametrize("case", ["reject_changed_entry", "reject_deleted"])
def test_verify_live_names_what_somebody_changed_in_each_database_contract_30(
    vyrox: Vyrox, case: str
) -> None:
    check_found(vyrox, case)


def check_found(vyrox: Vyrox, case: str) -> None:
    number, statements = TAMPERED[case]
    fill(vyrox)
    if case == "reject_another_tenants_chain":
        fill(vyrox, tenant_id="initech")
    vyrox.write(append, [refusal(0)], MIDNIGHT)
    vyrox.write(tamper, *statements)
    result = vyrox("audit", "verify", "--live", TENANT)
    assert result.exit_code == 1
    tampered, *others = result.stdout.splitlines()
    assert tampered.startswith(
        f"TAMPERED WITH at entry {number} (tenant 'acme-corp', stream actions): "
    )
    assert others[0].startswith("LINKS HOLD: 1 entries (tenant 'acme-corp', stream events)")
    as_json = vyrox("audit", "verify", "--live", TENANT, "--json")
    assert as_json.exit_code == 1
    actions, events = lines_of(as_json.stdout)
    assert (actions["status"], actions["entry"], events["status"]) == (1, number, 3)


def test_verify_live_of_what_nobody_changed_contract_30(vyrox: Vyrox) -> None:
    fill(vyrox)
    vyrox.write(append, [refusal(0), refusal(1)], MIDNIGHT)
    vyrox.write(append, [refusal(2, SERVICE)], MIDNIGHT)
    for flags, code in (((), 3), (("--links-only",), 0)):
        result = vyrox("audit", "verify", *flags, "--live", TENANT)
        assert result.exit_code == code
        found = [line for line in result.stdout.splitlines() if line.startswith("LINKS HOLD")]
        assert [line.partition(", last hash")[0] for line in found] == [
            "LINKS HOLD: 12 entries (tenant 'acme-corp', stream actions)",
            "LINKS HOLD: 2 entries (tenant 'acme-corp', stream events)",
        ]
        as_json = vyrox("audit", "verify", *flags, "--json", "--live", TENANT)
        assert as_json.exit_code == code
        assert [(line["entries"], line["status"]) for line in lines_of(as_json.stdout)] == [
            (12, code),
            (2, code),
        ]
    assert vyrox("audit", "verify", "--live", "").exit_code == 3


def test_verify_live_that_cannot_look_says_so(on_sqlite: Vyrox, data_dir: Path) -> None:
    """With another exit code than for what was tampered with."""
    (data_dir / "vyrox.db").write_bytes(b"no database, whatever its name\n" * 100)
    result = on_sqlite("audit", "verify", "--live", TENANT)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("vyrox: not checked: ")


def test_events_that_were_changed_are_one_line_not_a_traceback(on_sqlite: Vyrox) -> None:
    on_sqlite.write(append, [refusal(0)], MIDNIGHT)

    def change(entry: bytes) -> None:
        on_sqlite.write(partial(tamper, entry=entry), "UPDATE audit_log SET entry = :entry")

    change(b"[1")
    assert refused(on_sqlite("audit", "events")).startswith(
        "an event cannot be read: it was changed"
    )
    assert succeeded(on_sqlite("audit", "events", "--json")) == "[1\n"
    for entry in (b"{}", b'{"timestamp":99999999999999}', b'{"timestamp":"now","kind":null}'):
        change(entry)
        assert "(service)" in succeeded(on_sqlite("audit", "events"))


DAILY: Final = ["audit-2024-01-02.jsonl", "audit-2024-01-03.jsonl", "audit-2024-01-04.jsonl"]


def embedded(directory: Path, *flags: str) -> subprocess.CompletedProcess[bytes]:
    """Run the verifier that is in the export, as an auditor does: with nothing of ours."""
    return subprocess.run(
        [sys.executable, "-I", str(directory / "verify_audit.py"), *flags, str(directory)],
        cwd="/",
        env={},
        capture_output=True,
        check=False,
    )


def test_export_of_events_says_how_to_check_approvals_contract_30(vyrox: Vyrox, out: Path) -> None:
    accepted = event("alert.accepted", TENANT, None, alert_id="a-0")
    vyrox.write(append, [accepted], 1_800_000_000)
    done = vyrox("audit", "export", TENANT, "--stream", "events", "--out", str(out))
    succeeded(done)
    assert f"{out}/verify_audit.py --approvals ACTIONS {out}\n" in done.stderr
    assert "--approvals" not in done.stdout


def test_export_is_daily_files_and_a_verifier_contract_30(vyrox: Vyrox, out: Path) -> None:
    fill(vyrox)
    fill(vyrox, tenant_id="initech")
    printed = succeeded(vyrox("audit", "export", TENANT, "--out", str(out)))
    assert printed == f"12 entries in {out}; verify with: python3 -I {out}/verify_audit.py {out}\n"
    written = files_of(out)
    assert sorted(written) == [*DAILY, "verify_audit.py"]
    previous_hash = "0" * 64
    for day, name in enumerate(DAILY):
        lines = written[name].splitlines(keepends=True)
        entries = [msgspec.json.decode(line) for line in lines]
        assert [entry["host"] for entry in entries] == [f"host-{day}-{n}" for n in range(4)]
        assert entries[0]["previous_hash"] == previous_hash
        previous_hash = entries[-1]["hash"]
    assert written["verify_audit.py"] == (ROOT / "verify_audit.py").read_bytes()
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (out, *out.iterdir())}
    assert modes == {
        out.name: 0o700,
        "verify_audit.py": 0o700,
        **dict.fromkeys(DAILY, 0o600),
    }
    assert embedded(out).returncode == 3
    assert embedded(out, "--links-only").returncode == 0

    (out / DAILY[1]).write_bytes(written[DAILY[1]].replace(b"host-1-2", b"host-1-9"))
    found = embedded(out, "--links-only")
    assert found.returncode == 1
    assert b"at entry 7 (audit-2024-01-03.jsonl, line 3)" in found.stdout
    (out / DAILY[1]).unlink()
    assert embedded(out, "--links-only").returncode == 1


@pytest.mark.parametrize("name", ["verify_audit.py", DAILY[1]])
def test_export_follows_no_link_contract_48(on_sqlite: Vyrox, exported: Path, name: str) -> None:
    """Who may write to the directory must not choose what is overwritten, or read."""
    target = exported.parent / "target"
    (exported / name).rename(target)
    before = target.read_bytes()
    (exported / name).symlink_to(target)
    result = on_sqlite("audit", "export", TENANT, "--out", str(exported))
    assert target.read_bytes() == before
    if name == "verify_audit.py":
        succeeded(result)
        assert not (exported / name).is_symlink()
    else:
        assert str(exported / name) in refused(result)


def test_export_adds_to_an_earlier_one_contract_30(on_sqlite: Vyrox, out: Path) -> None:
    fill(on_sqlite, days=2)
    succeeded(on_sqlite("audit", "export", TENANT, "--out", str(out)))
    before = files_of(out)
    succeeded(on_sqlite("audit", "export", TENANT, "--out", str(out)))
    assert files_of(out) == before
    now = MIDNIGHT + 2 * DAY_S - 1
    on_sqlite.write(append, [action("later")], now)
    on_sqlite.write(append, [action("next day")], now + 1)
    succeeded(on_sqlite("audit", "export", TENANT, "--out", str(out)))
    after = files_of(out)
    assert after[DAILY[0]] == before[DAILY[0]]
    assert after[DAILY[1]].startswith(before[DAILY[1]])
    assert verify_path(str(out)).entries == 10


def rewrite(connection: Connection) -> None:
    """Write the tenant's chain again without its first entry, with valid links."""
    tamper(connection, "DELETE FROM audit_log")
    append(connection, [action("host-0-1"), action("host-0-2")], MIDNIGHT)


@pytest.mark.parametrize("other", ["other_tenant", "rewritten", "cut", "stray_file"])
def test_export_leaves_files_that_are_not_its_own(
    on_sqlite: Vyrox, exported: Path, other: str
) -> None:
    """They may be all that shows that the log was changed since: no link check can."""
    before = files_of(exported)
    tenant_id = TENANT
    if other == "other_tenant":
        tenant_id = "initech"
        on_sqlite.write(append, [action("host", tenant_id)], MIDNIGHT + 9 * DAY_S)
    elif other == "rewritten":
        on_sqlite.write(rewrite)
    elif other == "cut":
        on_sqlite.write(tamper, "DELETE FROM audit_log WHERE sequence = 12")
    else:
        before["audit-x.jsonl"] = b""
        (exported / "audit-x.jsonl").touch()
    line = refused(on_sqlite("audit", "export", tenant_id, "--out", str(exported)))
    assert "is not the beginning of this export, so nothing was written" in line
    assert files_of(exported) == before


def break_times(connection: Connection) -> None:
    """Let an entry of the second day be of the first, and give the next two no time."""
    change = "UPDATE audit_log SET entry = :entry WHERE sequence = 6"
    tamper(connection, change, entry=b'{"timestamp":1704153601}')
    tamper(connection, change.replace("6", "7"), entry=b"{")
    tamper(connection, change.replace("6", "8"), entry=b'{"timestamp":-1}')


def test_export_holds_what_was_tampered_with_too(vyrox: Vyrox, out: Path) -> None:
    """Every row, for the verifier to find; none is left out, and none overwrites another."""
    fill(vyrox)
    vyrox.write(break_times)
    succeeded(vyrox("audit", "export", TENANT, "--out", str(out)))
    written = files_of(out)
    assert sorted(written) == [*DAILY, "verify_audit.py"]
    assert sum(written[name].count(b"\n") for name in DAILY) == 12
    assert written[DAILY[0]].count(b"\n") == 7
    assert embedded(out).returncode == 1


def test_a_tenant_without_a_log_is_an_error_with_the_nearest_contract_88(
    on_sqlite: Vyrox, out: Path
) -> None:
    """An auditor must not take a mistyped name for a tenant without actions."""
    on_sqlite.migrated().write(refuse_other_hosts, TENANT, 1.0)
    result = on_sqlite("audit", "export", TENANT, "--out", str(out), "--stream=actions")
    assert result.exit_code == 2
    assert f"{TENANT} has no entries: nothing to verify" in result.stderr
    assert files_of(out) == {}
    mistyped = f"x{TENANT}"
    for words, exit_code in (
        (["export", mistyped, "--out", str(out)], 1),
        (["verify", "--live", mistyped], 2),
        (["key", mistyped], 1),
        (["prove", mistyped, "--old-size=0"], 1),
        (["reader", mistyped, "--list"], 1),
    ):
        assert f"did you mean {TENANT}?" in refused(on_sqlite("audit", *words), exit_code), words
    # What a mistyped request has written can be read.
    on_sqlite.write(append, [action("host", mistyped)], MIDNIGHT)
    succeeded(on_sqlite("audit", "export", mistyped, "--out", str(out)))


def test_what_is_not_permitted_names_the_user(
    on_sqlite: Vyrox, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root runs commands by a wrapper, as the user of the service."""

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    text = refused(on_sqlite("audit", "export", TENANT, "--out", str(out)))
    assert text == f"{out}: Permission denied (for the user {user_name()}, who runs this)"


def test_export_of_one_entry_says_so(on_sqlite: Vyrox, data_dir: Path) -> None:
    directory = data_dir / "with space"
    on_sqlite.write(append, [action("host")], MIDNIGHT)
    printed = succeeded(on_sqlite("audit", "export", TENANT, "--out", str(directory)))
    assert printed.startswith(f"1 entry in {directory}; ")
    assert printed.endswith(f"python3 -I '{directory}/verify_audit.py' '{directory}'\n")


def test_export_that_cannot_write_is_one_line(on_sqlite: Vyrox, data_dir: Path) -> None:
    (data_dir / "file").touch()
    result = on_sqlite("audit", "export", TENANT, "--out", str(data_dir / "file"))
    assert result.exit_code == 2
    line = refused(on_sqlite("audit", "export", TENANT, "--out", str(data_dir / "file" / "out")))
    assert line.endswith("Not a directory")


async def run(vyrox: Vyrox, *args: str, **env: str) -> Result:
    """Run a command in a thread, beside the server that answers it."""
    return await asyncio.to_thread(vyrox, *args, env=env)


async def test_export_from_the_service_is_that_of_the_database_contract_26(
    data_dir: Path, out: Path
) -> None:
    on_sqlite = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)
    await asyncio.to_thread(fill, on_sqlite)
    succeeded(await run(on_sqlite, "audit", "export", TENANT, "--out", str(out)))
    over_http = data_dir / "over-http"
    args = ["audit", "export", TENANT, "--out", str(over_http), "--url"]
    async with running_service(data_dir, REDIS_URL=NOWHERE) as service:
        succeeded(await run(on_sqlite, *args, service.proxy_url + "/"))
        args[4] = str(data_dir / "refused")
        wrong = await run(on_sqlite, *args, service.proxy_url, VYROX_HMAC_SECRET=OTHER_SECRET)
        public = await run(on_sqlite, *args, service.ingestion_url)
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    told = await run(on_sqlite, "audit", "events", "--kind", "audit.exported", "--json")
    daily = {
        name: content for name, content in files_of(over_http).items() if name in files_of(out)
    }
    assert daily == files_of(out)
    assert refused(wrong) == f"{service.proxy_url} answered 401"
    assert refused(public) == f"{service.ingestion_url} answered 404"
    assert files_of(data_dir / "refused") == {}
    assert len(lines_of(succeeded(told))) == 2  # a stream each


Answer = Callable[[bytes], bytes]
"""Returns what a listener sends for the head of a request."""


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """Run a listener that answers each request and hangs up; give its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def chunked(body: bytes, *, last: bool = True, kind: bytes = b"application/x-ndjson") -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind
    return head + b"%x\r\n%b\r\n" % (len(body), body) + (b"0\r\n\r\n" if last else b"")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"", "RemoteProtocolError", id="reject_no_answer"),
        pytest.param(b"no HTTP\r\n\r\n", "RemoteProtocolError", id="reject_no_http"),
        pytest.param(
            b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", "answered 410", id="reject_stale"
        ),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n",
            "answered 302",
            id="reject_redirect",
        ),
        pytest.param(
            chunked(b"<html>\n", kind=b"text/html"),
            "something else than an export",
            id="reject_html",
        ),
        pytest.param(chunked(b'{"timestamp":1}\n', last=False), "incomplete", id="reject_no_end"),
        pytest.param(chunked(b'{"timestamp":1}\n{"ti'), "is incomplete", id="reject_half_a_line"),
    ],
)
async def test_export_that_does_not_arrive_leaves_everything_as_it_was(
    data_dir: Path, out: Path, answer: bytes, reason: str
) -> None:
    """An earlier export keeps its files, and nothing is taken for a whole one."""
    on_sqlite = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)
    await asyncio.to_thread(fill, on_sqlite)
    succeeded(await run(on_sqlite, "audit", "export", TENANT, "--out", str(out)))
    before = files_of(out)
    async with answering(lambda _head: answer) as url:
        result = await run(on_sqlite, "audit", "export", TENANT, "--out", str(out), "--url", url)
    assert reason in refused(result)
    assert files_of(out) == before


async def test_export_over_http_is_signed_for_tenant_and_time_contract_26(
    data_dir: Path, out: Path
) -> None:
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        return chunked(b'{"timestamp":1704153600}\n')

    on_sqlite = Vyrox(data_dir, VYROX_HMAC_SECRET=HMAC_SECRET)
    async with answering(answer) as url:
        args = ["audit", "export", TENANT, "--out", str(out), "--url", url]
        succeeded(await run(on_sqlite, *args, HTTP_PROXY="http://127.0.0.1:1"))
    events, head = heads
    assert events.startswith(f"GET /audit/export?tenant_id={TENANT}&stream=events ".encode())
    request_line, *lines = head.decode("ascii").strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert request_line == f"GET /audit/export?tenant_id={TENANT} HTTP/1.1"
    assert headers["accept"] == "application/x-ndjson"
    timestamp = headers["x-vyrox-timestamp"]
    assert abs(int(timestamp) - wall_clock()) <= 30
    assert headers["x-vyrox-signature"] == sign(f"{TENANT}:{timestamp}", HMAC_SECRET)
    assert verify(f"{TENANT}:{timestamp}", headers["x-vyrox-signature"], HMAC_SECRET)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://["])
def test_export_from_nowhere_is_one_line(on_sqlite: Vyrox, out: Path, url: str) -> None:
    line = refused(on_sqlite("audit", "export", TENANT, "--out", str(out), "--url", url))
    assert line.startswith(f"{url}: ")


async def test_export_over_http_shows_how_far_it_is_on_a_terminal(
    data_dir: Path, out: Path
) -> None:
    master, slave = os.openpty()
    async with answering(lambda _head: chunked(b'{"timestamp":1}\n' * 1000)) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vyrox", "audit", "export", TENANT),
            *("--out", str(out), "--url", url),
            cwd=ROOT,
            env=environment(data_dir, {"TERM": "xterm"}),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=slave,
        )
        assert await process.wait() == 0
    os.close(slave)
    assert b"16.0 kB" in os.read(master, 100_000)
    os.close(master)


def test_export_can_be_moved(on_sqlite: Vyrox, exported: Path, data_dir: Path) -> None:
    """The verifier goes with the files, and needs neither Vyrox nor where they were."""
    moved = data_dir / "moved"
    shutil.move(exported, moved)
    assert embedded(moved, "--links-only").returncode == 0
