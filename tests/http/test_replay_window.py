"""The replay window (contract 19 and 26)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vyrox.errors import StaleRequestError
from vyrox.http.replay_window import WINDOW_S, check_window

SIGNED_AT = 1_704_067_200


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(SIGNED_AT, id="allow_the_same_instant"),
        pytest.param(SIGNED_AT + 30.0, id="allow_30_000_s_ago"),
        pytest.param(SIGNED_AT - 30.0, id="allow_30_000_s_ahead"),
        pytest.param(SIGNED_AT + 29.999, id="allow_29_999_s_ago"),
        pytest.param(SIGNED_AT - 29.999, id="allow_29_999_s_ahead"),
    ],
)
def test_check_window_within_30_s_passes_contract_19(now: float) -> None:
    check_window(SIGNED_AT, now)


@pytest.mark.parametrize(
    ("signed_at", "now"),
    [
        pytest.param(SIGNED_AT, SIGNED_AT + 30.001, id="reject_30_001_s_ago"),
        pytest.param(SIGNED_AT, SIGNED_AT - 30.001, id="reject_30_001_s_ahead"),
        pytest.param(0, SIGNED_AT + 0.25, id="reject_the_epoch"),
        pytest.param(-SIGNED_AT, SIGNED_AT + 0.25, id="reject_negative"),
        pytest.param(SIGNED_AT * 1000, SIGNED_AT + 0.25, id="reject_milliseconds"),
        pytest.param(2**63, SIGNED_AT + 0.25, id="reject_beyond_64_bits"),
        pytest.param(10**4299, SIGNED_AT + 0.25, id="reject_beyond_floats"),
        pytest.param(-(10**4299), SIGNED_AT + 0.25, id="reject_beyond_floats_negative"),
    ],
)
def test_check_window_beyond_30_s_is_stale_contract_19(signed_at: int, now: float) -> None:
    with pytest.raises(StaleRequestError):
        check_window(signed_at, now)


@given(signed_at=st.integers(0, 2**33), offset_ms=st.integers(-31_000, 31_000))
def test_check_window_decides_by_the_millisecond_contract_19(
    signed_at: int, offset_ms: int
) -> None:
    now = signed_at + offset_ms / 1000
    try:
        check_window(signed_at, now)
        passed = True
    except StaleRequestError:
        passed = False
    assert passed == (abs(offset_ms) <= WINDOW_S * 1000)
