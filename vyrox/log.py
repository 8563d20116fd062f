"""Log lines: one JSON object a line on standard error, counted, bounded, never in the way.

`event` is how the product says what happened. Every event is counted by name, and the counts are
logged once a minute, so that a failure shows even where its own lines were held back.
"""

import contextlib
import json
import logging
import os
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

logger = logging.getLogger("vyrox")

MAX_FIELD: Final = 256
"""Characters of one field; an attacker chooses some of them."""

MAX_TEXT: Final = 8192
"""Characters of a library's message or of a traceback, which ends with a library's message."""

MAX_LINES_PER_SECOND: Final = 100
"""Of one warning's name: a flood of bad requests must not become a flood of lines."""

MAX_BUFFERED: Final = 10_000
"""Lines waiting for a slow or blocked sink; beyond it lines are dropped and counted."""

WRITE_INTERVAL_S: Final = 0.02
"""Between two writes. A thread that woke up for every line would take the interpreter's lock from
the event loop each time; what is lost with a process that is killed is the lines of this long."""

WRITTEN_AT_ONCE: Final = 256
"""Lines handed to the sink together."""

FLUSH_S: Final = 2.0
"""How long the end of the process waits for a sink that takes nothing."""

_STANDARD_ERROR: Final = 2

_WRITTEN_AS_THEY_ARE: Final = (int, float, dict)
_PRINTABLE: Final = re.compile(rb"[ -~]*")

counts: Final[Counter[str]] = Counter()
_paced: dict[str, tuple[int, Mapping[str, object]]] = {}
"""By name: how many were not logged since the last line, and the fields of the latest."""
_lines_in_second: dict[str, tuple[int, int]] = {}


def event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """Count `name` and log it with `fields`; a traceback is added inside an `except` at ERROR.

    Args:
        name: One of a fixed set of dotted names, never made from input.
        level: From WARNING up, lines beyond MAX_LINES_PER_SECOND of one name are counted but not
            written.
        fields: Values for the reader. The caller leaves out secrets and payloads.
    """
    counts[name] += 1
    if level >= logging.WARNING:
        if _may_write(name):
            logger.log(level, name, extra={"fields": fields}, exc_info=level >= logging.ERROR)
    elif _lines is not None and logger.isEnabledFor(level):
        # Past `logging`, whose records cost more than all the rest of an accepted alert's line.
        _lines.put(_encode(time.time(), level, name, fields))  # noqa: TID251  (as `logging` does)
    else:
        logger.log(level, name, extra={"fields": fields})


def paced_event(name: str, **fields: object) -> None:
    """Count `name`; log the first at once as a warning, later ones once a minute as a number.

    For what anybody can cause. After a minute without one, the next is logged at once again.
    """
    if name in _paced:
        counts[name] += 1
        _paced[name] = (_paced[name][0] + 1, fields)
    else:
        _paced[name] = (0, {})
        event(name, logging.WARNING, **fields)


def report_paced() -> None:
    """Log what `paced_event` has only counted; call it once a minute."""
    for name, (number, fields) in list(_paced.items()):
        if number:
            _paced[name] = (0, {})
            logger.warning(name, extra={"fields": {**fields, "number": number}})
        else:
            del _paced[name]


def _may_write(name: str) -> bool:
    second = int(datetime.now(UTC).timestamp())  # noqa: TID251  (paces lines, decides nothing)
    last, lines = _lines_in_second.get(name, (0, 0))
    lines = lines + 1 if last == second else 1
    _lines_in_second[name] = (second, lines)
    return lines <= MAX_LINES_PER_SECOND


class JsonLines(logging.Formatter):
    """Formats a record as one line of ASCII: no input can start a line or drive a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its newline."""
        extra: dict[str, object] = {}
        if record.name != logger.name:
            extra["logger"] = record.name
        if request_id := getattr(record, "request_id", None):
            extra["request_id"] = request_id
        fields: dict[str, object] = getattr(record, "fields", {})
        traceback = None
        if record.exc_info and record.exc_info[0] is not None:
            traceback = self.formatException(record.exc_info)[-MAX_TEXT:]
        message = record.getMessage()[:MAX_TEXT]
        line = _encode(record.created, record.levelno, message, {**extra, **fields}, traceback)
        return line.decode("ascii")


def _encode(
    at: float, level: int, name: str, fields: Mapping[str, object], traceback: str | None = None
) -> bytes:
    line: dict[str, object] = {
        "at": f"{_second(int(at))}.{int(at % 1 * 1000):03}+00:00",
        "level": _level(level),
        "event": name,
    }
    for key, value in fields.items():
        if value is not None:
            line[key] = _bounded(value)
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


def _bounded(value: object) -> object:
    return value if isinstance(value, _WRITTEN_AS_THEY_ARE) else str(value)[:MAX_FIELD]


class _Lines:
    """Lines on their way to standard error, written by a thread; what it cannot take is counted.

    Not through `sys.stderr` or a handler of `logging`: each has a lock that would be held while a
    full pipe keeps the thread waiting, and that the interpreter takes to end the process.
    """

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._look = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, line: bytes) -> None:
        waiting = len(self._waiting)
        if waiting >= MAX_BUFFERED:
            counts["log.dropped"] += 1
            return
        self._waiting.append(line)
        if waiting == MAX_BUFFERED // 2:
            self._look.set()

    def end(self) -> None:
        self._ended = True
        self._look.set()
        self._thread.join(FLUSH_S)

    def _write(self) -> None:
        while not self._ended or self._waiting:
            self._look.wait(WRITE_INTERVAL_S)
            self._look.clear()
            while self._waiting:
                count = min(len(self._waiting), WRITTEN_AT_ONCE)
                self._write_out(b"".join(self._waiting.popleft() + b"\n" for _ in range(count)))

    def _write_out(self, lines: bytes) -> None:
        try:
            while lines:
                lines = lines[os.write(_STANDARD_ERROR, lines) :]
        except OSError:  # a broken sink must not end the thread
            counts["log.dropped"] += lines.count(b"\n")


class _LinesHandler(logging.Handler):
    """Takes the records of `logging`, those of libraries included."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines
        self._formatter = JsonLines()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._formatter.format(record).encode("ascii")
        except Exception:  # noqa: BLE001  (a bad record must not end what it was to tell of)
            counts["log.dropped"] += 1
        else:
            self._lines.put(line)


_lines: _Lines | None = None
"""Where `event` puts its lines while `configured` runs."""


@contextmanager
def configured(level: int = logging.INFO) -> Iterator[None]:
    """Send every log record of the process to standard error, from a thread of its own."""
    global _lines
    lines = _Lines()
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
    """Log how often each event has happened since the start, and what was paced."""
    report_paced()
    if counts:
        event("counts", totals=dict(sorted(counts.items())))
