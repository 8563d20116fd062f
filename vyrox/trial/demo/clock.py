"""A clock that the demo sets: so a week of made-up history takes seconds.

`python -m vyrox.trial.demo.clock FILE COMMAND...` runs a `vyrox` command by it. The wall clock and
the monotonic clock are moved together and only forward, as on a machine that has slept.
"""

import contextlib
import mmap
import runpy
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest.mock import patch

from vyrox import clock

_FORMAT: Final = struct.Struct("d")

_START_S: Final = 1e8
"""Added to the monotonic clock: set back, it must not be negative."""


class SharedClock:
    """A clock of several processes. A file holds how far it is from the machine's clock."""

    def __init__(self, file: Path) -> None:
        """Use the file. It is made if it is missing: the clock is then the machine's."""
        if not file.exists():
            file.write_bytes(_FORMAT.pack(0.0))
        self.file = file
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _FORMAT.size)

    def begin(self, seconds: float) -> None:
        """Set the clock back to Unix seconds. No program may use it yet."""
        self._move(seconds - time.time())  # noqa: TID251  (this is a clock)

    def set_to(self, seconds: float) -> None:
        """Set the clock to Unix seconds; earlier than it shows, it stays as it is."""
        if seconds > self.time():
            self.begin(seconds)

    def end(self) -> None:
        """Make it the machine's clock."""
        self._move(0.0)

    def _move(self, ahead_s: float) -> None:
        _FORMAT.pack_into(self._memory, 0, ahead_s)

    def _ahead_s(self) -> float:
        ahead_s: float = _FORMAT.unpack_from(self._memory)[0]
        return ahead_s

    def time(self) -> float:
        """Return Unix seconds."""
        return time.time() + self._ahead_s()  # noqa: TID251  (this is a clock)

    def monotonic(self) -> float:
        """Return seconds since an unknown start."""
        return time.monotonic() + self._ahead_s() + _START_S

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Let everything in this process that asks `vyrox.clock` go by this clock."""
        with patch.object(clock, "time", self):
            yield


def main() -> None:
    """Run a `vyrox` command by the clock of a file."""
    file, *words = sys.argv[1:]
    sys.argv = ["vyrox", *words]
    with SharedClock(Path(file)).used():
        runpy.run_module("vyrox", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
