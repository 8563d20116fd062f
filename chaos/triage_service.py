"""`vyrox serve` that dies at a step of triage: `python -m chaos.triage_service`.

At the step that KILL_STEP names, the process kills itself with SIGKILL; KILL_ON says at which time
it is reached. Triage begins with SIGUSR1 then, because a service that dies while it starts cannot
be waited for. Times of waiting are short, so that the next process takes over soon what this one
had.
"""

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Final

from chaos.planted import Step, plant
from vyrox.alerts.consumer import AlertConsumer
from vyrox.cli import main
from vyrox.lifespan import background
from vyrox.notify import delivery
from vyrox.notify.webhook import Webhooks
from vyrox.triage import announcement, worker

STEPS: Final = {
    "after the read": Step(AlertConsumer, "read", True),
    "after the take-over": Step(AlertConsumer, "take_over", True),
    "after the judging": Step(worker.TriageWorker, "_store", False),
    "before the commit": Step(worker, "store_verdicts", True),
    "before the entries leave": Step(AlertConsumer, "remove", False),
    "after the entries have left": Step(AlertConsumer, "remove", True),
    "before the commit of an announcement": Step(announcement, "announce", True),
    "before the sending": Step(Webhooks, "deliver", False),
    "before the settling": Step(Webhooks, "deliver", True),
}

_TRIAGE: Final = frozenset({"triage", "announcements", "notifications"})
_is_serving = False


def _begin(_number: int, _frame: FrameType | None) -> None:
    global _is_serving
    _is_serving = True


async def _every_later(
    interval_s: float | None,
    name: str,
    work: background.Work,
    first_s: float = 0.0,
    wake: asyncio.Event | None = None,
) -> None:
    while name in _TRIAGE and not _is_serving:  # noqa: ASYNC110  (a signal handler sets it)
        await asyncio.sleep(0.02)
    await _every(interval_s, name, work, first_s, wake)


_every: Final = background.every


def _wait_less() -> None:
    for owner, name, value in (
        (worker, "TAKE_OVER_S", 0.3),
        (worker, "TAKE_OVER_IDLE_MS", 1000),
        (delivery, "CLAIM_S", 1.0),
        (delivery, "FIRST_RETRY_S", 0.2),
        (background, "AGENDA_INTERVAL_S", 0.05),
    ):
        setattr(owner, name, value)


if __name__ == "__main__":
    _wait_less()
    if kill_step := os.environ.get("KILL_STEP"):
        signal.signal(signal.SIGUSR1, _begin)
        background.every = _every_later
        plant(STEPS[kill_step], int(os.environ.get("KILL_ON", "1")))
    sys.argv = ["vyrox", "serve"]
    main()
