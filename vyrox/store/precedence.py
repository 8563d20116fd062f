"""Whose write to SQLite comes next, where a command must not wait behind a busy service.

SQLite has no queue of writers: who waits tries again from time to time, and a service that writes
without a pause is always quicker. So an urgent command locks a file of its own first, and everybody
else looks at that lock before a transaction begins. The kernel frees it when the process ends.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PRECEDENCE_FILE: Final = "urgent.lock"
"""In the data directory, beside the database."""

GIVE_S: Final = 0.25
"""How long a transaction waits for an urgent one, at most: less than an alert may take. One that
was waited for in vain is not waited for again before it has ended."""

TAKE_S: Final = 2.0
"""How long an urgent command waits for another one, at most; then both are urgent."""

PAUSE_S: Final = 0.002


class Precedence:
    """One database's side of the lock: that of an urgent command, or of everybody else."""

    def __init__(self, file: Path, *, urgent: bool) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._urgent = urgent
        self._was_in_vain = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn of one transaction; the block is the transaction.

        It is entered in the thread that writes, never in the event loop.

        Raises:
            OSError: The file cannot be opened.
        """
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._file, flags, 0o600)
        if self._urgent:
            _lock(self._descriptor, fcntl.LOCK_EX, TAKE_S)
        else:
            wait_s = 0.0 if self._was_in_vain else GIVE_S
            self._was_in_vain = not _lock(self._descriptor, fcntl.LOCK_SH, wait_s)
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        try:
            yield
        finally:
            if self._urgent:
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
            time.sleep(PAUSE_S)  # no event tells when another process is done
        else:
            return True
