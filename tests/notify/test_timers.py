"""When an incident is announced (contract 58)."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audit import NOW
from vyrox.notify.messages import Band, Status
from vyrox.notify.timers import (
    Announced,
    Intervals,
    NextAnnouncement,
    is_held_back,
    next_announcement,
)

ago = st.floats(0, 200_000)
incidents = st.builds(
    lambda status, band, opened, announced, changed: Announced(
        status=status,
        band=band,
        opened_at=NOW - opened,
        announced_band=announced[0] if announced else None,
        announced_at=NOW - announced[1] if announced else None,
        changed=changed,
    ),
    st.sampled_from(get_args(Status)),
    st.sampled_from(get_args(Band)),
    ago,
    st.none() | st.tuples(st.sampled_from(["review", "urgent"]), ago),
    st.booleans(),
)


def announced(band: Band, *, at: float | None = NOW, **more: object) -> Announced:
    return Announced(
        **{  # type: ignore[arg-type]
            "status": "open",
            "band": band,
            "opened_at": NOW,
            "announced_band": None if at is None else band,
            "announced_at": at,
            **more,
        }
    )


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        pytest.param(announced("urgent", at=None), (0, "opened"), id="urgent_at_once"),
        pytest.param(announced("review", at=None), (30, "opened"), id="review_waits"),
        pytest.param(announced("close", at=None), None, id="close_never"),
        pytest.param(announced("review"), None, id="nothing_new"),
        pytest.param(announced("review", changed=True), (300, "updated"), id="changed"),
        pytest.param(announced("urgent"), (14_400, "reminder"), id="repeats_while_urgent"),
        pytest.param(announced("urgent", changed=True), (300, "updated"), id="change_first"),
        pytest.param(announced("urgent", status="acknowledged"), None, id="acknowledged"),
        pytest.param(
            announced("urgent", status="acknowledged", changed=True),
            (300, "updated"),
            id="acknowledged_and_changed",
        ),
        pytest.param(
            announced("urgent", announced_band="review"), (0, "updated"), id="rise_breaks_through"
        ),
        pytest.param(announced("urgent", status="closed", changed=True), None, id="closed"),
    ],
)
def test_next_announcement_contract_58(
    incident: Announced, expected: tuple[float, str] | None
) -> None:
    found = next_announcement(incident, NOW)
    assert found == (None if expected is None else NextAnnouncement(NOW + expected[0], expected[1]))  # type: ignore[arg-type]


@given(incidents)
def test_timers_hold_for_every_incident_contract_58(incident: Announced) -> None:
    found = next_announcement(incident, NOW)
    if incident.status == "closed" or incident.band == "close":
        assert found is None
        return
    is_first = incident.announced_at is None
    is_rise = incident.announced_band == "review" and incident.band == "urgent"
    assert (found is not None and found.kind == "opened") == is_first
    if (is_first and incident.band == "urgent") or is_rise:
        assert found is not None
        assert found.at <= NOW
    elif found is not None:
        # Never sooner than the shortest interval after what it follows.
        assert found.at >= (incident.announced_at or incident.opened_at) + 30
        assert is_first or incident.changed or incident.band == "urgent"
    else:
        assert not incident.changed


@given(incidents, ago)
def test_a_clock_that_was_ahead_delays_by_no_more_than_an_interval_contract_58(
    incident: Announced, behind_s: float
) -> None:
    now = NOW - 400_000 - behind_s
    found = next_announcement(incident, now)
    assert found is None or found.at <= now + 14_400


@given(st.sampled_from(get_args(Band)), st.integers(0, 100), st.integers(1, 100))
def test_limit_of_an_hour_never_holds_back_what_is_urgent_contract_58(
    band: Band, sent: int, per_hour: int
) -> None:
    assert is_held_back(band, sent, per_hour) == (band != "urgent" and sent >= per_hour)


@pytest.mark.parametrize("name", Intervals.__struct_fields__)
def test_interval_below_30_s_is_refused_contract_58(name: str) -> None:
    assert getattr(Intervals(**{name: 30}), name) == 30
    for short in (29.9, 0, -1, float("nan")):
        with pytest.raises(ValueError, match=f"{name} must be at least 30 seconds"):
            Intervals(**{name: short})
