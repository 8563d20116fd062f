"""The drawing of an incident's timeline is well-formed and bounded (contract 78)."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.console.telling import HOSTILE
from vyrox.console.drawing import COLUMNS, MAX_FLAGS, MAX_LANES, Event, Spot, draw
from vyrox.console.pages import drawing_markup

TIMES = st.floats(0, 4e9)
NAMES = st.one_of(st.text(max_size=300), st.just(HOSTILE), st.just("]]><!--"))
SPOTS = st.builds(
    Spot,
    TIMES,
    NAMES,
    st.sampled_from(["close", "review", "urgent"]),
    st.floats(0, 100),
    st.integers(1, 50_000),
)
EVENTS = st.builds(Event, TIMES, NAMES)
ALLOWED = {"svg", "title", "desc", "text", "line", "rect", "path", "circle"}
NAMESPACE = "{http://www.w3.org/2000/svg}"


@settings(max_examples=150, deadline=None)
@given(st.lists(SPOTS, max_size=40), st.lists(EVENTS, max_size=60))
def test_whatever_the_names_are_it_is_well_formed_contract_78(
    spots: list[Spot], events: list[Event]
) -> None:
    text = drawing_markup(draw(spots, events))
    root = ET.fromstring(text)  # noqa: S314  (our own text)
    for each in root.iter():
        assert each.tag.removeprefix(NAMESPACE) in ALLOWED
        assert not [name for name in each.attrib if name.startswith("on") or "href" in name]
    assert len(text) < 100_000


@settings(max_examples=100, deadline=None)
@given(st.lists(SPOTS, min_size=1, max_size=60), st.lists(EVENTS, max_size=80))
def test_every_alert_is_in_one_mark_within_the_drawing_contract_78(
    spots: list[Spot], events: list[Event]
) -> None:
    drawing = draw(spots, events)
    assert len(drawing.lanes) <= MAX_LANES
    marks = [mark for lane in drawing.lanes for mark in lane.marks]
    assert sum(mark.count for mark in marks) == sum(each.count for each in spots)
    assert all(len(lane.marks) <= COLUMNS for lane in drawing.lanes)
    left = [each.left for each in marks]
    left += [each.left for each in drawing.flags]
    left += [each.left for each in drawing.ticks]
    assert all(0 <= each <= 100 for each in left)
    assert all(mark.top < drawing.height for mark in marks)
    assert len(drawing.events) == min(len(events), MAX_FLAGS)


def test_an_earlier_alert_is_never_right_of_a_later_one_contract_78() -> None:
    """A pause of a week does not press a burst into one mark."""
    times = [0.0, 1.0, 2.0, 60.0, 600_000.0]
    drawing = draw([Spot(at, "a", "review", 60.0, 1) for at in times], [])
    [lane] = drawing.lanes
    left = [mark.left for mark in lane.marks]
    assert left == sorted(left)
    assert len(left) == len(times)
    assert drawing.has_days


@pytest.mark.parametrize("count", [1, 7, 8, 9, 30])
def test_more_hosts_than_lanes_share_the_last_contract_78(count: int) -> None:
    drawing = draw([Spot(float(n), f"host-{n}", "urgent", 99.0, 2) for n in range(count)], [])
    assert len(drawing.lanes) == min(count, MAX_LANES)
    if count > MAX_LANES:
        assert drawing.lanes[-1].name == f"{count - MAX_LANES + 1} more hosts"


def test_an_empty_drawing_is_one_too_contract_78() -> None:
    ET.fromstring(drawing_markup(draw([], [])))  # noqa: S314  (our own text)
