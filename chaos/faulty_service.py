"""`vyrox serve` on a SQLite that fails: `python -m chaos.faulty_service`.

FAIL_EVERY=N lets every Nth commit fail from SIGUSR2 on: alternately before it happens, and after
it, so that the caller does not know. MAX_PAGES limits the size of the database until SIGUSR1. Both
apply to every connection, below the product.
"""

import os
import signal
import sqlite3
import sqlite3.dbapi2
import sys
from itertools import count
from types import FrameType
from typing import Any, Final

from chaos.signal_log import log_line
from vyrox import log
from vyrox.cli import main

FAIL_EVERY: Final = int(os.environ.get("FAIL_EVERY", "0"))
MAX_PAGES: Final = int(os.environ.get("MAX_PAGES", "0"))
NO_LIMIT: Final = 1_073_741_823

_commits = count(1)
_is_cured = False
_is_failing = False
_connect = sqlite3.connect


class _Connection(sqlite3.Connection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        if MAX_PAGES:
            super().execute(f"PRAGMA max_page_count = {MAX_PAGES}").close()

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401
        if sql != "COMMIT" or not _is_failing:
            return super().execute(sql, *values)
        number = next(_commits)
        fails = number % FAIL_EVERY == 0
        after = number // FAIL_EVERY % 2 == 1
        if fails and not after:
            raise _failed(after=False)
        cursor = super().execute(sql)
        if fails:
            raise _failed(after=True)
        return cursor

    def rollback(self) -> None:
        super().rollback()
        if _is_cured and MAX_PAGES:
            super().execute(f"PRAGMA max_page_count = {NO_LIMIT}").close()


def _failed(*, after: bool) -> sqlite3.OperationalError:
    log.event("chaos.commit_failed", after=after)
    return sqlite3.OperationalError("disk I/O error")


def _connect_faulty(*args: Any, **kwargs: Any) -> sqlite3.Connection:  # noqa: ANN401
    connection: sqlite3.Connection = _connect(*args, **{"factory": _Connection, **kwargs})
    return connection


def _cure(_number: int, _frame: FrameType | None) -> None:
    global _is_cured
    _is_cured = True
    log_line("chaos.cured")


def _begin_to_fail(_number: int, _frame: FrameType | None) -> None:
    global _is_failing
    _is_failing = True
    log_line("chaos.failing")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _cure)
    signal.signal(signal.SIGUSR2, _begin_to_fail)
    sqlite3.connect = sqlite3.dbapi2.connect = _connect_faulty  # type: ignore[assignment]
    sys.argv = ["vyrox", "serve"]
    main()
