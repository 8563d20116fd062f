"""Log lines: one JSON object a line on standard error, counted, bounded, never in the way.

`event` is how the product says what happened. Every event is counted by name, and the counts are
logged once a minute, so that a failure shows even where its own lines were held back.
"""

import contextlib
import json
import logging
import os
import queue
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

logger = logging.getLogger("vyrox")

MAX_FIELD: Final = 256
"""Characters of one field; an attacker chooses some of them."""

MAX_TEXT: Final = 8192
"""Characters of a library's message or of a traceback, which ends with a library's message."""

MAX_LINES_PER_SECOND: Final = 100
"""Of one warning's name: a flood of bad requests must not become a flood of lines."""

MAX_BUFFERED: Final = 10_000
"""Lines waiting for a slow or blocked sink; beyond it lines are dropped and counted."""

FLUSH_S: Final = 1.0
"""How long the end of the process waits for a sink that takes nothing; twice, at the most."""

_STANDARD_ERROR: Final = 2

counts: Final[Counter[str]] = Counter()
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
    if logger.isEnabledFor(level) and (level < logging.WARNING or _may_write(name)):
        logger.log(level, name, extra={"fields": fields}, exc_info=level >= logging.ERROR)


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
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage()[:MAX_TEXT],
        }
        if record.name != logger.name:
            line["logger"] = record.name
        if request_id := getattr(record, "request_id", None):
            line["request_id"] = request_id
        fields: dict[str, object] = getattr(record, "fields", {})
        line.update({key: _bounded(value) for key, value in fields.items() if value is not None})
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = self.formatException(record.exc_info)[-MAX_TEXT:]
        return json.dumps(line, ensure_ascii=True)


def _bounded(value: object) -> object:
    return value if isinstance(value, int | float | dict) else str(value)[:MAX_FIELD]


_Records = queue.Queue[logging.LogRecord | None]
"""Records for the writing thread; None ends it."""


class _QueueingHandler(logging.Handler):
    """Hands records to the writing thread; drops and counts them where it cannot keep up."""

    def __init__(self, records: _Records) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._records.put_nowait(record)
        except queue.Full:
            counts["log.dropped"] += 1


def _write_lines(records: _Records) -> None:
    """Write each record as a line, until None comes.

    Not through `sys.stderr` or a handler of `logging`: each has a lock that would be held while a
    full pipe keeps this thread waiting, and that the interpreter takes to end the process.
    """
    formatter = JsonLines()
    while (record := records.get()) is not None:
        try:
            line = formatter.format(record).encode("ascii") + b"\n"
            while line:
                line = line[os.write(_STANDARD_ERROR, line) :]
        except Exception:  # noqa: BLE001  (a bad record or a broken sink must not end the thread)
            counts["log.dropped"] += 1


@contextmanager
def configured(level: int = logging.INFO) -> Iterator[None]:
    """Send every log record of the process to standard error, from a thread of its own."""
    records: _Records = queue.Queue(MAX_BUFFERED)
    writer = threading.Thread(target=_write_lines, args=(records,), name="log", daemon=True)
    handler = _QueueingHandler(records)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    for noisy in ("alembic", "httpx", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    writer.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        with contextlib.suppress(queue.Full):
            records.put(None, timeout=FLUSH_S)
        writer.join(FLUSH_S)


async def report_counts() -> None:
    """Log how often each event has happened since the start."""
    if counts:
        event("counts", totals=dict(sorted(counts.items())))
