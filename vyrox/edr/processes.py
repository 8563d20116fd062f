"""The list of processes that a host gives through Real Time Response, and one process in it.

CrowdStrike publishes no format of it. What is read here is a table with a line of headings, with
columns apart by two spaces or a tab, and a start time whose zone is told; on a host that lists its
processes in another way none is killed.
"""

import re
from datetime import datetime, timedelta, timezone
from typing import Final

import msgspec

TOLERANCE_S: Final = 2.0
"""Between two records of one start, of which each is cut to whole seconds."""

_GAP = re.compile(r"\t+|[ \t]{2,}")
_NAMES: Final = frozenset({"name", "processname", "process name", "image", "imagename"})
_IDS: Final = frozenset({"id", "pid", "processid", "process id"})
_STARTS: Final = re.compile(r"(?:start ?time|started|start|creation ?date|creation ?time)\b", re.I)
_ZONE: Final = re.compile(
    r"\b(?:UTC|GMT)(?P<offset>(?P<sign>[+-])(\d{1,2})(?::?([0-5]\d))?)?", re.I
)
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
        """Return whether both are records of one process, and not of two with one number."""
        return (
            _stem(self.name) == _stem(other.name)
            and abs(self.started_at - other.started_at) <= TOLERANCE_S
        )


def find_process(listing: str, pid: int) -> Process | None:
    """Return the one process with the number `pid`, or None where the list has none such.

    Args:
        listing: What `ps` has printed; a host that may be an attacker's wrote it.

    Raises:
        ValueError: The list has another form, or two such processes, or does not tell the start.
    """
    lines = [_GAP.split(line.strip()) for line in listing.splitlines()]
    for number, cells in enumerate(lines):
        columns = _columns(cells)
        if columns is None:
            continue
        name, identifier, start = columns
        found = [row for row in lines[number + 1 :] if len(row) > max(columns)]
        found = [row for row in found if row[identifier] == str(pid)]
        if len(found) > 1:
            raise ValueError("several processes with one number")
        if not found:
            return None
        return Process(found[0][name], _parse_start(found[0][start], cells[start]))
    raise ValueError("no list of processes")


def _columns(cells: list[str]) -> tuple[int, int, int] | None:
    """Return where name, number and start stand, if `cells` are the headings."""
    name = [i for i, cell in enumerate(cells) if cell.casefold() in _NAMES]
    identifier = [i for i, cell in enumerate(cells) if cell.casefold() in _IDS]
    start = [i for i, cell in enumerate(cells) if _STARTS.match(cell)]
    if len(name) == len(identifier) == len(start) == 1:
        return name[0], identifier[0], start[0]
    return None


def _parse_start(text: str, heading: str) -> float:
    """Return `text` as Unix seconds. Raises ValueError if it or its zone cannot be told."""
    at = _parse_datetime(text)
    if at.tzinfo is None:
        zone = _ZONE.search(heading)
        if zone is None:
            raise ValueError("a start time without a zone")
        _, sign, hours, minutes = zone.groups()
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        at = at.replace(tzinfo=timezone(-offset if sign == "-" else offset))
    return at.timestamp()


def _parse_datetime(text: str) -> datetime:
    for form in _FORMATS:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007  (the heading tells the zone)
        except ValueError:
            continue
    return datetime.fromisoformat(text)


def _stem(name: str) -> str:
    """Return the name without what one record has and another leaves out: path, case, `.exe`."""
    return re.split(r"[\\/]", name)[-1].casefold().removesuffix(".exe")
