"""Panels of the dashboard, drawn from what Prometheus has answered, as one page of HTML."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from tests.deploy.prometheus import Line, Panel

COLUMN: Final = 50
ROW: Final = 27
"""Pixels of the dashboard's grid."""

COLOURS: Final = (
    *("#3274d9", "#56a64b", "#e0b400", "#e02f44", "#8f3bb8", "#ff780a", "#00a0a0", "#7c4a2d"),
    *("#6b7a90", "#c15c9d"),
)

MIN_THREE_TIMES: Final = 250
"""Pixels of a panel in which three times of the day have room."""

_LEFT: Final = 52
_BOTTOM: Final = 18
_GREEN_OR_RED: Final = {"green": "#37872d", "red": "#c4162a"}

_STYLE: Final = f"""
* {{ box-sizing: border-box; margin: 0; }}
body {{ font: 12px sans-serif; background: #f4f5f5; color: #24292e; width: {24 * COLUMN}px; }}
header {{ padding: 6px 8px; }}
main {{ position: relative; }}
section {{ position: absolute; padding: 3px; overflow: hidden; }}
section > div {{ background: #fff; border: 1px solid #dcdee0; height: 100%; padding: 5px 7px; }}
h2 {{ font-size: 12px; font-weight: 600; white-space: nowrap; }}
section.row {{ padding-top: 7px; font-weight: 700; font-size: 13px; }}
.numbers {{ display: flex; height: calc(100% - 18px); gap: 3px; margin-top: 3px; }}
.numbers > p {{ flex: 1; color: #fff; text-align: center; padding-top: 10px; }}
.numbers b {{ display: block; font-size: 24px; }}
.legend {{ display: flex; flex-wrap: wrap; gap: 0 9px; font-size: 11px; line-height: 14px; }}
.legend i {{ display: inline-block; width: 9px; height: 3px; margin-right: 4px; }}
.nothing {{ color: #6b7a90; text-align: center; padding-top: 60px; }}
text {{ font-size: 10px; fill: #55606e; }}
"""

Answered = Sequence[tuple[Panel, Sequence[Line]]]


def page(answered: Answered, note: str, since: float, until: float) -> str:
    """Return the page.

    Args:
        note: What the picture is, and is not.
    """
    height = max(y + h for (_, _, _, h), y in ((each.place, each.place[1]) for each, _ in answered))
    sections = "".join(_section(panel, lines, since, until) for panel, lines in answered)
    return (
        f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>"
        f"<header><b>Vyrox</b> &nbsp; {escape(note)}</header>"
        f'<main style="height:{height * ROW}px">{sections}</main>'
    )


def _section(panel: Panel, lines: Sequence[Line], since: float, until: float) -> str:
    x, y, width, height = panel.place
    place = f"left:{x * COLUMN}px;top:{y * ROW}px;width:{width * COLUMN}px;height:{height * ROW}px"
    title = escape(panel.title)
    if panel.kind == "row":
        return f'<section class=row style="{place}">{title}</section>'
    inside = '<p class="nothing">no data</p>'
    if lines and panel.kind == "stat":
        inside = _numbers(panel, lines)
    elif lines:
        size = (width * COLUMN - 22, height * ROW - 70)
        inside = _graph(lines, panel.unit, size, since, until) + _legend(lines)
    return f'<section style="{place}"><div><h2>{title}</h2>{inside}</div></section>'


def _numbers(panel: Panel, lines: Iterable[Line]) -> str:
    parts = []
    for line in lines:
        value = line.points[-1][1]
        colour = next(c for at, c in reversed(panel.steps) if at is None or value >= at)
        shown = _shown(value, panel.unit)
        background = _GREEN_OR_RED[colour]
        parts.append(f'<p style="background:{background}"><b>{shown}</b>{escape(line.name)}</p>')
    return f'<div class="numbers">{"".join(parts)}</div>'


def _graph(
    lines: Sequence[Line], unit: str, size: tuple[int, int], since: float, until: float
) -> str:
    width, height = size
    values = [value for line in lines for _, value in line.points if math.isfinite(value)]
    top = _round_up(max(values, default=1.0) or 1.0)
    right, low = width - 6, height - _BOTTOM

    def x_of(at: float) -> float:
        return _LEFT + (at - since) / (until - since) * (right - _LEFT)

    def y_of(value: float) -> float:
        return low - value / top * (low - 6)

    drawn = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = y_of(share * top)
        drawn.append(f'<path d="M{_LEFT} {y:.0f}H{right}" stroke="#e4e7ea"/>')
        text = _shown(share * top, unit)
        drawn.append(f'<text x="{_LEFT - 5}" y="{y + 3:.0f}" text-anchor="end">{text}</text>')
    for share in (0.0, 0.5, 1.0) if width > MIN_THREE_TIMES else (0.0, 1.0):
        at = since + share * (until - since)
        anchor = {0.0: "start", 1.0: "end"}.get(share, "middle")
        clock = time.strftime("%H:%M:%S", time.gmtime(at))
        drawn.append(
            f'<text x="{x_of(at):.0f}" y="{height - 4}" text-anchor="{anchor}">{clock}</text>'
        )
    for number, line in enumerate(lines):
        points = " ".join(
            f"{x_of(at):.1f},{y_of(value):.1f}" for at, value in line.points if math.isfinite(value)
        )
        colour = _colour(number)
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        )
    return f'<svg width="{width}" height="{height}">{"".join(drawn)}</svg>'


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _legend(lines: Iterable[Line]) -> str:
    parts = (
        f'<span><i style="background:{_colour(number)}"></i>{escape(each.name)}</span>'
        for number, each in enumerate(lines)
    )
    return f'<div class="legend">{"".join(parts)}</div>'


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)


_BELOW: Final[Mapping[str, tuple[tuple[float, float, str], ...]]] = {
    "s": ((1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7200.0, 60.0, "min")),
    "bytes": ((2**20, 2**10, "KiB"), (2**30, 2**20, "MiB")),
}
"""By unit: below which value, divided by what, it is shown with which name."""


def _shown(value: float, unit: str) -> str:
    if unit == "bool_yes_no":
        return "Yes" if value else "No"
    if unit == "percentunit":
        return f"{value:.0%}"
    for below, by, name in _BELOW.get(unit, ()):
        if value < below:
            return f"{value / by:.3g} {name}" if value else "0"
    end = {"reqps": "/s", "ops": "/s", "s": " s", "bytes": " B"}.get(unit, "")
    return f"{value:,.0f}{end}" if value >= 1000 else f"{value:.3g}{end}"
