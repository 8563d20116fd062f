"""Whether an alert would be accepted now (contract 17).

Both stores are probed with a write, a few times a second and whatever the rate of requests: a
server that is full or read-only still answers a read.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from vyrox import log
from vyrox.alerts.queue import AlertQueue
from vyrox.clock import Clock
from vyrox.errors import UnavailableError
from vyrox.store.database import Database, probe

INTERVAL_S: Final = 0.4
TIMEOUT_S: Final = 0.5
"""Together less than the second within which `/health` must know."""


class Health:
    """What the last probe found."""

    def __init__(self, database: Database, queue: AlertQueue, clock: Clock) -> None:
        self._probes: dict[str, Callable[[], Awaitable[None]]] = {
            "database": lambda: database.write(probe, clock()),
            "queue": queue.probe,
        }
        self._failing: dict[str, str] = {}

    def check(self) -> None:
        """Return if all is well.

        Raises:
            UnavailableError: A store is not there.
        """
        if self._failing:
            raise UnavailableError("; ".join(self._failing.values()))

    async def probe(self) -> None:
        """Probe both stores, and log what has changed since the last time.

        Raises:
            Exception: What a store raised that is no sign of its being away; it counts as failing.
        """
        await asyncio.gather(*(self._probe(name) for name in self._probes))

    async def _probe(self, name: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._probes[name]()
        except TimeoutError:
            self._fails(name, f"no answer within {TIMEOUT_S} s")
        except UnavailableError as exc:
            self._fails(name, str(exc))
        except Exception as exc:
            self._fails(name, type(exc).__name__)
            raise
        else:
            if self._failing.pop(name, None) is not None:
                log.event("store.available", logging.WARNING, store=name)

    def _fails(self, name: str, reason: str) -> None:
        if name not in self._failing:
            log.event("store.unavailable", logging.WARNING, store=name, reason=reason)
        self._failing[name] = f"{name}: {reason}"
