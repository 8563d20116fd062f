"""A week in numbers: the page, its drawings, and the CSV (contract 81)."""

import csv
import io
import sys
from datetime import date
from typing import Final
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.console.running import TENANT, Running
from tests.triage.stored import NOW, new, stored_rows
from vyrox.alerts.verdict import Decision
from vyrox.clock import wall_clock
from vyrox.console.reports import HEIGHT, WIDTH, bars, csv_text
from vyrox.console.sessions import Person
from vyrox.store.database import Database
from vyrox.triage.decisions import decide_alerts
from vyrox.triage.judging import store_verdicts
from vyrox.triage.report import (
    Week,
    parse_week,
    percentiles,
    read_report,
    week_of,
)
from vyrox.triage.score import judge
from vyrox.triage.totals import Counted, Total, add, day_of
from vyrox.triage.totals_log import LogTotals, time_step

HOSTILE: Final = "=cmd|' /C calc'!A0<script>\u202e"
TODAY: Final = wall_clock()
"""An entry is never dated before the one that it follows, so these tests have the real time."""

LATER: Final = TODAY - NOW
WEEK: Final = week_of(TODAY)
PAGE: Final = f"/reports?week={WEEK.name}"


@pytest.fixture(autouse=True)
def it_is_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Midnight may have passed since this file was imported."""
    now = wall_clock()
    week = week_of(now)
    today = {"TODAY": now, "LATER": now - NOW, "WEEK": week, "PAGE": f"/reports?week={week.name}"}
    for name, value in today.items():
        monkeypatch.setattr(sys.modules[__name__], name, value)


async def fill(database: Database) -> None:
    """Store alerts, one judged benign by a person, and what a chain has said."""
    found = [
        new(LATER, command="vssadmin delete shadows /all /quiet", technique="T1490"),
        new(LATER, "whoami", technique=HOSTILE, process_name=HOSTILE),
        new(LATER, "whoami", technique=HOSTILE, process_name=HOSTILE),
    ]
    await stored_rows(database, found)
    await database.write(store_verdicts, TENANT, [(each, judge(each)) for each in found], TODAY)
    await database.write(decide_alerts, Decision(TENANT, [found[0].id], "benign", "ann"), TODAY)
    await LogTotals(database).run()

    def more(connection: Connection) -> None:
        counted = Counted()
        for name, key in (
            ("action", "PROCESS_KILL/confirmed"),
            ("decide_s", time_step(100)),
            ("proposal", "asked"),
            ("break_glass", "used"),
        ):
            counted.count[Total(day_of(TODAY), name, key)] += 1
        add(connection, TENANT, counted)

    await database.write(more)


async def test_a_week_is_shown_in_numbers_and_drawings_contract_81(opened: Running) -> None:
    ann = await opened.person("ann")
    await fill(opened.database)
    page = (await ann.get(PAGE)).text
    assert "3 alerts, 1 incident" in page
    assert "1 urgent, 0 to review, 2 closed by Vyrox" in page
    assert f"half of the proposals within about {time_step(100)} s" in page
    assert "1 without an approval" in page
    assert "1 (100 %)" in page
    assert "crowdstrike, T1490, no program" in page
    assert ("counts this tenant" in page) == (WEEK.first_day != day_of(TODAY))
    drawings = page.split("<svg")[1:]
    assert len(drawings) == 2
    for each in drawings:
        ElementTree.fromstring("<svg" + each.partition("</svg>")[0] + "</svg>")  # noqa: S314
    assert "<script>" not in page.partition("</head>")[2]
    assert "\u202e" not in page
    assert "No alerts are counted yet" not in page
    empty = (await ann.get("/reports?week=2001-W01")).text
    assert "0 alerts, 0 incidents" in empty


async def test_no_cell_is_a_formula_contract_81(opened: Running) -> None:
    ann = await opened.person("ann")
    await fill(opened.database)
    answer = await ann.get(f"/reports.csv?week={WEEK.name}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="vyrox-report-{TENANT}-{WEEK.name}.csv"'
    )
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert {len(row) for row in rows} == {len(head)}
    by_section = {row[2] for row in rows}
    assert {"alerts", "incidents opened", "actions", "signals", "rules"} <= by_section
    [rule] = [row for row in rows if row[2] == "rules" and "cmd" in row[3]]
    assert rule[3].startswith("crowdstrike, =cmd")
    assert "\u202e" not in answer.text


@given(st.text(max_size=20))
def test_every_cell_is_read_back_and_begins_no_formula_contract_81(text: str) -> None:
    safe = text.encode("utf-8", "replace").decode()
    for start in ("", "=", "+", "-", "@", "\t", "\r", " =", "\n="):
        [[cell]] = csv.reader(io.StringIO(csv_text([[start + safe]]), newline=""))
        assert cell.lstrip(" ")[:1] not in set("=+-@\t\r\n＝＋－＠") - {""} or not cell  # noqa: RUF001
        assert cell.isprintable()


async def test_another_tenants_report_is_not_there_contract_81(opened: Running) -> None:
    ann = await opened.person("ann")
    for path in ("/reports", "/reports.csv"):
        assert (await ann.get(f"{path}?tenant=other")).status_code == 404
        assert (await ann.get(f"{path}?tenant={TENANT}")).status_code == 200
        assert (await ann.get(f"{path}?week=2026-W60")).status_code == 404
        assert (await opened.browser().get(path)).status_code == 303


async def test_all_tenants_of_a_person_are_in_one_csv_contract_81(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await opened.person("ann")
    await fill(opened.database)
    find = sessions_find(monkeypatch)
    find["tenants"] = (TENANT, "other")
    rows = list(csv.reader(io.StringIO((await ann.get(f"/reports.csv?week={WEEK.name}")).text)))
    assert {row[0] for row in rows[1:]} == {TENANT, "other"}
    page = (await ann.get(f"{PAGE}&tenant=other")).text
    assert "0 alerts" in page
    assert "<option selected>other</option>" in page


def sessions_find(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Let the person who signs in see what the returned dictionary says."""
    from vyrox.console import sessions

    found: dict[str, object] = {}
    real = sessions.find

    def find(connection: Connection, session_id: str, now: float) -> Person | None:
        person = real(connection, session_id, now)
        return None if person is None else msgspec.structs.replace(person, **found)

    monkeypatch.setattr(sessions, "find", find)
    return found


@given(st.dates(date(1971, 1, 4), date(8999, 12, 1)))
def test_a_week_is_read_as_it_is_written_contract_81(day: date) -> None:
    week = Week(date.fromisocalendar(*day.isocalendar()[:2], 1))
    assert parse_week(week.name) == week
    assert week.before().before(-1) == week
    assert day in week.days


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-W", "2026-W00", "2026-W54", "0001-W01", "\uff12026-W07"]
)
def test_what_is_no_week_is_refused_contract_81(text: str) -> None:
    assert parse_week(text) is None


def test_percentiles_are_those_of_the_steps_contract_81() -> None:
    assert percentiles({}) is None
    assert percentiles({"5": 1}) == (5.0, 5.0)
    assert percentiles({"10": 5, "100": 4, "1000": 1}) == (10.0, 100.0)


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 10**12)), max_size=12))
def test_bars_stay_within_the_drawing_contract_81(numbers: list[tuple[str, int]]) -> None:
    found = bars(numbers)
    assert len(found) == len(numbers)
    for each in found:
        assert 0 <= each.x <= each.x + each.width <= WIDTH
        assert -0.1 <= each.y <= each.y + each.height <= HEIGHT + 0.2


async def test_a_report_reads_no_more_than_its_days_contract_81(opened: Running) -> None:
    await fill(opened.database)
    report = await opened.database.read(read_report, TENANT, WEEK)
    assert sum(sum(day.values()) for day in report.per_day) == report.all_alerts == 3
    assert report.trend[-1] == (WEEK.name, 3)
    later = await opened.database.read(read_report, TENANT, WEEK.before(-1))
    assert (later.all_alerts, later.trend[-2]) == (0, (WEEK.name, 3))


async def test_an_incident_closed_as_a_false_alarm_counts_for_its_signals_contract_81(
    opened: Running,
) -> None:
    """Once for each signal, on the day of the closing; its alerts get no verdict by that."""
    ann = await opened.person("ann")
    alert = new(LATER, command="vssadmin delete shadows /all /quiet", technique="T1490")
    await stored_rows(opened.database, [alert])
    await opened.database.write(store_verdicts, TENANT, [(alert, judge(alert))], TODAY)
    for resolution in ("malicious", "false_positive"):
        fields = {"resolution": resolution, "note": "a test of the backup"}
        answer = await ann.send(f"/incidents/{TENANT}-1/close", **fields)
        assert answer.status_code == 303, answer.text
        await ann.send(f"/incidents/{TENANT}-1/reopen")
    await LogTotals(opened.database).run()
    report = await opened.database.read(read_report, TENANT, WEEK)
    [row] = [each for each in report.signals if each.name == "recovery.shadows_deleted"]
    assert (row.alerts, row.judged, row.benign) == (1, 0, 0)
    assert (row.closed, row.false) == (2, 1)
    page = (await ann.get(PAGE)).text
    assert ">1 (50 %)<" in page
    table = (await ann.get(f"/reports.csv?week={WEEK.name}")).text
    assert '"incidents closed by signal","recovery.shadows_deleted","","2","2","1"' in table
