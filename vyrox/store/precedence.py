"""Lets an urgent command write to SQLite before a busy service does.

SQLite has no queue of writers: a process that waits tries again from time to time, and a service
that writes without a pause is always quicker. So an urgent command first locks a file, and every
other process checks that lock before a transaction begins. The kernel releases the lock when the
process ends.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

PRECEDENCE_FILE: Final = "urgent.lock"
"""The name of the lock file, beside the database."""

WAIT_FOR_URGENT_S: Final = 0.25
"""Longest that a transaction waits for an urgent command: less than an alert may take. If the
command has not released the lock by then, later transactions do not wait until it has."""

WAIT_BETWEEN_URGENT_S: Final = 2.0
"""Longest that an urgent command waits for another urgent command. Then both continue."""

RETRY_S: Final = 0.002
"""Pause between two attempts to lock the file."""


class Precedence:
    """The lock file of one database, as an urgent command or as any other process uses it."""

    def __init__(self, file: Path, *, urgent: bool) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._urgent = urgent
        self._has_timed_out = False

    def begin(self) -> None:
        """Wait until a transaction may run. The thread that writes does it, never the event loop.

        Raises:
            OSError: The lock file cannot be opened.
        """
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._file, flags, 0o600)
        if self._urgent:
            _lock(self._descriptor, fcntl.LOCK_EX, WAIT_BETWEEN_URGENT_S)
        else:
            wait_s = 0.0 if self._has_timed_out else WAIT_FOR_URGENT_S
            self._has_timed_out = not _lock(self._descriptor, fcntl.LOCK_SH, wait_s)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def end(self) -> None:
        """The transaction has ended."""
        if self._urgent and self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)


def _lock(descriptor: int, kind: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(RETRY_S)  # the other process sends no event when it is done
        else:
            return True
