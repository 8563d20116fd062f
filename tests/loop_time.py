"""The event loop's time, moved on by a test instead of waited for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from selectors import SelectorKey
from typing import Final

import pytest

GRACE_S: Final = 0.05
"""How long nothing must happen until a timer fires early. Bytes to this process take no longer."""

LONG_S: Final = 5.0
"""A timer that is further away belongs to the test's own patience, and is waited for."""


def set_loop_time(monkeypatch: pytest.MonkeyPatch, *, stops: bool = False) -> list[float]:
    """Return a list with one number, which is from now on added to the time of the loop.

    With it a test comes near a deadline when it wants to, however long a busy machine has taken
    until then. If the clock `stops`, only the test moves it.
    """
    loop, offset = asyncio.get_running_loop(), [0.0]
    real, began = loop.time, loop.time()
    monkeypatch.setattr(loop, "time", lambda: (began if stops else real()) + offset[0])
    return offset


@contextmanager
def time_passes_while_idle() -> Iterator[None]:
    """Let the time of asyncio's loop pass only while it waits for a timer and nothing happens.

    So a short time limit is not reached because a busy machine has stopped the test meanwhile.
    All that the test waits for must be in its own process.
    """
    loop = asyncio.get_running_loop()
    selector = loop._selector  # type: ignore[attr-defined]  # (asyncio's own loop)
    select, now = selector.select, loop.time()

    def select_and_pass(timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        nonlocal now
        is_soon = timeout is not None and GRACE_S < timeout < LONG_S
        found: list[tuple[SelectorKey, int]] = select(GRACE_S if is_soon else timeout)
        if not found and timeout is not None:
            now += max(timeout, 0.0)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        patch.setattr(selector, "select", select_and_pass)
        yield
