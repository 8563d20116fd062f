"""Log lines for people: time, level, event, fields, and ids at the end (contract 90)."""

import logging
import os
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from vyrox.cli.output import printable
from vyrox.clock import utc_text
from vyrox.log import Encode, bounded, encode_json
from vyrox.settings import Settings

STANDARD_ERROR: Final = 2

EVENT_WIDTH: Final = 22
"""Columns of an event's name. Longer names move their fields to the right."""

INDENT: Final = 15
"""Columns of time and level. The second line of an event begins below the event's name."""

MIN_WIDTH: Final = 40
"""A narrower terminal breaks the lines itself."""

_FIRST: Final = ("tenant", "host", "reason", "severity")
_LAST: Final = ("alert_id", "request_id")
_SHORT_NAMES: Final = {"alert_id": "alert", "request_id": "req"}
_LONG_ID: Final = re.compile(
    r"([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|([0-9a-f]{12})[0-9a-f]{52}"
)
"""A UUID, or a hash of 64 digits. Commands take the beginning of an id. A vendor's ids of a device
are shorter, and stay whole."""

_QUOTED: Final = re.compile(r'[\s="\\]')

_COUNTS: Final = "event_counts"
_START: Final = "serving"
_START_WORDS: Final = {
    "ingestion": "public",
    "proxy": "private",
    "dry_run": "DRY RUN: no vendor is called",
    "live": "LIVE: approved actions go to the vendors",
}

_LEVELS: Final = {logging.INFO: "info ", logging.WARNING: "warn "}
_DIM: Final = "\033[2m"
_BOLD: Final = "\033[1m"
_YELLOW: Final = "\033[33m"
_RED: Final = "\033[31m"
_END: Final = "\033[0m"


def choose(settings: Settings) -> Encode:
    """Return what makes the lines of the log: LOG_FORMAT, else text on a terminal."""
    is_terminal = os.isatty(STANDARD_ERROR)
    default = "text" if is_terminal else "json"
    if (settings.log_format or default) == "json":
        return encode_json
    is_utf8 = (getattr(sys.stderr, "encoding", None) or "").lower().replace("-", "") == "utf8"
    return TextLines(
        is_terminal=is_terminal,
        has_colors=is_terminal and not settings.no_color,
        charset="utf-8" if is_utf8 else "ascii",
    ).encode


class TextLines:
    """Makes the lines.

    Args:
        is_terminal: Lines are folded at its width, and ids are cut to their first 8 digits.
    """

    def __init__(self, *, is_terminal: bool, has_colors: bool, charset: str = "utf-8") -> None:
        self._is_terminal = is_terminal
        self._has_colors = has_colors
        self._charset = charset
        self._written: Counter[str] = Counter()

    def encode(
        self, at: float, level: int, name: str, fields: Mapping[str, object], traceback: str | None
    ) -> bytes:
        """As `log.Encode`."""
        shown = {key: value for key, value in fields.items() if value is not None}
        if name == _COUNTS:
            # Of interest to a person are only the events whose own lines were left out.
            shown = self._not_written(shown.get("totals"))
            if not shown:
                return b""
        self._written[name] += 1
        head = f"{utc_text(at, '%H:%M:%S')} {_LEVELS.get(level, 'ERROR')} "
        event = f"{printable(name):{EVENT_WIDTH}}"
        body = self._start(shown) if name == _START else self._folded(event, shown)
        lines = [*body, *self._traceback(traceback)]
        first = self._colored(lines[0], event, level)
        time = f"{_DIM}{head}{_END}" if self._has_colors else head
        text = "\n".join([f"{time}{first}", *lines[1:]])
        return text.encode(self._charset, "backslashreplace")

    def _not_written(self, totals: object) -> dict[str, object]:
        found = Counter(totals if isinstance(totals, dict) else {}) - self._written
        self._written += found
        return dict(sorted(found.items()))

    def _folded(self, event: str, fields: Mapping[str, object]) -> list[str]:
        words = list(self._ordered(fields))
        if not self._is_terminal:
            return [" ".join([event, *words]).rstrip()]
        name = event.rstrip()
        # The blanks behind the name are NULs, which no word has: so they are kept, with the name.
        text = " ".join([name + "\0" * (len(event) - len(name)), *words])
        lines = textwrap.wrap(
            text,
            max(_terminal_width(), MIN_WIDTH),
            initial_indent=" " * INDENT,
            subsequent_indent=" " * INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return [lines[0][INDENT:].replace("\0", " ").rstrip(), *lines[1:]]

    def _ordered(self, fields: Mapping[str, object]) -> Iterator[str]:
        others = [key for key in fields if key not in _FIRST and key not in _LAST]
        for key in (*_FIRST, *others, *_LAST):
            if key in fields:
                name = _SHORT_NAMES.get(key, printable(key))
                value = self._value(bounded(fields[key]))
                yield value if key == "tenant" else f"{name}={value}"

    def _value(self, value: object) -> str:
        text = str(value)
        if self._is_terminal and (long_id := _LONG_ID.fullmatch(text)):
            return long_id[1] or long_id[2]
        if not text or _QUOTED.search(text):
            text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return printable(text)

    def _start(self, fields: Mapping[str, object]) -> list[str]:
        words = {
            _START_WORDS.get(key, printable(key)): _START_WORDS.get(str(value), str(value))
            for key, value in fields.items()
        }
        others = [
            f"{' ' * INDENT}{key:10}{printable(words[key])}" for key in words if key != "mode"
        ]
        return [f"{_START:{EVENT_WIDTH}} {printable(words.get('mode', ''))}".rstrip(), *others]

    def _colored(self, line: str, event: str, level: int) -> str:
        if not self._has_colors:
            return line
        color = _BOLD if level < logging.WARNING else _YELLOW if level < logging.ERROR else _RED
        name = event.rstrip()
        name = name if line.startswith(name) else line  # a library's long text is folded
        return f"{color}{name}{_END}{line.removeprefix(name)}"

    @staticmethod
    def _traceback(traceback: str | None) -> list[str]:
        return [f"  {printable(line)}" for line in (traceback or "").splitlines()]


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(STANDARD_ERROR).columns
    except OSError:
        return MIN_WIDTH * 2
