"""All forms of time that a vendor may send (contract 13)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.payloads import RECEIVED_AT, YEAR_10000
from vyrox.adapters.timestamps import parse_timestamp
from vyrox.errors import NormalizationError

AT = 1_704_067_200.0  # 2024-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, RECEIVED_AT, id="allow_missing"),
        pytest.param("", RECEIVED_AT, id="allow_empty_text_as_missing"),
        pytest.param(1_704_067_200, AT, id="allow_seconds"),
        pytest.param(1_704_067_200.5, AT + 0.5, id="allow_float_seconds"),
        pytest.param(1_704_067_200_500, AT + 0.5, id="allow_milliseconds"),
        pytest.param(10**11 - 1, 99_999_999_999.0, id="allow_seconds_below_10_to_11"),
        pytest.param(10**11, 100_000_000.0, id="allow_milliseconds_from_10_to_11"),
        pytest.param(1e11, 1e11, id="allow_float_is_never_milliseconds"),
        pytest.param(0, 0.0, id="allow_zero"),
        pytest.param(YEAR_10000 * 1000 - 1, YEAR_10000 - 0.001, id="allow_last_millisecond"),
        pytest.param("2024-01-01T00:00:00Z", AT, id="allow_iso"),
        pytest.param("2024-01-01T00:00:00.5Z", AT + 0.5, id="allow_1_digit"),
        pytest.param("2024-01-01T00:00:00.250Z", AT + 0.25, id="allow_3_digits"),
        pytest.param("2024-01-01T00:00:00.2500000Z", AT + 0.25, id="allow_7_digits"),
        pytest.param("2024-01-01T00:00:00.250000000Z", AT + 0.25, id="allow_9_digits"),
        pytest.param("2024-01-01T00:00:00.2500009Z", AT + 0.25, id="allow_cut_to_microseconds"),
        pytest.param("2024-01-01T02:00:00+02:00", AT, id="allow_offset"),
        pytest.param("2023-12-31T19:00:00-0500", AT, id="allow_offset_without_colon"),
        pytest.param("2024-01-01T00:00:00", AT, id="allow_no_zone_as_utc"),
        pytest.param("2024-01-01 00:00:00.250", AT + 0.25, id="allow_space_and_no_zone"),
        pytest.param("2024-01-01", AT, id="allow_date_alone"),
    ],
)
def test_parse_timestamp_contract_13(value: object, expected: float) -> None:
    seconds, notes = parse_timestamp(value, RECEIVED_AT)
    assert (seconds, notes) == (expected, ())
    assert isinstance(seconds, float)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(True, id="reject_true"),
        pytest.param(False, id="reject_false"),
        pytest.param([], id="reject_list"),
        pytest.param({}, id="reject_object"),
        pytest.param("yesterday", id="reject_prose"),
        pytest.param("nan", id="reject_text_nan"),
        pytest.param("1704067200", id="reject_digits_as_text"),
        pytest.param("14:32:00", id="reject_time_alone"),
        pytest.param(" 2024-01-01T00:00:00Z", id="reject_leading_space"),
        pytest.param("2024-01-01T00:00:00Z\n", id="reject_final_newline"),
        pytest.param("2016-12-31T23:59:60Z", id="reject_leap_second"),
        pytest.param("2024-02-30T00:00:00Z", id="reject_30_february"),
        pytest.param("2024-01-01T00:00:00+24:00", id="reject_offset_of_a_day"),
        pytest.param("\uff12\uff10\uff12\uff14-01-01", id="reject_full_width_digits"),
        pytest.param("2024-01-01T00:00:00Z\x00", id="reject_final_nul"),
        pytest.param("2024-01-01\x0000:00:00", id="reject_nul_inside"),
        pytest.param("\ud800", id="reject_lone_surrogate"),
        pytest.param("9" * 5000, id="reject_5000_digits_as_text"),
    ],
)
def test_parse_timestamp_raises_contract_13(value: object) -> None:
    with pytest.raises(NormalizationError, match=r"^timestamp: "):
        parse_timestamp(value, RECEIVED_AT)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("1969-12-31T23:59:59Z", id="allow_before_1970"),
        pytest.param("0001-01-01T00:00:00+14:00", id="allow_before_year_1"),
        pytest.param("9999-12-31T23:59:59-14:00", id="allow_after_year_9999"),
        pytest.param("9999-12-31T23:59:59.999999Z", id="allow_what_rounds_to_year_10000"),
        pytest.param(-1, id="allow_negative"),
        pytest.param(-0.001, id="allow_negative_float"),
        pytest.param(YEAR_10000 * 1000, id="allow_milliseconds_in_year_10000"),
        pytest.param(float(YEAR_10000), id="allow_float_in_year_10000"),
        pytest.param(1_704_067_200_000_000, id="allow_microseconds"),
        pytest.param(10**400, id="allow_400_digits"),
        pytest.param(-(10**400), id="allow_negative_400_digits"),
        pytest.param(10**5000, id="allow_5000_digits"),
        pytest.param(math.nan, id="allow_nan"),
        pytest.param(math.inf, id="allow_infinity"),
        pytest.param(-math.inf, id="allow_negative_infinity"),
        pytest.param("0000-00-00T00:00:00Z", id="allow_year_0"),
        pytest.param("10000-01-01", id="allow_five_digits"),
        pytest.param("+30828-01-01T00:00:00.000Z", id="allow_expanded_year"),
        pytest.param("-0001-01-01 00:00", id="allow_negative_year"),
    ],
)
def test_parse_timestamp_far_from_now_is_the_time_of_receipt_contract_13_and_44(
    value: object,
) -> None:
    seconds, notes = parse_timestamp(value, RECEIVED_AT)
    assert seconds == RECEIVED_AT
    assert notes == ("timestamp not in the years 1970 to 9999, replaced by the time of receipt",)


@given(
    st.one_of(
        st.integers(),
        st.integers(-(10**20), 10**20),
        st.floats(),
        st.text(),
        st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{0,9})?(Z|[+-]\d\d:?\d\d)?"),
        st.datetimes().map(str),
    )
)
def test_parse_timestamp_gives_a_time_in_range_or_raises(value: object) -> None:
    try:
        seconds, notes = parse_timestamp(value, RECEIVED_AT)
    except NormalizationError:
        return
    assert 0 <= seconds < YEAR_10000
    assert not notes or seconds == RECEIVED_AT
