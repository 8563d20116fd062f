"""Times as people read them, also those that no date can show (contract 14 and 79)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.clock import utc_text


@given(st.floats() | st.integers(-(2**63), 2**63 - 1))
def test_no_time_is_an_error(seconds: float) -> None:
    assert utc_text(seconds)
    assert utc_text(seconds, "%H:%M").isprintable()


@given(st.integers(0, 253_402_300_799))
def test_a_time_that_a_date_can_show_is_a_date(seconds: int) -> None:
    text = utc_text(seconds)
    assert datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() == seconds


@pytest.mark.parametrize("seconds", [253_402_300_800, -1e20, float("inf"), 2**63 - 1])
def test_any_other_time_is_a_number(seconds: float) -> None:
    assert utc_text(seconds).startswith("Unix time ")
