"""When something happened, in every form that vendors send (contract 70).

On the contract's own paths a time that cannot be read is a 422 (contract 13). Here the next time
in the payload is taken, and in the end the time of receipt: an odd clock must not lose an alert.
"""

import re
from collections.abc import Iterable
from typing import Final

from vyrox.adapters.timestamps import EventTime, parse_timestamp
from vyrox.errors import NormalizationError

_NUMBER: Final = re.compile(r"\d{1,20}(?:\.\d{1,20})?(?:[eE]\+?\d{1,2})?", re.ASCII)

_UNITS: Final = (
    (10**11, 1, 0),
    (10**14, 10**3, 0),
    (10**17, 10**6, 0),
    (265 * 10**15, 10**7, 11_644_473_600),
    (10**20, 10**9, 0),
)
"""Numbers below the first value are seconds; then milliseconds, microseconds, the 100 nanoseconds
since 1601 of a Windows FILETIME (of the years to 2440), and nanoseconds."""

_GO_ZONE: Final = re.compile(r"(?: ?[+-]00:?00)? ?UTC$")
"""The zone as Go and Python print it: `+0000 UTC`, or ` UTC`."""

_FIRST_DAY: Final = 86_400.0
"""A time on the first day of 1970 means "none"."""

_UNREADABLE: Final = "no time in the payload could be read, replaced by the time of receipt"


def seconds_of(text: str) -> float | None:
    """Return Unix seconds; None if `text` is not a time, or means "none"."""
    text = text.strip()
    try:
        seconds = _number(text) if _NUMBER.fullmatch(text) else _iso(text)
    except NormalizationError:
        return None
    return seconds if seconds is not None and seconds >= _FIRST_DAY else None


def first_time(texts: Iterable[str], received_at: float) -> EventTime:
    """Return the first of `texts` that is a time, or else the time of receipt.

    The result has a note if there are texts but none is a time.
    """
    there_is_one = False
    for text in texts:
        there_is_one = True
        if (seconds := seconds_of(text)) is not None:
            return EventTime(seconds)
    return EventTime(received_at, (_UNREADABLE,) if there_is_one else ())


def _number(text: str) -> float | None:
    # An integer stays exact: a float has too few digits for 100 nanoseconds since 1601.
    number = int(text) if text.isdigit() else float(text)
    for limit, per_second, epoch in _UNITS:
        if number < limit:
            whole, rest = divmod(number, per_second)
            return whole - epoch + rest / per_second
    return None


def _iso(text: str) -> float | None:
    time = parse_timestamp(_GO_ZONE.sub("Z", text), -1.0)
    return None if time.notes else time.seconds
