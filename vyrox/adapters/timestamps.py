"""When a detection happened, in every form that vendors write it (contract 13)."""

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from vyrox.errors import NormalizationError

Timestamp = int | float | str | None
"""The JSON types a vendor's time may have. A boolean is none of them."""

_MILLISECONDS_FROM: Final = 10**11
"""Integers from here up count milliseconds: 1973 as those, the year 5138 as seconds."""

_YEAR_10000: Final = 253_402_300_800
"""The first second past what `datetime`, and with it every later reader, can hold."""

_FAR_YEAR: Final = re.compile(r"(?:0000|-\d{4,6}|\+?[1-9]\d{4,5})-\d\d-\d\d(?:[T ].*)?", re.ASCII)
"""ISO 8601 with a year that `datetime` cannot hold; a year below 10000 has four digits."""

_OUT_OF_RANGE: Final = "timestamp not in the years 1970 to 9999, replaced by the time of receipt"


class EventTime(NamedTuple):
    """Unix seconds, and what is to be noted of them."""

    seconds: float
    notes: tuple[str, ...] = ()


def parse_timestamp(value: object, received_at: float) -> EventTime:
    """Return the time that `value` stands for.

    That is `received_at` if it is missing (None or empty text), and also, with a note, if it is not
    in the years 1970 to 9999: it can come from the clock of a host that an attacker controls.

    Args:
        value: A decoded JSON value: seconds, integer milliseconds, or ISO 8601 text, in UTC where
            it names no zone. Fractions beyond microseconds are cut.
        received_at: Unix seconds.

    Raises:
        NormalizationError: `value` is of another type, or unreadable text.
    """
    if value is None or value == "":
        return EventTime(received_at)
    try:
        seconds = _to_seconds(value)
    except (TypeError, ValueError) as exc:
        raise NormalizationError("timestamp: neither Unix time nor ISO 8601") from exc
    # Put this way round because every comparison with NaN is false.
    if not 0 <= seconds < _YEAR_10000:
        return EventTime(received_at, (_OUT_OF_RANGE,))
    return EventTime(seconds)


def _to_seconds(value: object) -> float:
    """Return Unix seconds; infinity if Python cannot hold the time."""
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
        raise ValueError("a control character")  # `fromisoformat` takes a NUL for the end.
    if _FAR_YEAR.fullmatch(text):
        return float("inf")
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
