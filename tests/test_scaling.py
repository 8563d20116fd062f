"""The tables of `docs/scaling.md`: what a load takes follows from what one of each costs."""

import re
from pathlib import Path

import pytest

from benchmarks.model import TEAM, Cost, Costs, Load, needs, table

PAGE = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text()


def test_needs_are_sums_of_what_each_costs() -> None:
    alert = Cost(cpu_ms=10, wal=1000, kept=700, held=2000)
    costs = Costs(alert, Cost(1, 0, 0, 0), Cost(20, 70, 0, 0), Cost(100, 7000, 70, 7))
    found = needs(Load(alerts=60_000, views=7, actions=1), costs)
    assert found.storm_per_s == 10
    assert found.storm_cores == (0.01, 0.1)
    assert found.mean_cores == pytest.approx((600_000 + 140 + 100) / 1000 / 604_800)
    assert found.wal_per_day == pytest.approx((60_000_000 + 490 + 7000) / 7)
    assert found.held == pytest.approx((120_000_000 + 7) / 7 * 90)
    assert found.kept_per_year == pytest.approx((42_000_000 + 70) / 7 * 365)
    twice = needs(TEAM.times(2), costs)
    assert twice.held == pytest.approx(2 * needs(TEAM, costs).held)


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_the_page_has_what_the_model_makes_of_its_own_costs(database: str) -> None:
    found = []
    for what in ("alert, alone", "alert, in a storm", "page", "action"):
        [row] = re.findall(rf"^\| {what}, {database} \|(.*)\|$", PAGE, re.MULTILINE)
        *cpu, log, grows, audit = (float(cell.replace(",", "")) for cell in row.split("|"))
        found.append(Cost(sum(cpu), log, audit, grows - audit))
    assert table(Costs(*found)) in PAGE
