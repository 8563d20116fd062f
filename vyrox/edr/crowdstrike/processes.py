"""The list of processes that a host returns through Real Time Response.

CrowdStrike does not publish its format. This parser reads a table with one line of headings. The
first three columns are name, number and start time, in any order, and the time zone is known. If
the list has another format, no process is killed.
"""

import re
from datetime import datetime, timedelta, timezone
from typing import Final, Literal

import msgspec

MAX_LINES: Final = 20_000
"""Lines of one list. An attacker may control the host that wrote it."""

MAX_LINE_CHARS: Final = 4096
"""Characters of one line. No other thread runs while a line is matched."""

TOLERANCE_S: Final = 2.0
"""Allowed difference of two records of one start time. Each is truncated to seconds."""

_Column = Literal["name", "number", "start"]

_HEADINGS: Final[dict[_Column, re.Pattern[str]]] = {
    "name": re.compile(r"(?:process ?|image ?)?name\b", re.I),
    "number": re.compile(r"(?:process ?)?id\b|pid\b", re.I),
    "start": re.compile(
        r"(?:start(?:ed)?|creation|created) ?(?:time|date|at)?\b(?: ?\((?P<zone>[^)]*)\))?", re.I
    ),
}
_CELLS: Final[dict[_Column, str]] = {
    "name": r"(?P<name>\S.*?)",
    "number": r"(?P<number>[0-9]+)",
    "start": (
        r"(?P<start>[0-9]{1,4}[-/][0-9]{1,2}[-/][0-9]{1,4}[T ][0-9]{1,2}:[0-9]{2}:[0-9]{2}"
        r"(?:\.[0-9]+)?(?: ?[AP]M)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)"
    ),
}
_ZONE: Final = re.compile(r"(?:UTC|GMT)(?:(?P<sign>[+-])([0-9]{1,2})(?::?([0-5][0-9]))?)?", re.I)
_FORMATS: Final = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S")


class Process(msgspec.Struct, frozen=True):
    """One running process.

    Attributes:
        name: Its file's name.
        started_at: Unix seconds.
    """

    name: str
    started_at: float

    def is_same(self, other: "Process") -> bool:
        """Return whether both describe the same process. Its number alone may be reused."""
        return (
            is_same_name(self.name, other.name)
            and abs(self.started_at - other.started_at) <= TOLERANCE_S
        )


def is_same_name(one: str, other: str) -> bool:
    """Return whether both name the same program. Path, case and `.exe` are ignored."""
    return _stem(one) == _stem(other)


class _Table(msgspec.Struct, frozen=True):
    """How to read the lines below the headings.

    Attributes:
        row: Matches one line.
        zone: The time zone in the headings, if any.
    """

    row: re.Pattern[str]
    zone: str | None


def find_process(listing: str, pid: int) -> Process | None:
    """Return the process with the number `pid`, or None if it is not in the list.

    Args:
        listing: The output of `ps`. An attacker may control the host that wrote it.

    Raises:
        ValueError: The list has another format, or two such processes, or no valid start time.
    """
    lines = listing.splitlines()
    if len(lines) > MAX_LINES or any(len(line) > MAX_LINE_CHARS for line in lines):
        raise ValueError("too many lines, or a line that is too long")
    # Each run of white space becomes one space: the time of the patterns below grows with the
    # square of its length.
    lines = [_collapsed(line) for line in lines]
    for number, line in enumerate(lines):
        table = _table(line)
        if table is None:
            continue
        found = _rows(table.row, lines[number + 1 :], str(pid))
        if len(found) > 1:
            raise ValueError("several processes with one number")
        if not found:
            return None
        return Process(found[0]["name"], _parse_start(found[0]["start"], table.zone))
    raise ValueError("not a list of processes")


def _table(line: str) -> _Table | None:
    """Return how to read the lines below `line` if it contains the headings, else None."""
    order: list[_Column] = []
    zone = None
    while len(order) < len(_HEADINGS):
        line = line.lstrip(" ")
        for column, heading in _HEADINGS.items():
            found = heading.match(line)
            if found and column not in order:
                order.append(column)
                zone = found.groupdict().get("zone") or zone
                line = line[found.end() :]
                break
        else:
            return None
    row = " ".join(_CELLS[column] for column in order)
    return _Table(re.compile(f"{row}(?= |$)"), zone)


def _rows(row: re.Pattern[str], lines: list[str], number: str) -> list[re.Match[str]]:
    """Return the rows of the process `number`.

    Raises:
        ValueError: A line with this number cannot be read, so the process cannot be identified.
    """
    found = []
    for line in lines:
        match = row.match(line)
        if match is None and number in line.split():
            raise ValueError("a row that cannot be read")
        if match is not None and match["number"] == number:
            found.append(match)
    return found


def _parse_start(text: str, zone: str | None) -> float:
    """Return `text` as Unix seconds. Raises ValueError if it or its time zone is not valid."""
    at = _parse_datetime(text)
    if at.tzinfo is None:
        parsed = _ZONE.fullmatch((zone or "").replace(" ", ""))
        if parsed is None:
            raise ValueError("a start time without a zone")
        sign, hours, minutes = parsed.groups()
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        at = at.replace(tzinfo=timezone(-offset if sign == "-" else offset))
    return at.timestamp()


def _parse_datetime(text: str) -> datetime:
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007  (the zone is in the headings)
        except ValueError:
            continue
    return datetime.fromisoformat(text)


def _stem(name: str) -> str:
    """Return the name without path, case and `.exe`, in which records differ."""
    return _collapsed(re.split(r"[\\/]", name)[-1]).casefold().removesuffix(".exe")


def _collapsed(text: str) -> str:
    return " ".join(text.split())
