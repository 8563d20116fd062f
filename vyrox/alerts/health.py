"""Checks whether an alert would be accepted now (contract 17).

Both stores are probed with a write, because a store that is full or read-only still serves reads.
A request to `/health` probes them if the last probe is older than FRESH_S, so many requests add
little load. Beside that the service probes seldom, for the log and for who else uses the result.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from vyrox import log
from vyrox.errors import UnavailableError

INTERVAL_S: Final = 2.0
"""Time between two probes that no request has asked for."""

FRESH_S: Final = 0.4
"""Age of a probe from which a request needs a new one. With TIMEOUT_S less than a second: `/health`
must know by then."""

TIMEOUT_S: Final = 0.5
"""How long a store may take for one probe."""


class Health:
    """The result of the last probe of each store."""

    def __init__(
        self,
        database: Callable[[], Awaitable[None]],
        queue: Callable[[], Awaitable[None]],
        *,
        is_logged: bool = True,
    ) -> None:
        """Each of the two writes to its store, and raises UnavailableError if that fails."""
        self._is_logged = is_logged
        self._probes = {"database": database, "queue": queue}
        self._failing: dict[str, str] = {}
        self._probing = asyncio.Lock()
        self._probed_at = -math.inf  # when the last finished probe began, on the monotonic clock

    async def check(self) -> None:
        """Return if a probe of each store, at most FRESH_S old, succeeded.

        Raises:
            UnavailableError: A probe failed; the text says why.
        """
        fresh_from = time.monotonic() - FRESH_S  # before the wait, so that many share one probe
        async with self._probing:
            if self._probed_at <= fresh_from:
                await self._probe_all()
        if self._failing:
            raise UnavailableError("; ".join(self._failing.values()))

    def failing(self) -> Mapping[str, str]:
        """Return why the last probe of a store failed, by `database` and `queue`."""
        return self._failing.copy()

    async def probe(self) -> None:
        """Probe both stores, and log a store that has become available or unavailable.

        Raises:
            Exception: A bug. The store counts as unavailable.
        """
        async with self._probing:
            bugs = await self._probe_all()
        if bugs:
            raise bugs[0]

    async def _probe_all(self) -> list[BaseException]:
        began_at = time.monotonic()
        probes = (self._probe(name) for name in self._probes)
        done = await asyncio.gather(*probes, return_exceptions=True)
        self._probed_at = began_at
        return [each for each in done if each is not None]

    async def _probe(self, name: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._probes[name]()
        except TimeoutError:
            self._note_failure(name, f"no response within {TIMEOUT_S} s")
        except UnavailableError as exc:
            self._note_failure(name, str(exc))
        except Exception as exc:
            self._note_failure(name, type(exc).__name__)
            raise
        else:
            if self._failing.pop(name, None) is not None and self._is_logged:
                log.event("store.available", logging.WARNING, store=name)

    def _note_failure(self, name: str, reason: str) -> None:
        if name not in self._failing and self._is_logged:
            log.event("store.unavailable", logging.WARNING, store=name, reason=reason)
        self._failing[name] = f"{name}: {reason}"
