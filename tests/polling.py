"""Waits for what another process does, when no event reports it."""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_S = 60.0
"""A test that waits this long has failed."""


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as `condition` returns True."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
