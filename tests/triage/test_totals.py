"""Daily totals equal a recount of what happened, whatever came between (contract 81)."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from tests.audit import change_entry
from tests.quick_files import QUICK_FILES
from tests.triage.stored import NOW, TENANT, judged, new, stored_rows
from vyrox.alerts.verdict import Decision
from vyrox.chain.entry import Draft, Scalar
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database, open_database
from vyrox.store.tables import daily_totals, verdicts
from vyrox.triage import totals_log
from vyrox.triage.decisions import decide_alerts
from vyrox.triage.judging import store_verdicts
from vyrox.triage.score import judge
from vyrox.triage.totals import MAX_KEYS, OTHER, day_of, rule_of
from vyrox.triage.totals_log import LogTotals, count_log, time_step

TODAY: Final = day_of(NOW)
DAY_S: Final = 86_400

Totals = dict[tuple[int, str, str], tuple[int, int, int]]


class KilledError(Exception):
    """The process ended before the commit."""


def read_totals(connection: Connection, tenant_id: str = TENANT) -> Totals:
    query = sa.select(daily_totals).where(daily_totals.c.tenant_id == tenant_id)
    rows = connection.execute(query)
    found = {tuple(row)[1:4]: tuple(row)[4:] for row in rows}
    return {total: numbers for total, numbers in found.items() if any(numbers)}


def recount(
    alerts: Sequence[NormalizedAlert],
    persons: dict[str, str],
    happened: Sequence[tuple[float, str, dict[str, Scalar]]],
) -> Totals:
    """Return what the totals should be, the slow way."""
    count: Counter[tuple[int, str, str]] = Counter()
    decided: Counter[tuple[int, str, str]] = Counter()
    benign: Counter[tuple[int, str, str]] = Counter()
    for each in alerts:
        verdict, day = judge(each), day_of(each.timestamp)
        keys = {(day, "band", verdict.band), (day, "rule", rule_of(each))}
        keys |= {(day, "signal", reason.signal) for reason in verdict.reasons}
        count.update(keys)
        if each.id in persons:
            decided.update(keys)
            benign.update(keys if persons[each.id] == "benign" else ())
    for at, kind, members in happened:
        day, name = day_of(at), kind.removeprefix("incident.")
        count[day, "incident", name] += 1
        if name == "closed":
            count[day, "incident", name] -= 1
            count[day, "closed", str(members["resolution"])] += 1
    every = {*count, *decided, *benign}
    found = {each: (count[each], decided[each], benign[each]) for each in every}
    return {total: numbers for total, numbers in found.items() if any(numbers)}


COMMANDS: Final = ("whoami", "vssadmin delete shadows /all /quiet", None)
STEP: Final = st.one_of(
    st.tuples(st.just("store"), st.integers(0, 2), st.integers(-3, 0)),
    st.tuples(st.just("judge"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("decide"), st.integers(0, 5), st.integers(0, 2)),
    st.tuples(st.just("happen"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("count"), st.just(0), st.just(0)),
)
KINDS: Final[tuple[tuple[str, dict[str, Scalar]], ...]] = (
    ("incident.reopened", {}),
    ("incident.merged", {"into": "x"}),
    ("incident.closed", {"resolution": "false_positive"}),
)
VERDICTS: Final = ("benign", "malicious", "unclear")


class History:
    """What happens in one tenant. Each step may be killed before its commit, and is then redone."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.alerts: list[NormalizedAlert] = []
        self.unjudged: list[NormalizedAlert] = []
        self.persons: dict[str, str] = {}
        self.happened: list[tuple[float, str, dict[str, Scalar]]] = []

    async def write(self, work: object, *args: object, killed: bool) -> None:
        def then_killed(connection: Connection) -> None:
            work(connection, *args)  # type: ignore[operator]
            if killed:
                raise KilledError

        try:
            await self.database.write(then_killed)
        except KilledError:
            await self.database.write(work, *args)  # type: ignore[arg-type]

    async def step(self, kind: str, a: int, b: int, *, killed: bool) -> None:
        match kind:
            case "store":
                each = new(b * DAY_S, COMMANDS[a], technique=f"T100{a}")
                await stored_rows(self.database, [each])
                self.alerts.append(each)
                self.unjudged.append(each)
            case "judge" if self.unjudged:
                batch = [(each, judge(each)) for each in self.unjudged[:a]]
                del self.unjudged[:a]
                await self.write(store_verdicts, TENANT, batch, NOW, killed=killed)
            case "decide" if self.alerts:
                each = self.alerts[a % len(self.alerts)]
                decision = Decision(TENANT, [each.id], VERDICTS[b], "ann")
                await self.write(decide_alerts, decision, NOW, killed=killed)
                self.persons[each.id] = VERDICTS[b]
            case "happen":
                name, members = KINDS[a]
                at = NOW + (len(self.happened) + 1) * DAY_S
                draft = event(name, TENANT, None, **members)
                await self.write(append, [draft], at, killed=killed)
                self.happened.append((at, name, members))
            case "count":
                await self.write(count_log, TENANT, killed=killed)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(STEP, st.booleans()), max_size=25))
def test_totals_equal_a_recount_after_any_order_and_kills_contract_81(
    steps: Sequence[tuple[tuple[str, int, int], bool]],
) -> None:
    async def run() -> tuple[Totals, Totals]:
        with tempfile.TemporaryDirectory(dir=QUICK_FILES) as directory:
            async with open_database(None, Path(directory)) as database:
                history = History(database)
                for (kind, a, b), killed in steps:
                    await history.step(kind, a, b, killed=killed)
                await history.step("judge", 99, 0, killed=True)
                await LogTotals(database).run()
                await LogTotals(database).run()
                found = await database.read(read_totals)
        return found, recount(history.alerts, history.persons, history.happened)

    found, wanted = asyncio.run(run())
    # Triage opens incidents of its own.
    own = {(name, key) for _, name, key in found if (name, key) == ("incident", "opened")}
    assert {t: n for t, n in found.items() if t[1:] not in own and t[1] != "opened"} == wanted


async def test_totals_count_both_databases_alike_contract_81(database: Database) -> None:
    alert = new(command=COMMANDS[1], technique="T1490\0", process_name="VSSADMIN.exe")
    await judged(database, alert)
    await database.write(decide_alerts, Decision(TENANT, [alert.id], "benign", "ann"), NOW)
    await LogTotals(database).run()
    found = await database.read(read_totals)
    assert found[TODAY, "band", "urgent"] == (1, 1, 1)
    assert found[TODAY, "incident", "opened"] == found[TODAY, "opened", "urgent"] == (1, 0, 0)
    assert found[TODAY, "rule", '["crowdstrike","T1490 ","vssadmin.exe"]'] == (1, 1, 1)
    await database.write(decide_alerts, Decision(TENANT, [alert.id], "malicious", "ann"), NOW)
    found = await database.read(read_totals)
    assert found[TODAY, "band", "urgent"] == (1, 1, 0)
    assert await database.read(read_totals, "other") == {}


async def test_an_alert_of_before_the_upgrade_is_not_half_counted_contract_81(
    database: Database,
) -> None:
    alert = new(command=COMMANDS[1])
    await judged(database, alert)

    def as_before(connection: Connection) -> None:
        connection.execute(verdicts.update().values(is_counted=None))
        connection.execute(daily_totals.delete())

    await database.write(as_before)
    await database.write(decide_alerts, Decision(TENANT, [alert.id], "benign", "ann"), NOW)
    assert await database.read(read_totals) == {}


async def test_a_sender_decides_not_how_many_rows_there_are_contract_81(
    database: Database,
) -> None:
    found = [new(command=None, technique=f"T{n}") for n in range(MAX_KEYS + 50)]
    await judged(database, *found[:150])
    await judged(database, *found[150:])
    totals = await database.read(read_totals)
    rules = {key: numbers for (_, name, key), numbers in totals.items() if name == "rule"}
    assert len(rules) == MAX_KEYS + 1
    assert rules[OTHER][0] == 50
    assert sum(count for count, _, _ in rules.values()) == len(found)
    decision = Decision(TENANT, [each.id for each in found], "benign", "ann")
    await database.write(decide_alerts, decision, NOW)
    totals = await database.read(read_totals)
    assert totals[TODAY, "rule", OTHER] == (50, 50, 50)


ACTION: Final[dict[str, Scalar]] = {
    "action_type": "PROCESS_KILL",
    "host": "ws-1",
    "approved_by": "ann",
    "dry_run": False,
}


async def test_an_action_counts_once_with_its_last_outcome_contract_81(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals_log, "PAGE", 2)  # outcomes come pages after their actions
    actions = [Draft(TENANT, "actions", "PROCESS_KILL", ACTION)] * 5
    receipts = await database.write(append, actions, NOW)

    def outcome(number: int, outcome: str) -> Draft:
        members = {"entry": receipts[number].hash, "outcome": outcome, "reason": None}
        return event("execute.outcome", TENANT, None, execution=str(number), **members)

    await database.write(append, [outcome(n, "requested") for n in range(4)], NOW + DAY_S)
    await LogTotals(database).run()
    await database.write(append, [outcome(0, "confirmed"), outcome(1, "failed")], NOW + DAY_S)
    await LogTotals(database).run()
    totals = await database.read(read_totals)
    assert {
        key: totals[TODAY, "action", f"PROCESS_KILL/{key}"][0]
        for key in ("", "requested", "confirmed", "failed")
    } == {"": 1, "requested": 2, "confirmed": 1, "failed": 1}


async def test_an_entry_that_somebody_changed_stops_nothing_contract_81(sqlite: Database) -> None:
    drafts = [event("incident.reopened", TENANT, None)] * 2
    await sqlite.write(append, drafts, NOW)

    await sqlite.write(change_entry, "events", 1, b"{")
    await LogTotals(sqlite).run()
    totals = await sqlite.read(read_totals)
    assert totals[TODAY, "incident", "reopened"] == (2, 0, 0)


@given(st.floats(0, 1e6))
def test_a_time_is_known_to_five_percent_contract_81(seconds: float) -> None:
    step = float(time_step(seconds))
    assert seconds <= step + 0.5
    assert step <= max(1.0, seconds) * 1.05 + 0.5


def test_a_rule_is_read_as_it_was_stored_contract_81() -> None:
    alert = new(technique="=cmd|' /C calc'!A0" + "x" * 100, process_name="\ud800<script>")
    assert len(msgspec.json.decode(rule_of(alert))) == 3
