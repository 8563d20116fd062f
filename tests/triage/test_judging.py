"""Verdicts and incidents as rows, on both databases (contract 52 to 54)."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.audit import events
from tests.quick_files import QUICK_FILES
from tests.triage.stored import NOW, TENANT, incident, judged, new, numbers_of, stored_rows, waiting
from vyrox.alerts.dead_letters import mark_dead
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database, open_database
from vyrox.store.tables import (
    host_devices,
    host_names,
    incident_keys,
    incidents,
    verdicts,
)
from vyrox.triage import rows
from vyrox.triage.judged import Judged
from vyrox.triage.judging import store_verdicts
from vyrox.triage.loading import load
from vyrox.triage.score import judge
from vyrox.triage.story import MAX_NAMED
from vyrox.triage.trying import Read, group

SHADOWS = "vssadmin delete shadows /all /quiet"


async def test_store_verdicts_ends_the_delivery_with_the_verdict_contract_52(
    database: Database,
) -> None:
    alert = new(command=SHADOWS)
    assert (await judged(database, alert)).judged == 1
    assert await waiting(database) == 0
    [number] = await numbers_of(database, alert)
    found = await incident(database, number)
    assert (found.band, found.status, found.alerts) == ("urgent", "open", 1)
    assert found.due_at == alert.timestamp
    [opened] = [each for each in await events(database, TENANT) if each["kind"] != "alert.accepted"]
    assert (opened["kind"], opened["incident"]) == ("incident.opened", f"{TENANT}-{number}")


async def test_store_verdicts_twice_changes_nothing_contract_52(database: Database) -> None:
    alert = new(command=SHADOWS)
    await judged(database, alert)
    before = await incident(database, 1)
    again = await database.write(store_verdicts, TENANT, [(alert, judge(alert))], 0.0)
    assert again.judged == 0
    assert await incident(database, 1) == before


async def test_alerts_of_one_story_join_over_batches_contract_54(database: Database) -> None:
    first = new(0, r"winrs.exe -r:srv-9 cmd /c C:\Temp\a.exe")
    second = new(10, hostname="srv-2", device_id="device-2")
    third = new(60, r"wmic /node:srv-2 process call create C:\Temp\a.exe")
    for each in (first, second, third):
        await judged(database, each)
    assert await numbers_of(database, first, second, third) == [1, 1, 1]
    merged = await incident(database, 2)
    assert (merged.status, merged.resolution, merged.merged_into) == ("closed", "merged", 1)
    assert (await incident(database, 1)).alerts == 3


async def test_two_tenants_never_share_an_incident_contract_54(database: Database) -> None:
    mine, other = new(command=SHADOWS), new(1, SHADOWS, tenant_id="other")
    await judged(database, mine)
    await judged(database, other, tenant_id="other")
    assert (await incident(database, 1)).alerts == 1
    assert (await incident(database, 1, "other")).alerts == 1


async def test_a_close_opens_when_its_band_rises_contract_54(database: Database) -> None:
    quiet = new(0, "ipconfig /all")
    await judged(database, quiet)
    closed = await incident(database, 1)
    assert (closed.status, closed.resolution, closed.due_at) == ("closed", "below_review", None)
    await judged(database, new(60, SHADOWS))
    opened = await incident(database, 1)
    assert (opened.status, opened.resolution, opened.alerts) == ("open", None, 2)


async def close_as(database: Database, number: int, resolution: str, at: float) -> None:
    change = incidents.update().where(incidents.c.number == number)
    values = change.values(status="closed", resolution=resolution, closed_at=at, due_at=None)
    await database.write(lambda connection: connection.execute(values).rowcount)


async def test_what_a_merge_must_move_is_bounded_contract_55(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (" ".join(f"w{n}x{k}" for k in range(24)) for n in range(20))
    await judged(database, *(new(n, rf"psexec \\h {each}") for n, each in enumerate(words)))
    k = incident_keys
    named = sa.select(sa.func.count()).where(k.c.key.startswith("names:"))
    assert await database.read(lambda c: c.execute(named).scalar_one()) == MAX_NAMED

    monkeypatch.setattr("vyrox.triage.incidents.MAX_MERGED", 2)
    far = {"hostname": "srv-2", "device_id": "device-2"}
    many = [new(100, **far), new(101, **far), new(102, **far)]
    await judged(database, *many)
    linking = new(103, vendor_group="g"), new(104, vendor_group="g", **far)
    await judged(database, *linking)
    assert await numbers_of(database, *many, *linking) == [2, 2, 2, 1, 1]


async def test_another_tool_of_the_same_family_reopens_a_benign_close_contract_54(
    database: Database,
) -> None:
    hives = r"reg save HKLM\SAM C:\temp\s"
    dump = r"rundll32.exe C:\windows\system32\comsvcs.dll, MiniDump 624 C:\temp\l.dmp full"
    await judged(database, new(0, dump, vendor_severity="CRITICAL"))
    await close_as(database, 1, "benign_expected", NOW)
    await judged(database, new(3000, dump, vendor_severity="CRITICAL"))
    assert (await incident(database, 1)).status == "closed"
    await judged(database, new(3600, hives))
    assert (await incident(database, 1)).status == "open"


async def test_a_merge_keeps_that_a_person_has_the_incident_contract_54(
    database: Database,
) -> None:
    """The older incident survives a merge, also if triage had closed it."""
    await judged(database, new(0, "ipconfig /all"))
    await judged(database, new(10, SHADOWS, hostname="srv-2", device_id="device-2"))
    change = incidents.update().where(incidents.c.number == 2)
    acknowledged = change.values(status="acknowledged", assignee="ann")
    await database.write(lambda connection: connection.execute(acknowledged).rowcount)
    await judged(database, new(60, r"wmic /node:srv-2 process call create C:\Temp\a.exe"))
    found = await incident(database, 1)
    assert (found.status, found.resolution, found.assignee) == ("acknowledged", None, "ann")
    opened = [each for each in await events(database, TENANT) if each["kind"] == "incident.opened"]
    assert [each["incident"] for each in opened] == [f"{TENANT}-2", f"{TENANT}-1"]


async def test_nothing_new_after_a_benign_close_stays_closed_contract_54(
    database: Database,
) -> None:
    first = new(0, SHADOWS)
    await judged(database, first)
    await close_as(database, 1, "benign_expected", first.timestamp)
    later = new(20 * 3600, SHADOWS)
    await judged(database, later)
    same = await incident(database, 1)
    assert (same.status, same.alerts) == ("closed", 2)
    news = new(21 * 3600, "rundll32 comsvcs.dll, MiniDump 624 C:\\Temp\\l.dmp full")
    await judged(database, news)
    assert (await incident(database, 1)).status == "open"
    assert [each["kind"] for each in await events(database, TENANT)][-1] == "incident.reopened"


async def test_a_new_incident_names_the_old_one_of_the_host_contract_54(
    database: Database,
) -> None:
    await judged(database, new(0, SHADOWS))
    await close_as(database, 1, "malicious", new(0).timestamp)
    later = new(3 * 86_400, SHADOWS)
    await judged(database, later)
    assert await numbers_of(database, later) == [2]
    assert (await incident(database, 2)).earlier == 1


async def test_an_alert_without_a_row_gets_no_verdict(database: Database) -> None:
    alert = new()
    stored = await database.write(store_verdicts, TENANT, [(alert, judge(alert))], 0.0)
    assert stored.judged == 0


@pytest.mark.parametrize("text", ["\0", "\ud800", "x" * 5000, "\u202e\x1b[31m"])
async def test_any_text_is_stored_contract_53(database: Database, text: str) -> None:
    fields = ("hostname", "device_id", "username", "process_name", "technique", "vendor_group")
    members: dict[str, Any] = dict.fromkeys(fields, text)
    alert = new(0.0, f"psexec {text}", **members)
    await stored_rows(database, [new()])
    try:
        await stored_rows(database, [alert])
    except UnicodeEncodeError:
        return  # no such text comes out of an adapter
    assert (await judged(database, alert)).judged == 1


async def test_a_dead_letter_is_judged_too_contract_52(database: Database) -> None:
    alert = new()
    await stored_rows(database, [alert])
    await database.write(mark_dead, TENANT, alert.id, 5, alert.timestamp)
    assert (await judged(database, alert)).judged == 1


STORY = st.lists(
    st.tuples(
        st.sampled_from(["ws-1", "ws-2", "WS-1.acme.local", None, "srv-2"]),
        st.sampled_from(["d1", "d2", None]),
        st.sampled_from(["whoami", SHADOWS, "wmic /node:srv-2 process call create a.exe"]),
        st.sampled_from([None, "CORP\\alice", "SYSTEM"]),
        st.sampled_from([None, "group-1"]),
        st.integers(0, 30_000),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=12)
@given(STORY, st.lists(st.integers(1, 3), min_size=8, max_size=8))
def test_batches_give_the_same_incidents_as_a_file_contract_54(
    drawn: Sequence[tuple[str | None, str | None, str, str | None, str | None, int]],
    sizes: Sequence[int],
) -> None:
    """What is loaded for a batch is all that matters for it."""
    found = [
        new(at, command, hostname=host, device_id=device, username=user, vendor_group=link)
        for host, device, command, user, link, at in drawn
    ]
    found.sort(key=lambda each: each.timestamp)

    async def in_batches() -> list[int]:
        with tempfile.TemporaryDirectory(dir=QUICK_FILES) as directory:
            async with open_database(None, Path(directory)) as database:
                left = list(found)
                for size in sizes:
                    if batch := left[:size]:
                        await judged(database, *batch)
                    del left[:size]
                return await numbers_of(database, *found)

    reads = [Read(Judged(each, judge(each), each.timestamp)) for each in found]
    assert asyncio.run(in_batches()) == [each.number for each in group(reads)]


async def test_a_new_host_adds_the_same_few_rows_each_time_contract_55(
    sqlite: Database,
) -> None:
    found: list[NormalizedAlert] = [
        new(n, "whoami", hostname=f"h{n}", device_id=f"d{n}") for n in range(200)
    ]
    await judged(sqlite, *found)
    made = (verdicts, incidents, incident_keys, host_devices, host_names)

    def count(connection: Connection) -> list[int]:
        queries = (sa.select(sa.func.count()).select_from(table) for table in made)
        return [connection.execute(query).scalar_one() for query in queries]

    assert await sqlite.read(count) == [200] * len(made)


async def test_a_time_long_ago_reads_no_more_incidents_contract_55(sqlite: Database) -> None:
    """The sender chooses the time, so it must not decide how much is read."""
    for n in range(5):
        await judged(sqlite, new(-86_400.0 * (10 + 10 * n), "whoami"))
    batch = [
        Judged(each, judge(each), NOW)
        for each in (new(0, "whoami"), new(-NOW, "whoami", device_id="d-1970"))
    ]

    def read(connection: Connection) -> int:
        newest = rows.lock(connection, TENANT)
        return len(load(connection, TENANT, newest, batch).incidents)

    assert await sqlite.write(read) == 0
