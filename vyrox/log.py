"""The log: one JSON object per line on standard error. Lines are bounded and never block a request.

The product logs with `event`. Every event is counted by name, and the counts are logged once a
minute: so an event is visible even if its own lines were not written.
"""

import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from vyrox import metrics

logger = logging.getLogger("vyrox")

MAX_FIELD: Final = 256
"""Characters of one field. An attacker can choose the text of some fields."""

MAX_MESSAGE: Final = 8192
"""Characters of a library's message or of a traceback."""

MAX_LINES_PER_SECOND: Final = 100
"""Lines of one event per second, from WARNING up: many bad requests must not fill the log."""

MAX_BUFFERED: Final = 10_000
"""Lines that wait while standard error is slow or blocked. Further lines are dropped and counted.
"""

WRITE_INTERVAL_S: Final = 0.02
"""Time between two writes. A thread that wakes up for each line would often take the interpreter's
lock from the event loop. If the process is killed, the lines of this interval are lost."""

WRITTEN_AT_ONCE: Final = 256
"""Lines in one write."""

FLUSH_S: Final = 2.0
"""How long the end of the process waits for a blocked standard error."""

_STANDARD_ERROR: Final = 2

_WRITTEN_AS_THEY_ARE: Final = (int, float, dict)
_PRINTABLE: Final = re.compile(rb"[ -~]*")

counts: Final[Counter[str]] = Counter()
"""How often each event has happened in this process."""

_paced: dict[str, tuple[int, Mapping[str, object]]] = {}
"""By name: the number of events since the last line, and the fields of the latest event."""

_lines_in_second: dict[str, tuple[int, int]] = {}
"""By name: a second, and the number of lines in it."""


def event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """Count the event `name` and log it with `fields`.

    At ERROR, inside an `except`, the line also has the traceback.

    Args:
        name: One of a fixed set of dotted names, never made from input.
        level: From WARNING up, lines beyond MAX_LINES_PER_SECOND are counted but not written.
        fields: Values for the reader. The caller must not pass secrets or payloads.
    """
    counts[name] += 1
    if (count := metrics.OF_EVENTS.get(name)) is not None:
        count(fields)
    if level >= logging.WARNING:
        if level >= logging.ERROR:
            metrics.ERRORS.add()
        if _may_write(name):
            # Without an exception, True would print "NoneType: None" in a consumer's own log.
            traceback = level >= logging.ERROR and sys.exc_info()[0] is not None
            logger.log(level, name, extra={"fields": fields}, exc_info=traceback)
    elif _lines is not None and logger.isEnabledFor(level):
        # Not through `logging`: its record costs more time than the rest of the line.
        now = time.time()  # noqa: TID251  (as `logging` does)
        _lines.put(_lines.encode(now, level, name, fields, None))
    else:
        logger.log(level, name, extra={"fields": fields})


def paced_event(name: str, **fields: object) -> None:
    """Count the event `name`; log the first at once, and later ones once a minute as a number.

    For events that any client can cause. After a minute without one, the next is logged at once.
    """
    if name in _paced:
        counts[name] += 1
        _paced[name] = (_paced[name][0] + 1, fields)
    else:
        _paced[name] = (0, {})
        event(name, logging.WARNING, **fields)


def report_paced() -> None:
    """Log the events that `paced_event` has only counted. Call it once a minute."""
    for name, (number, fields) in list(_paced.items()):
        if number:
            _paced[name] = (0, {})
            logger.warning(name, extra={"fields": {**fields, "number": number}})
        else:
            del _paced[name]


def _may_write(name: str) -> bool:
    second = int(datetime.now(UTC).timestamp())  # noqa: TID251  (limits lines, decides nothing)
    last, lines = _lines_in_second.get(name, (0, 0))
    lines = lines + 1 if last == second else 1
    _lines_in_second[name] = (second, lines)
    return lines <= MAX_LINES_PER_SECOND


Encode = Callable[[float, int, str, Mapping[str, object], str | None], bytes]
"""Takes Unix seconds, level, name of the event, fields and traceback. Returns the line, or lines,
without the last newline. No input may start a line or control a terminal; empty: nothing."""


class JsonLines(logging.Formatter):
    """Formats a record as one line of ASCII: no input can start a line or control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        return self.encoded(record, encode_json).decode("ascii")

    def encoded(self, record: logging.LogRecord, encode: Encode) -> bytes:
        """Return what `encode` makes of the record."""
        extra: dict[str, object] = {}
        if record.name != logger.name:
            extra["logger"] = record.name
        if request_id := getattr(record, "request_id", None):
            extra["request_id"] = request_id
        fields: dict[str, object] = getattr(record, "fields", {})
        traceback = None
        if record.exc_info and record.exc_info[0] is not None:
            traceback = self.formatException(record.exc_info)[-MAX_MESSAGE:]
        message = record.getMessage()[:MAX_MESSAGE]
        return encode(record.created, record.levelno, message, {**extra, **fields}, traceback)


def encode_json(
    at: float, level: int, name: str, fields: Mapping[str, object], traceback: str | None
) -> bytes:
    """Return a JSON object of printable ASCII, as `Encode`."""
    line: dict[str, object] = {
        "at": f"{_second(int(at))}.{int(at % 1 * 1000):03}+00:00",
        "level": _level(level),
        "event": name,
    }
    for key, value in fields.items():
        if value is not None:
            line[key] = bounded(value)
    if traceback is not None:
        line["traceback"] = traceback
    with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate
        encoded = msgspec.json.encode(line)
        if _PRINTABLE.fullmatch(encoded):
            return encoded
    return json.dumps(line, separators=(",", ":")).encode()


@lru_cache(2)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache
def _level(level: int) -> str:
    return logging.getLevelName(level).lower()


def bounded(value: object) -> object:
    """Return `value` as it is written: a number or a dictionary as it is, else as short text."""
    return value if isinstance(value, _WRITTEN_AS_THEY_ARE) else str(value)[:MAX_FIELD]


class _Lines:
    """A buffer of lines, and the thread that writes them to standard error.

    It uses neither `sys.stderr` nor a stream handler of `logging`: both have a lock, which a thread
    blocked by a full pipe would never release, and which the interpreter needs at the exit.
    """

    def __init__(self, encode: Encode) -> None:
        self.encode = encode
        self._waiting: deque[bytes] = deque()
        self._any = threading.Event()  # a line waits
        self._wake = threading.Event()  # many lines wait, or it is the end
        self._ended = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, line: bytes) -> None:
        waiting = len(self._waiting)
        if not line:
            return
        if waiting >= MAX_BUFFERED:
            counts["log.dropped"] += 1
            return
        self._waiting.append(line)
        if not self._any.is_set():
            self._any.set()
        if waiting == MAX_BUFFERED // 2:
            self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()
        self._any.set()
        self._thread.join(FLUSH_S)

    def _write(self) -> None:
        while not self._ended or self._waiting:
            self._any.wait()
            self._any.clear()  # before the lines are taken: a later line sets it again
            self._wake.wait(WRITE_INTERVAL_S)
            self._wake.clear()
            while self._waiting:
                count = min(len(self._waiting), WRITTEN_AT_ONCE)
                self._write_out(b"".join(self._waiting.popleft() + b"\n" for _ in range(count)))

    def _write_out(self, lines: bytes) -> None:
        try:
            while lines:
                lines = lines[os.write(_STANDARD_ERROR, lines) :]
        except OSError:  # a closed standard error must not end the thread
            counts["log.dropped"] += lines.count(b"\n")


class _LinesHandler(logging.Handler):
    """Receives the records of `logging`, including those of libraries."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines
        self._formatter = JsonLines()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._formatter.encoded(record, self._lines.encode)
        except Exception:  # noqa: BLE001  (an invalid record must not fail the code that logs it)
            counts["log.dropped"] += 1
        else:
            self._lines.put(line)


_lines: _Lines | None = None
"""The buffer for the lines of `event`, while `configured` runs."""


@contextmanager
def configured(level: int = logging.INFO, encode: Encode = encode_json) -> Iterator[None]:
    """Write every log record of the process to standard error, in a separate thread."""
    global _lines
    lines = _Lines(encode)
    handler = _LinesHandler(lines)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    for noisy in ("alembic", "httpx", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    lines.start()
    _lines = lines
    try:
        yield
    finally:
        _lines = None
        root.removeHandler(handler)
        lines.end()


async def report_counts() -> None:
    """Log how often each event has happened since the start, and the paced events."""
    report_paced()
    if counts:
        event("event_counts", totals=dict(sorted(counts.items())))
