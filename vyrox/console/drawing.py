"""The timeline of an incident as a drawing: hosts as lanes, alerts as marks, steps as flags.

Pure: it returns places, and a template draws them (contract 78). Places across are in percent, so
texts keep their size on a phone. The drawing is bounded, whatever the incident holds.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from vyrox.triage.score import Band
from vyrox.triage.story import BANDS

MAX_LANES: Final = 8
"""Hosts that have a lane of their own; the rest share the last one."""

COLUMNS: Final = 24
"""Places across: on a phone each is about as wide as a mark."""

FLAG_COLUMNS: Final = 2
"""A flag is as wide as two marks: its number must be read."""

MAX_NAME: Final = 32
"""Characters of a host's name beside its lane."""

LANE_HEIGHT: Final = 56
TOP: Final = 52
BOTTOM: Final = 30
MAX_FLAGS: Final = 40

_LEFT, _RIGHT = 4.0, 96.0
_TICK_ROOM: Final = COLUMNS // 3


class Spot(msgspec.Struct, frozen=True):
    """Alerts that are drawn: those of one fingerprint."""

    at: float
    host: str
    band: Band
    score: float
    count: int


class Event(msgspec.Struct, frozen=True):
    """What people, or Vyrox, did."""

    at: float
    text: str


class Mark(msgspec.Struct, frozen=True):
    """Alerts at one place of a lane. `left` is in percent, `top` in pixels."""

    left: float
    top: int
    band: Band
    score: int
    count: int
    title: str


class Lane(msgspec.Struct, frozen=True):
    """A host."""

    name: str
    top: int
    marks: tuple[Mark, ...]


class Flag(msgspec.Struct, frozen=True):
    """Steps at one place. `label` has their numbers in `Drawing.events`, from 1."""

    left: float
    label: str
    title: str


class Tick(msgspec.Struct, frozen=True):
    """A time below the lanes."""

    left: float
    anchor: str
    at: float


class Drawing(msgspec.Struct, frozen=True):
    """All that is drawn.

    Attributes:
        events: What the flags mean, in order.
        has_days: The times need their day.
    """

    height: int
    lanes: tuple[Lane, ...]
    flags: tuple[Flag, ...]
    ticks: tuple[Tick, ...]
    events: tuple[Event, ...]
    has_days: bool


def draw(spots: Sequence[Spot], events: Sequence[Event]) -> Drawing:
    """Return the drawing. Long pauses are shortened, so that a burst can be read."""
    events = sorted(events, key=lambda each: each.at)[-MAX_FLAGS:]
    column_of = _columns([*(each.at for each in spots), *(each.at for each in events)])
    lanes = _lanes(spots, column_of)
    times = sorted(column_of)
    return Drawing(
        height=TOP + LANE_HEIGHT * len(lanes) + BOTTOM,
        lanes=lanes,
        flags=_flags(events, column_of),
        ticks=_ticks(times, column_of),
        events=tuple(events),
        has_days=bool(times) and int(times[0] // 86_400) != int(times[-1] // 86_400),
    )


def _columns(times: Sequence[float]) -> dict[float, int]:
    """Return the column of each time: a pause of an hour is about twice one of half a minute."""
    ordered = sorted(set(times))
    places = [0.0]
    for before, after in itertools.pairwise(ordered):
        places.append(places[-1] + math.log1p(min(after - before, 1e9)))
    widest = places[-1] or 1.0
    last = COLUMNS - 1
    return {at: round(place / widest * last) for at, place in zip(ordered, places, strict=False)}


def _left(column: int) -> float:
    return round(_LEFT + (_RIGHT - _LEFT) * column / (COLUMNS - 1), 2)


def _lanes(spots: Sequence[Spot], column_of: dict[float, int]) -> tuple[Lane, ...]:
    names = list(dict.fromkeys(each.host for each in sorted(spots, key=lambda each: each.at)))
    own = names if len(names) <= MAX_LANES else names[: MAX_LANES - 1]
    rest = f"{len(names) - len(own)} more hosts"
    shown = [*own, *([rest] if len(own) < len(names) else [])]
    lanes = []
    for number, name in enumerate(shown):
        is_rest = number >= len(own)
        within = [
            each for each in spots if (each.host not in own if is_rest else each.host == name)
        ]
        top = TOP + LANE_HEIGHT * number
        lanes.append(Lane(_cut(name), top, _marks(within, column_of, top + 38)))
    return tuple(lanes)


def _marks(spots: Sequence[Spot], column_of: dict[float, int], top: int) -> tuple[Mark, ...]:
    by_column: dict[int, list[Spot]] = {}
    for each in spots:
        by_column.setdefault(column_of[each.at], []).append(each)
    return tuple(_mark(column, own, top) for column, own in sorted(by_column.items()))


def _mark(column: int, spots: Sequence[Spot], top: int) -> Mark:
    band = max((each.band for each in spots), key=BANDS.index)
    score = round(max(each.score for each in spots))
    count = sum(each.count for each in spots)
    alerts = "1 alert" if count == 1 else f"{count} alerts"
    return Mark(_left(column), top, band, score, count, f"{alerts}, score {score}, {band}")


def _flags(events: Sequence[Event], column_of: dict[float, int]) -> tuple[Flag, ...]:
    by_column: dict[int, list[int]] = {}
    for number, each in enumerate(events, 1):
        column = column_of[each.at]
        by_column.setdefault(column - column % FLAG_COLUMNS, []).append(number)
    return tuple(
        Flag(
            _left(column),
            f"{own[0]}" if len(own) == 1 else f"{own[0]}-{own[-1]}",
            "; ".join(_cut(events[number - 1].text) for number in own[:3]),
        )
        for column, own in sorted(by_column.items())
    )


def _ticks(times: Sequence[float], column_of: dict[float, int]) -> tuple[Tick, ...]:
    """Return the first time, the last, and one near the middle if there is room for it."""
    if not times:
        return ()
    ticks = [Tick(_left(0), "start", times[0])]
    middle = min(times, key=lambda at: abs(column_of[at] - COLUMNS / 2))
    if _TICK_ROOM < column_of[middle] < COLUMNS - _TICK_ROOM:
        ticks.append(Tick(_left(column_of[middle]), "middle", middle))
    if column_of[times[-1]] > _TICK_ROOM:
        ticks.append(Tick(_left(column_of[times[-1]]), "end", times[-1]))
    return tuple(ticks)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 3]}..."
