"""`vyrox serve` that can be killed at any line: `python -m chaos.traced_service`.

From SIGUSR1 on, the lines of the package are counted as they are executed, in every thread. Before
the line number KILL_AT the process kills itself with SIGKILL. SIGUSR2 logs how many there were.
"""

import os
import signal
import sys
import threading
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, Final

import vyrox
from chaos.signal_log import log_line
from vyrox.cli import main

PACKAGE: Final = str(Path(vyrox.__file__).parent)

BESIDE: Final = frozenset(
    ["background", "clock", "clock_guard", "confirmation", "health", "log", "refill", "tenants"]
)
"""Periodic tasks and logging: their lines are not steps of a request."""

_lines = count(1)
_state = {"counts": False, "executed": 0}


def _trace_calls(frame: FrameType, _event: str, _arg: object) -> Any:  # noqa: ANN401
    path = frame.f_code.co_filename
    if not _state["counts"] or not path.startswith(PACKAGE) or Path(path).stem in BESIDE:
        return None
    return _trace_lines


def _trace_lines(_frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401
    if event == "line":
        _state["executed"] = next(_lines)
        if _state["executed"] == _KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)
    return _trace_lines


def _begin(_number: int, _frame: FrameType | None) -> None:
    _state["counts"] = True
    log_line("chaos.counting")


def _log_executed(_number: int, _frame: FrameType | None) -> None:
    _state["counts"] = False
    log_line("chaos.counted", lines=_state["executed"])


_KILL_AT: Final = int(os.environ["KILL_AT"])

if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _begin)
    signal.signal(signal.SIGUSR2, _log_executed)
    threading.settrace(_trace_calls)
    sys.settrace(_trace_calls)
    sys.argv = ["vyrox", "serve"]
    main()
