"""Parses the time of a detection in all forms that vendors send (contract 13)."""

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from vyrox.errors import NormalizationError

Timestamp = int | float | str | None
"""The JSON types that a vendor's time may have. A boolean is not one of them."""

_MILLISECONDS_FROM: Final = 10**11
"""Integers from this value on are milliseconds (from 1973); as seconds it is the year 5138."""

_YEAR_10000: Final = 253_402_300_800
"""The first second that `datetime`, and so every later reader, cannot represent."""

_FAR_YEAR: Final = re.compile(r"(?:0000|-\d{4,6}|\+?[1-9]\d{4,5})-\d\d-\d\d(?:[T ].*)?", re.ASCII)
"""ISO 8601 with a year that `datetime` cannot represent. A year below 10000 has four digits."""

_OUT_OF_RANGE: Final = "timestamp not in the years 1970 to 9999, replaced by the time of receipt"


class EventTime(NamedTuple):
    """Unix seconds, and notes for the alert."""

    seconds: float
    notes: tuple[str, ...] = ()


def parse_timestamp(value: object, received_at: float) -> EventTime:
    """Return the time that `value` means.

    If it is missing (None or empty text), return `received_at`. If it is not in the years 1970 to
    9999, return `received_at` with a note: the clock may be on a host that an attacker controls.

    Args:
        value: A decoded JSON value: seconds, integer milliseconds, or ISO 8601 text. Text without
            a time zone is in UTC. Fractions are truncated to microseconds.
        received_at: Unix seconds.

    Raises:
        NormalizationError: `value` is of another type, or its text is invalid.
    """
    if value is None or value == "":
        return EventTime(received_at)
    try:
        seconds = _to_seconds(value)
    except (TypeError, ValueError) as exc:
        raise NormalizationError("timestamp: neither Unix time nor ISO 8601") from exc
    # Written with `not` because every comparison with NaN is false.
    if not 0 <= seconds < _YEAR_10000:
        return EventTime(received_at, (_OUT_OF_RANGE,))
    return EventTime(seconds)


def _to_seconds(value: object) -> float:
    """Return Unix seconds; infinity if Python cannot represent the time."""
    if isinstance(value, str):
        return _read_iso(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("neither a number nor text")
    try:
        if isinstance(value, int) and value >= _MILLISECONDS_FROM:
            return value / 1000
        return float(value)
    except OverflowError:
        return float("inf")


def _read_iso(text: str) -> float:
    if not text.isprintable():
        raise ValueError("a control character")  # `fromisoformat` stops reading at a NUL
    if _FAR_YEAR.fullmatch(text):
        return float("inf")
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
