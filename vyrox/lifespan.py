"""Work that goes on beside the requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from vyrox import log
from vyrox.errors import UnavailableError


async def every(
    interval_s: float,
    name: str,
    work: Callable[[], Awaitable[object]],
    first_s: float = 0.0,
) -> None:
    """Do `work` after `first_s`, then again `interval_s` after it ended, until cancelled.

    A store that is away is logged and tried again. So is a bug: it must be seen, and it must not
    end the work for the rest of the process's life.
    """
    await asyncio.sleep(first_s)
    while True:
        try:
            await work()
        except UnavailableError as exc:
            log.event("background.unavailable", logging.WARNING, work=name, reason=str(exc))
        except Exception:  # noqa: BLE001  (logged with its traceback, see above)
            log.event("background.failed", logging.ERROR, work=name)
        await asyncio.sleep(interval_s)
