"""A week of a tenant in numbers, from the daily totals (contract 81)."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.store.tables import daily_totals
from vyrox.triage.story import BANDS
from vyrox.triage.totals import CLOSED_SIGNAL, DAY_S, OTHER, read_rule

DAYS: Final = 7

TREND: Final = 8
"""Weeks of the trend, the report's own is the last."""

MAX_ROWS: Final = 15
"""Signals and rules that a report lists; all are in the CSV."""

CSV_COLUMNS: Final = (
    "tenant", "week", "section", "name", "detail", "number", "judged", "benign",
)  # fmt: skip

_t: Final = daily_totals.c

_EPOCH: Final = date(1970, 1, 1)


class Week(msgspec.Struct, frozen=True):
    """A week of ISO 8601: it begins on a Monday."""

    monday: date

    @property
    def name(self) -> str:
        """As the address of a report has it: 2026-W07."""
        year, number, _ = self.monday.isocalendar()
        return f"{year}-W{number:02}"

    @property
    def first_day(self) -> int:
        """Its Monday, counted from 1970."""
        return (self.monday - _EPOCH).days

    def before(self, weeks: int = 1) -> "Week":
        """Return an earlier week, or with a number below zero a later one."""
        return Week(self.monday - timedelta(days=DAYS * weeks))

    @property
    def days(self) -> list[date]:
        """Its seven days."""
        return [self.monday + timedelta(days=day) for day in range(DAYS)]


class Row(msgspec.Struct, frozen=True):
    """Alerts with something in common.

    Attributes:
        judged: How many of them a person has judged; `benign`: and found benign.
        closed: Incidents with such alerts that a person has closed; `false`: as a false alarm.
    """

    name: str
    alerts: int
    judged: int
    benign: int
    closed: int = 0
    false: int = 0

    @property
    def is_judged(self) -> bool:
        """Whether a person has said something about such alerts."""
        return bool(self.judged or self.closed)

    @property
    def benign_percent(self) -> int | None:
        """The share of benign ones among those that a person has judged."""
        return None if self.judged <= 0 else round(100 * self.benign / self.judged)


class Report(msgspec.Struct, frozen=True):
    """The numbers of a week.

    Attributes:
        per_day: Alerts of each day, by band.
        alerts: By band.
        opened: Incidents that were opened, by band.
        incidents: What else became of incidents, such as `reopened`.
        closed: Incidents that people have closed, by resolution.
        proposals: By what became of them; `asked` counts all new ones.
        decide_s: How long half of the decisions took at most, and nine of ten; None without any.
        actions: By kind and outcome.
        signals: Sorted by false alarms; `rules` by alerts.
        trend: Alerts of each of the last weeks, this one last.
        since: The first day on which alerts are counted, or None.
    """

    tenant_id: str
    week: Week
    per_day: list[dict[str, int]]
    alerts: dict[str, int]
    opened: dict[str, int]
    incidents: dict[str, int]
    closed: dict[str, int]
    proposals: dict[str, int]
    decide_s: tuple[float, float] | None
    break_glass: int
    actions: list[tuple[str, str, int]]
    signals: list[Row]
    rules: list[Row]
    trend: list[tuple[str, int]]
    since: date | None

    @property
    def all_alerts(self) -> int:
        """Alerts of every band."""
        return sum(self.alerts.values())


def week_of(seconds: float) -> Week:
    """Return the week of a time in Unix seconds."""
    day = datetime.fromtimestamp(seconds, UTC).date()
    return Week(day - timedelta(days=day.weekday()))


def parse_week(text: str) -> Week | None:
    """Return the week with this name, or None."""
    year, separator, number = text.partition("-W")
    digits = year + number
    if not (separator and (len(year), len(number)) == (4, 2)):
        return None
    if not (digits.isascii() and digits.isdecimal()):
        return None
    try:
        week = Week(date.fromisocalendar(int(year), int(number), 1))
    except ValueError:
        return None
    return week if 1971 <= int(year) <= 9000 else None


def read_report(connection: Connection, tenant_id: str, week: Week) -> Report:
    """Return the numbers of one week of a tenant."""
    by_name: defaultdict[str, dict[str, Row]] = defaultdict(dict)
    for name, row in _rows(connection, tenant_id, week):
        by_name[name][row.name] = row
    count = {
        name: {key: row.alerts for key, row in rows.items() if row.alerts}
        for name, rows in by_name.items()
    }
    per_day, trend = _bands(connection, tenant_id, week)
    return Report(
        tenant_id=tenant_id,
        week=week,
        per_day=per_day,
        alerts={band: n for band in BANDS[::-1] if (n := sum(day[band] for day in per_day))},
        opened=count.get("opened", {}),
        incidents=count.get("incident", {}),
        closed=count.get("closed", {}),
        proposals=count.get("proposal", {}),
        decide_s=percentiles(count.get("decide_s", {})),
        break_glass=sum(count.get("break_glass", {}).values()),
        actions=_actions(count.get("action", {})),
        signals=sorted(
            _with_incidents(by_name["signal"], by_name[CLOSED_SIGNAL]), key=_false_alarms
        ),
        rules=[
            msgspec.structs.replace(row, name=rule_name(row.name))
            for row in sorted(by_name["rule"].values(), key=lambda row: (-row.alerts, row.name))
        ],
        trend=trend,
        since=_since(connection, tenant_id),
    )


def percentiles(steps: Mapping[str, int]) -> tuple[float, float] | None:
    """Return how long half of the decisions took at most, and nine of ten; None without any."""
    ordered = sorted((float(end), number) for end, number in steps.items() if end != OTHER)
    total = sum(number for _, number in ordered)
    if not total:
        return None
    return _at(ordered, math.ceil(total / 2)), _at(ordered, math.ceil(total * 9 / 10))


def _at(ordered: Iterable[tuple[float, int]], place: int) -> float:
    reached = 0
    for end, number in ordered:
        reached += number
        if reached >= place:
            return end
    raise ValueError("beyond the last one")


def rule_name(key: str) -> str:
    """Return what people call a rule."""
    rule = read_rule(key)
    if rule is None:
        return "all others"
    parts = (rule.source, rule.technique or "no technique", rule.program or "no program")
    return ", ".join(parts)


def _with_incidents(signals: Mapping[str, Row], closed: Mapping[str, Row]) -> Iterable[Row]:
    for name in {*signals, *closed}:
        row, incidents = signals.get(name, Row(name, 0, 0, 0)), closed.get(name)
        if incidents is not None:
            row = msgspec.structs.replace(row, closed=incidents.alerts, false=incidents.benign)
        yield row


def _false_alarms(row: Row) -> tuple[int, int, int, str]:
    return (-row.false, -row.benign, -row.alerts, row.name)


def _actions(count: Mapping[str, int]) -> list[tuple[str, str, int]]:
    found = []
    for key, number in count.items():
        kind, _, outcome = key.partition("/")
        found.append((kind, outcome, number))
    return sorted(found)


def _rows(connection: Connection, tenant_id: str, week: Week) -> Iterable[tuple[str, Row]]:
    query = (
        sa.select(
            _t.name,
            _t.key,
            sa.func.sum(_t.count),
            sa.func.sum(_t.judged),
            sa.func.sum(_t.benign),
        )
        .where(_t.tenant_id == tenant_id, _is_in(week.first_day, DAYS), _t.name != "band")
        .group_by(_t.name, _t.key)
    )
    for name, key, *numbers in connection.execute(query):
        yield name, Row(key, *map(int, numbers))


def _bands(
    connection: Connection, tenant_id: str, week: Week
) -> tuple[list[dict[str, int]], list[tuple[str, int]]]:
    """Return the alerts of each day of the week, and of each week of the trend."""
    weeks = [week.before(n) for n in reversed(range(TREND))]
    query = sa.select(_t.day, _t.key, _t.count).where(
        _t.tenant_id == tenant_id, _is_in(weeks[0].first_day, DAYS * TREND), _t.name == "band"
    )
    days: list[dict[str, int]] = [dict.fromkeys(BANDS[::-1], 0) for _ in range(DAYS)]
    trend: Counter[int] = Counter()
    for day, band, count in connection.execute(query):
        trend[(day - weeks[0].first_day) // DAYS] += count
        if day >= week.first_day and band in days[day - week.first_day]:
            days[day - week.first_day][band] += count
    return days, [(each.name, trend[at]) for at, each in enumerate(weeks)]


def _is_in(first_day: int, days: int) -> sa.ColumnElement[bool]:
    return sa.and_(_t.day >= first_day, _t.day < first_day + days)


def _since(connection: Connection, tenant_id: str) -> date | None:
    query = sa.select(sa.func.min(_t.day)).where(_t.tenant_id == tenant_id, _t.name == "band")
    day = connection.execute(query).scalar()
    return None if day is None else _EPOCH + timedelta(days=day)


def duration_words(seconds: float) -> str:
    """Return about how long something took."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.1f} days"


def csv_rows(report: Report) -> Iterable[Sequence[object]]:
    """Yield the rows of a report's table, as CSV_COLUMNS names their cells."""
    own = (report.tenant_id, report.week.name)
    for cells in _numbers(report):
        yield (*own, *cells, "", "")
    for section, rows in (("signals", report.signals), ("rules", report.rules)):
        for row in rows:
            yield (*own, section, row.name, "", row.alerts, row.judged, row.benign)
    for row in report.signals:
        if row.closed:
            numbers = (row.closed, row.closed, row.false)
            yield (*own, "incidents closed by signal", row.name, "", *numbers)


def _numbers(report: Report) -> Iterable[tuple[str, str, str, int]]:
    for day, bands in zip(report.week.days, report.per_day, strict=True):
        yield from (("alerts", day.isoformat(), band, number) for band, number in bands.items())
    for section, numbers in (
        ("incidents opened", report.opened),
        ("incidents", report.incidents),
        ("incidents closed", report.closed),
        ("proposals", report.proposals),
    ):
        yield from ((section, name, "", number) for name, number in sorted(numbers.items()))
    for name, seconds in zip(("p50", "p90"), report.decide_s or (), strict=False):
        yield ("seconds to decide", name, "", round(seconds))
    for kind, outcome, number in report.actions:
        yield ("actions", kind, outcome or "not known yet", number)
    yield ("break glass", "used", "", report.break_glass)
