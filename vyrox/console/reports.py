"""A week in numbers, to read, to print and as CSV (contract 81)."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import date
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vyrox.console.pages import page, plain
from vyrox.console.parts import console_of, sees, signed_in, tenants_of
from vyrox.console.streamed import Streamed
from vyrox.errors import NotFoundError
from vyrox.triage.report import (
    CSV_COLUMNS,
    MAX_ROWS,
    Report,
    Week,
    csv_rows,
    duration_words,
    parse_week,
    read_report,
    week_of,
)

WIDTH: Final = 360
HEIGHT: Final = 120
GAP: Final = 8

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""A spreadsheet takes what begins so for a formula: also the wide forms of these signs."""


class Bar(msgspec.Struct, frozen=True):
    """One bar of a drawing, in its units."""

    label: str
    number: int
    x: float
    y: float
    width: float
    height: float


async def report_page(request: Request) -> Response:
    """Show a week of a tenant. Raises NotFoundError: another person's tenant, or no such week."""
    person = await signed_in(request)
    console = console_of(request)
    now = console.now()
    tenant_id = request.query_params.get("tenant") or person.tenant_id
    sees(person, tenant_id)
    week = _week(request, now)
    report = await console.database.read(read_report, tenant_id, week)
    days = [(f"{day:%a}", sum(report.per_day[n].values())) for n, day in enumerate(week.days)]
    return page(
        "report",
        person,
        now,
        report=report,
        most=MAX_ROWS,
        days=bars(days),
        trend=bars([(name[-3:], number) for name, number in report.trend]),
        decided=_decided_words(report),
        earlier=week.before().name,
        later=week.before(-1).name if week.monday < week_of(now).monday else None,
        is_running=week == week_of(now),
        counted_later=report.since is None or report.since > week.monday,
        dates=f"{_date(week.days[0])} to {_date(week.days[-1])}",
    )


async def report_csv(request: Request) -> Response:
    """Send a week of one tenant, or of all that the person sees, as CSV. Raises as the page."""
    person = await signed_in(request)
    console = console_of(request)
    tenants = tenants_of(request, person)
    week = _week(request, console.now())
    # Before the response starts: an unavailable database is then an error.
    first = await console.database.read(read_report, tenants[0], week)

    async def body() -> AsyncIterator[str]:
        yield csv_text([CSV_COLUMNS, *csv_rows(first)])
        for tenant_id in tenants[1:]:
            report = await console.database.read(read_report, tenant_id, week)
            yield csv_text(csv_rows(report))

    whose = f"-{tenants[0]}" if len(tenants) == 1 else ""
    name = f"vyrox-report{whose}-{week.name}.csv"  # neither has a character to escape
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Streamed(person, body(), "text/csv; charset=utf-8", headers)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV in which no cell is a formula: others have written some of the texts."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([_cell(each) for each in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    safe = f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value
    return plain(safe)


def bars(numbers: Sequence[tuple[str, int]]) -> list[Bar]:
    """Return the bars of a drawing, which fill its width and its height."""
    highest = max((number for _, number in numbers), default=0) or 1
    step = WIDTH / max(1, len(numbers))
    return [
        Bar(
            label=label,
            number=number,
            x=round(at * step + GAP / 2, 1),
            y=round(HEIGHT - HEIGHT * number / highest, 1),
            width=round(step - GAP, 1),
            height=round(HEIGHT * number / highest, 1),
        )
        for at, (label, number) in enumerate(numbers)
    ]


def _week(request: Request, now: float) -> Week:
    name = request.query_params.get("week")
    if not name:
        return week_of(now)
    week = parse_week(name)
    if week is None:
        raise NotFoundError("no such week")
    return week


def _decided_words(report: Report) -> tuple[str, str] | None:
    if report.decide_s is None:
        return None
    half, most = report.decide_s
    return duration_words(half), duration_words(most)


def _date(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
