"""`vyrox serve` whose wall clock jumps: `python -m chaos.jumping_service`.

At each SIGUSR1 the clock jumps by the number of seconds in the file CLOCK_FILE. Leases are short
here, and expired claims are checked all the time. The stores may take long, as on a busy machine.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from chaos.signal_log import log_line
from tests.patience import patient_stores
from vyrox import clock
from vyrox.cli import main
from vyrox.containment import vendor_action
from vyrox.lifespan import background, listeners, making

_real: Final = clock.wall_clock
_state: Final = {"by_s": 0.0}


def _wall_clock() -> float:
    return _real() + _state["by_s"]


def _jump(_number: int, _frame: FrameType | None) -> None:
    _state["by_s"] = float(Path(os.environ["CLOCK_FILE"]).read_text())
    log_line("chaos.jumped")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _jump)
    for module in (making, listeners):
        vars(module).update(wall_clock=_wall_clock)
    vars(background).update(CLAIMS_INTERVAL_S=0.05, CLOCKS_INTERVAL_S=0.05)
    vars(background).update(RETENTION_FIRST_S=0.0, RETENTION_INTERVAL_S=0.05)
    vars(vendor_action).update(CLIENT_GRACE_S=1.0, LEASE_MARGIN_S=1.0)
    sys.argv = ["vyrox", "serve"]
    with patient_stores():
        main()
