"""`vyrox serve` that dies at a step of triage: `python -m chaos.triage_service`.

At the step that KILL_STEP names, the process kills itself with SIGKILL; KILL_ON says at which time
it is reached. Triage begins with SIGUSR1 then, because a service that dies while it starts cannot
be waited for. Times of waiting are short, so that the next process takes over soon what this one
had.
"""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any, Final, NamedTuple

from vyrox import background
from vyrox.alerts.consumer import AlertConsumer
from vyrox.cli import main
from vyrox.notify import delivery
from vyrox.notify.webhook import Webhooks
from vyrox.triage import announcement, worker


class Step(NamedTuple):
    """Before or after a call of `owner.name`; after one that has found nothing does not count."""

    owner: object
    name: str
    is_after: bool


STEPS: Final = {
    "after the read": Step(AlertConsumer, "read", True),
    "after the take-over": Step(AlertConsumer, "take_over", True),
    "after the judging": Step(worker.TriageWorker, "_store", False),
    "before the commit": Step(worker, "store_verdicts", True),
    "before the entries leave": Step(AlertConsumer, "remove", False),
    "between two entries that leave": Step(AlertConsumer, "_remove", True),
    "before the commit of an announcement": Step(announcement, "announce", True),
    "before the sending": Step(Webhooks, "deliver", False),
    "before the settling": Step(Webhooks, "deliver", True),
}

_KILL_ON: Final = int(os.environ.get("KILL_ON", "1"))
_TRIAGE: Final = frozenset({"triage", "announcements", "notifications"})
_times = count(1)
_is_serving = False


def _reach() -> None:
    if next(_times) == _KILL_ON:
        os.kill(os.getpid(), signal.SIGKILL)


def _plant(step: Step) -> None:
    called: Callable[..., Any] = getattr(step.owner, step.name)

    def before() -> None:
        if not step.is_after:
            _reach()

    def after(result: Any) -> Any:  # noqa: ANN401
        if step.is_after and result != [] and getattr(result, "judged", True):
            _reach()
        return result

    async def call_later(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        before()
        return after(await called(*args, **kwargs))

    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        before()
        return after(called(*args, **kwargs))

    setattr(step.owner, step.name, call_later if inspect.iscoroutinefunction(called) else call)


def _begin(_number: int, _frame: FrameType | None) -> None:
    global _is_serving
    _is_serving = True


async def _every_later(
    interval_s: float,
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
        (background, "NOTIFICATIONS_INTERVAL_S", 0.05),
    ):
        setattr(owner, name, value)


if __name__ == "__main__":
    _wait_less()
    if kill_step := os.environ.get("KILL_STEP"):
        signal.signal(signal.SIGUSR1, _begin)
        background.every = _every_later
        _plant(STEPS[kill_step])
    sys.argv = ["vyrox", "serve"]
    main()
