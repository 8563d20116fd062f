"""What a load takes, calculated from what one alert, page and action cost (docs/scaling.md)."""

from dataclasses import dataclass
from typing import Final

WEEK_S: Final = 7 * 86_400
STORM_S: Final = 600
STORM_SHARE: Final = 0.1
"""The hardest ten minutes bring a tenth of a week's alerts."""

HELD_DAYS: Final = 90
"""RETENTION_DAYS, where it is not set."""

SMALL: Final = 0.001
"""Below it, a share of a processor is not worth a number."""

FACTORS: Final = (1, 10, 100, 1000)


@dataclass(frozen=True)
class Load:
    """What comes in a week."""

    alerts: float
    views: float
    actions: float

    def times(self, factor: float) -> "Load":
        """Return so many times this load."""
        return Load(self.alerts * factor, self.views * factor, self.actions * factor)


TEAM: Final = Load(alerts=500, views=1_000, actions=10)
"""A small team, with five tenants."""


@dataclass(frozen=True)
class Cost:
    """What one of something costs.

    Attributes:
        cpu_ms: Processor time of all parts.
        wal: Bytes of the write-ahead log.
        kept: Bytes of the audit log, which stay.
        held: Bytes that go when the retention is over.
    """

    cpu_ms: float
    wal: float
    kept: float
    held: float


@dataclass(frozen=True)
class Costs:
    """What each kind costs. In a storm, alerts share their commits."""

    alert: Cost
    in_storm: Cost
    view: Cost
    action: Cost


@dataclass(frozen=True)
class Needs:
    """What a load takes, beside an idle service.

    Attributes:
        storm_per_s: Alerts a second in the hardest ten minutes.
        storm_cores: Processors for them, if they share their commits, and if each has its own.
        mean_cores: Processors over the week.
        wal_per_day: Bytes.
        held: Bytes of what is kept for HELD_DAYS.
        kept_per_year: Bytes of the audit log.
    """

    storm_per_s: float
    storm_cores: tuple[float, float]
    mean_cores: float
    wal_per_day: float
    held: float
    kept_per_year: float


def needs(load: Load, costs: Costs) -> Needs:
    """Return what a load takes."""
    kinds = ((load.alerts, costs.alert), (load.views, costs.view), (load.actions, costs.action))
    storm = load.alerts * STORM_SHARE / STORM_S
    return Needs(
        storm_per_s=storm,
        storm_cores=(storm * costs.in_storm.cpu_ms / 1000, storm * costs.alert.cpu_ms / 1000),
        mean_cores=sum(count * each.cpu_ms for count, each in kinds) / 1000 / WEEK_S,
        wal_per_day=sum(count * each.wal for count, each in kinds) / 7,
        held=sum(count * each.held for count, each in kinds) / 7 * HELD_DAYS,
        kept_per_year=sum(count * each.kept for count, each in kinds) / 7 * 365,
    )


def table(costs: Costs) -> str:
    """Return what FACTORS times a small team's load takes, as a table in Markdown."""
    lines = [
        "| Load | alerts/s in a storm | cores then | cores on average | log a day "
        "| alerts for 90 days | audit log a year |",
        "|---|---|---|---|---|---|---|",
    ]
    for factor in FACTORS:
        found = needs(TEAM.times(factor), costs)
        least, most = found.storm_cores
        cells = (
            "a small team" if factor == 1 else f"{factor:,} times",
            f"{found.storm_per_s:.2g}",
            _cores(most) if least < SMALL else f"{_cores(least)} to {_cores(most)}",
            _cores(found.mean_cores),
            *map(_size, (found.wal_per_day, found.held, found.kept_per_year)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cores(cores: float) -> str:
    return f"{cores:.2g}" if cores >= SMALL else f"below {SMALL}"


def _size(size: float) -> str:
    thousand = 1000
    for unit in ("bytes", "kB", "MB"):
        if size < thousand:
            return f"{size:.3g} {unit}"
        size /= thousand
    return f"{size:.3g} GB"
