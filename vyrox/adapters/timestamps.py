"""When a detection happened, in every form that vendors write it (contract 13)."""

from datetime import UTC, datetime

from vyrox.errors import NormalizationError

Timestamp = int | float | str | None
"""The JSON types a vendor's time may have. A boolean is none of them."""

_MILLISECONDS_FROM = 10**11
"""Integers from here up count milliseconds: 1973 as those, the year 5138 as seconds."""

_YEAR_10000 = 253_402_300_800
"""The first second past what `datetime`, and with it every later reader, can hold."""


def parse_timestamp(value: object, received_at: float) -> float:
    """Return the Unix seconds that `value` stands for, or `received_at` where it is None.

    Args:
        value: A decoded JSON value: seconds, integer milliseconds, or ISO 8601 text, in UTC where
            it names no zone. Fractions beyond microseconds are cut.
        received_at: Unix seconds.

    Raises:
        NormalizationError: `value` is of another type, unreadable, or not in the years 1970
            to 9999.
    """
    if value is None:
        return received_at
    try:
        seconds = _to_seconds(value)
    except (TypeError, ValueError, OverflowError) as exc:
        raise NormalizationError("timestamp: neither Unix time nor ISO 8601") from exc
    # Put this way round because every comparison with NaN is false.
    if not 0 <= seconds < _YEAR_10000:
        raise NormalizationError("timestamp: not in the years 1970 to 9999")
    return seconds


def _to_seconds(value: object) -> float:
    if isinstance(value, str):
        if not value.isprintable():
            raise ValueError("a control character")  # `fromisoformat` takes a NUL for the end.
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("neither a number nor text")
    if isinstance(value, int) and value >= _MILLISECONDS_FROM:
        return value / 1000
    return float(value)
