"""`vyrox alert`: listed, shown, finished and followed (contract 50)."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.cli import Vyrox, drives_no_terminal, refused, succeeded
from tests.cli.test_queue import HOSTILE, alert, enqueue, peeked, shown_events
from tests.polling import PATIENCE_S
from tests.service import ROOT, environment
from vyrox.alerts.consumer import AlertConsumer
from vyrox.alerts.intake import delivery, store
from vyrox.alerts.listing import ListedAlert
from vyrox.cli.alert_text import list_lines
from vyrox.clock import wall_clock
from vyrox.models import NormalizedAlert
from vyrox.settings import Settings
from vyrox.store.database import open_database
from vyrox.store.redis import connect
from vyrox.store.tables import incidents, verdicts
from vyrox.triage.score import Reason, Verdict

pytestmark = pytest.mark.usefixtures("anyio_backend")

NEEDED_WIDTHS: Final = (50, 80)

VERDICT: Final = Verdict(
    score=93.5,
    band="urgent",
    reasons=(Reason("credentials.comsvcs", "credentials", 0.9, "comsvcs.dll, minidump"),),
    lowered=(),
    families={"credentials": 0.9},
    floor="x",
    suppression="sup-1",
)


@pytest.fixture
def vyrox(data_dir: Path, database_url: str | None, redis_url: str) -> Vyrox:
    return Vyrox(data_dir, database_url, REDIS_URL=redis_url)


@pytest.fixture
def on_sqlite(data_dir: Path, redis_url: str) -> Vyrox:
    return Vyrox(data_dir, REDIS_URL=redis_url)


def listed(vyrox: Vyrox, *args: str) -> list[ListedAlert]:
    page = msgspec.json.decode(succeeded(vyrox("alert", "list", "--json", *args)))
    return msgspec.convert(page["alerts"], list[ListedAlert])


def ids(vyrox: Vyrox, *args: str) -> list[str]:
    return [each.id for each in listed(vyrox, *args)]


def take(vyrox: Vyrox, tenant_id: str = "acme", count: int = 1) -> None:
    """Deliver alerts to a consumer that does not acknowledge them."""

    async def run() -> None:
        settings = Settings.from_env(vyrox.env)
        assert settings.redis_url is not None
        async with (
            open_database(settings.database_url, settings.data_dir) as database,
            connect(settings.redis_url) as client,
        ):
            await AlertConsumer(client, database).read(tenant_id, "worker", count)

    asyncio.run(run())


def test_alerts_are_listed_by_each_filter_newest_first_contract_50(vyrox: Vyrox) -> None:
    one = alert(severity="critical", hostname="DC-01", username="CORP\\Jane")
    two = alert(severity="low", hostname="ws-02", username="bob")
    three = alert("beta", severity="critical", hostname="dc-01", username="bob")
    for each in (one, two, three):
        enqueue(vyrox, each)
    take(vyrox)
    finish = ("alert", "finish", two.id, "--verdict", "benign", "--by", "ann")
    succeeded(vyrox(*finish))

    newest_first = sorted((one.id, two.id, three.id), reverse=True)  # all of one second
    assert ids(vyrox) == newest_first
    for args, expected in {
        ("--tenant", "acme"): {one.id, two.id},
        ("--severity", "critical"): {one.id, three.id},
        ("--severity", "critical", "--severity", "low"): {one.id, two.id, three.id},
        ("--host", "Dc-01"): {one.id, three.id},
        ("--user", "BOB"): {two.id, three.id},
        ("--delivery", "taken"): {one.id},
        ("--delivery", "queued"): {three.id},
        ("--delivery", "done"): {two.id},
        ("--delivery", "dead"): set(),
        ("--verdict", "none"): {one.id, three.id},
        ("--verdict", "benign"): {two.id},
        ("--verdict", "malicious"): set(),
        ("--since", "1m"): set(),
        ("--since", "2023-11-14T22:13:20"): {one.id, two.id, three.id},
    }.items():
        assert set(ids(vyrox, *args)) == expected, args
    assert "acmee is not onboarded" in refused(vyrox("alert", "list", "--tenant", "acmee"))


def test_pages_of_a_list_have_each_alert_once_contract_50(vyrox: Vyrox) -> None:
    enqueue(vyrox, *(alert() for _ in range(7)))
    for args in ((), ("--delivery", "queued")):
        found: list[str] = []
        before: tuple[str, ...] = ()
        while True:
            printed = succeeded(vyrox("alert", "list", "--json", "--limit", "3", *args, *before))
            page = msgspec.json.decode(printed)
            found += [each["id"] for each in page["alerts"]]
            if page["before"] is None:
                break
            before = ("--before", page["before"])
        assert found == ids(vyrox)
    wrong = vyrox("alert", "list", "--before", "x")
    assert wrong.exit_code == 2


def test_list_without_redis_does_not_tell_queued_from_taken_contract_50(
    on_sqlite: Vyrox,
) -> None:
    enqueue(on_sqlite, alert())
    on_sqlite.env["REDIS_URL"] = "unix:///nowhere/valkey.sock"
    assert [each.delivery for each in listed(on_sqlite)] == ["unfinished"]
    assert [each.delivery for each in listed(on_sqlite, "--delivery", "unfinished")] == [
        "unfinished"
    ]
    assert refused(on_sqlite("alert", "list", "--delivery", "taken")).startswith("Redis")


def test_finish_ends_the_entry_and_records_who_and_why_contract_50(vyrox: Vyrox) -> None:
    first, second, other = alert(), alert(), alert()
    enqueue(vyrox, first, second, other)
    take(vyrox)

    args = ("--verdict", "malicious", "--note", "mimikatz\0", "--by", "ann")
    unknown = refused(vyrox("alert", "finish", first.id, "nothing", *args))
    assert unknown == "there is no alert nothing; see: vyrox alert list"
    assert {each.verdict for each in listed(vyrox)} == {None}

    printed = succeeded(vyrox("alert", "finish", first.id, second.id, first.id, *args, "--json"))

    assert msgspec.json.decode(printed) == [
        {
            "alert_id": each.id,
            "tenant_id": "acme",
            "verdict": "malicious",
            "previous": None,
            "delivery": "done",
        }
        for each in (first, second)
    ]
    assert peeked(vyrox) == [other]
    assert {each.id for each in listed(vyrox, "--delivery", "done")} == {first.id, second.id}
    [shown] = [each for each in listed(vyrox) if each.id == second.id]
    assert (shown.verdict, shown.verdict_by, shown.verdict_note) == (
        "malicious",
        "ann",
        "mimikatz",
    )

    changed = succeeded(vyrox("alert", "finish", first.id, "--verdict", "benign"))
    assert changed == f"{first.id}  done, benign, was malicious\n"
    made = [each for each in shown_events(vyrox) if each["kind"] == "alert.verdict"]
    assert [(each["alert_id"], each["previous"], each["verdict"]) for each in made] == [
        (first.id, None, "malicious"),
        (second.id, None, "malicious"),
        (first.id, "malicious", "benign"),
    ]
    assert (made[0]["by"], made[0]["note"]) == ("ann", "mimikatz")
    assert made[2]["by"]


def test_finish_without_redis_is_recorded_and_the_consumer_skips_it_contract_50(
    on_sqlite: Vyrox, redis_url: str
) -> None:
    done, left = alert(), alert()
    enqueue(on_sqlite, done, left)
    on_sqlite.env["REDIS_URL"] = "unix:///nowhere/valkey.sock"
    result = on_sqlite("alert", "finish", done.id, "--verdict", "unclear")
    assert result.exit_code == 0
    assert result.stderr.startswith("vyrox: recorded; the queue is unavailable")
    on_sqlite.env["REDIS_URL"] = redis_url
    take(on_sqlite, count=2)
    assert peeked(on_sqlite) == [left]


def test_show_has_every_field_and_what_triage_found_contract_50(vyrox: Vyrox) -> None:
    one = msgspec.structs.replace(
        alert(severity="high", process_cmdline="x" * 5000, device_id="dev-1"), notes=("replaced",)
    )
    enqueue(vyrox, one)
    vyrox.write(_judge, one)

    shown = msgspec.json.decode(succeeded(vyrox("alert", "show", one.id, "--raw", "--json")))

    assert {name: shown[name] for name in NormalizedAlert.__struct_fields__} == (
        msgspec.json.decode(msgspec.json.encode(one))
    )
    assert (shown["score"], shown["band"], shown["incident"]) == (93.5, "urgent", 7)
    assert shown["triage"] == msgspec.json.decode(msgspec.json.encode(VERDICT))
    assert shown["raw"] == one.id  # the body that `enqueue` has stored
    assert (shown["is_contained"], shown["actions"]) == (False, [])
    text = succeeded(vyrox("alert", "show", one.id))
    assert re.search(r"^device id +dev-1$", text, re.M)
    assert re.search(r"^received at .* UTC$", text, re.M)
    assert re.search(r"^score +94 of 100$", text, re.M)
    assert re.search(r"^incident +acme-7$", text, re.M)
    assert "credentials 0.90\n  0.90 credentials.comsvcs\n       comsvcs.dll, minidump\n" in text
    assert "hidden by sup-1" in text
    assert "because x" in text
    assert "(5000 characters; --json prints all)" in text
    assert one.id not in text.partition("contained this device")[2]
    assert refused(vyrox("alert", "show", "x")) == "there is no alert x; see: vyrox alert list"


def test_alert_in_ocsf_is_a_finding_with_its_reasons_contract_50(vyrox: Vyrox) -> None:
    one, two = alert(severity="high", hostname="ws-1"), alert()
    enqueue(vyrox, one, two)
    vyrox.write(_judge, one)

    finding = msgspec.json.decode(succeeded(vyrox("alert", "show", one.id, "--ocsf")))

    assert (finding["class_uid"], finding["finding_info"]["uid"]) == (2004, one.id)
    assert finding["metadata"]["correlation_uid"] == "acme/incident/7"
    assert (finding["risk_score"], finding["unmapped"]["band"]) == (94, "urgent")
    assert "credentials.comsvcs 0.90" in finding["finding_info"]["desc"]
    unjudged = msgspec.json.decode(succeeded(vyrox("alert", "show", two.id, "--ocsf")))
    assert "risk_score" not in unjudged
    wrong = vyrox("alert", "show", "x", "--ocsf")
    assert refused(wrong) == "there is no alert x; see: vyrox alert list"
    [row] = [line for line in succeeded(vyrox("alert", "list")).splitlines() if one.id in line]
    assert {"urgent", "acme-7"} <= set(row.split())


def _judge(connection: object, one: NormalizedAlert) -> None:
    connection.execute(  # type: ignore[attr-defined]
        incidents.insert().values(
            tenant_id="acme",
            number=7,
            status="open",
            score=93.5,
            band="urgent",
            opened_at=0,
            first_at=0,
            last_at=0,
            updated_at=0,
            alerts=1,
            story=b"{}",
        )
    )
    connection.execute(  # type: ignore[attr-defined]
        verdicts.insert().values(
            alert_id=one.id,
            tenant_id="acme",
            incident=7,
            score=93.5,
            band="urgent",
            happened_at=0,
            judged_at=0,
            fingerprint=b"",
            verdict=msgspec.json.encode(VERDICT),
        )
    )


def test_text_of_an_attacker_drives_no_terminal_contract_50(on_sqlite: Vyrox) -> None:
    names = ("hostname", "username", "process_name", "process_cmdline", "raw_id", "technique")
    hostile = alert(**dict.fromkeys(names, HOSTILE))
    enqueue(on_sqlite, hostile)
    succeeded(on_sqlite("alert", "finish", hostile.id, "--verdict", "benign", "--note", HOSTILE))
    for args in (("list",), ("show", hostile.id, "--raw")):
        for form in ((), ("--json",)):
            printed = succeeded(on_sqlite("alert", *args, *form))
            assert drives_no_terminal(printed)
    [one] = listed(on_sqlite)
    assert one.hostname == HOSTILE
    ordinary = alert(
        severity="critical",
        hostname="dc-01.corp.example.com",
        username="CORP\\administrator",
        process_name="C:\\Windows\\System32\\rundll32.exe",
        technique="T1003.001",
    )
    enqueue(on_sqlite, ordinary)
    [shown] = [each for each in listed(on_sqlite) if each.id == ordinary.id]
    assert list(list_lines(shown, 80))[1:-1] == [
        "  dc-01.corp.example.com  T1003.001  CORP\\administrator  rundll32.exe"
    ]
    assert list(list_lines(shown, 50))[1:-1] == [
        "  dc-01.corp.example.com  T1003.001",
        "  CORP\\administrator  rundll32.exe",
    ]
    for width in NEEDED_WIDTHS:
        lines = list(list_lines(one, width))
        assert all(line.isprintable() and len(line) <= width for line in lines)
        assert one.id in lines[-1]


@asynccontextmanager
async def watching(vyrox: Vyrox, *args: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `vyrox alert watch` until the block ends; it has begun when the block begins."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vyrox", "alert", "watch", *args),
        cwd=ROOT,
        env=environment(Path(vyrox.env["VYROX_DATA_DIR"]), {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert b"watching" in await process.stderr.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


CAT: Final = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read() + b'\\n')"


async def test_watch_runs_the_command_for_each_alert_and_goes_on_contract_50(
    data_dir: Path,
) -> None:
    vyrox = Vyrox(data_dir)
    out = data_dir / "a b;c"  # no shell reads this name
    script = f"{sys.executable} -c \"{CAT}; sys.exit(3)\" '{out}'"
    async with open_database(None, data_dir) as database:

        async def arrive(one: NormalizedAlert) -> None:
            await database.write(store, [delivery(one, b"{}", wall_clock())], 0.0)

        await arrive(alert(severity="critical"))  # before: not shown
        async with watching(vyrox, "--json", "--min-severity", "high", "--exec", script) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            wanted = [alert(severity="critical"), alert(severity="high", hostname=HOSTILE)]
            await arrive(wanted[0])
            await arrive(alert(severity="medium"))
            await arrive(wanted[1])
            async with asyncio.timeout(PATIENCE_S):
                lines = [await process.stdout.readline() for _ in wanted]
                errors = [await process.stderr.readline() for _ in wanted]
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE_S):
                assert await process.communicate() == (b"", b"")
            assert process.returncode == 130
    printed = [msgspec.json.decode(line, type=ListedAlert) for line in lines]
    assert [each.id for each in printed] == [each.id for each in wanted]
    assert all(line.decode().removesuffix("\n").isprintable() for line in lines)
    assert errors == [
        f"vyrox: the command exited with 3, for alert {each.id}\n".encode() for each in wanted
    ]
    given = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
    assert [(each["id"], each["hostname"]) for each in given] == [
        (each.id, each.hostname) for each in wanted
    ]


@pytest.mark.parametrize("command", ["", "/nowhere/program x", "'", "   "])
def test_watch_refuses_a_command_that_cannot_run_contract_50(
    on_sqlite: Vyrox, command: str
) -> None:
    assert on_sqlite("alert", "watch", "--exec", command).exit_code == 2


def test_watch_of_an_unknown_tenant_is_an_error_contract_50(on_sqlite: Vyrox) -> None:
    """It would be silent for ever."""
    succeeded(on_sqlite("tenant", "add", "acme", "--vendor", "generic"))
    assert "did you mean acme?" in refused(on_sqlite("alert", "watch", "--tenant", "acmee"))
