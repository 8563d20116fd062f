"""Deaths planted in the product: the process kills itself with SIGKILL at a step."""

import inspect
import os
import signal
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple


class Step(NamedTuple):
    """Before or after a call of `owner.name`; after one that has found nothing does not count."""

    owner: object
    name: str
    is_after: bool


def plant(step: Step, kill_on: int) -> None:
    """Let the process die when it reaches the step for the `kill_on`th time."""
    called: Callable[..., Any] = getattr(step.owner, step.name)
    times = count(1)

    def reach(counts: bool) -> None:
        if counts and next(times) == kill_on:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(result: Any) -> Any:  # noqa: ANN401
        reach(step.is_after and result != [] and getattr(result, "judged", True))
        return result

    async def call_later(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        reach(not step.is_after)
        return after(await called(*args, **kwargs))

    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        reach(not step.is_after)
        return after(called(*args, **kwargs))

    setattr(step.owner, step.name, call_later if inspect.iscoroutinefunction(called) else call)
