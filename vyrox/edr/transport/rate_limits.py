"""How long a vendor wants to be left alone after an HTTP 429, which each says in its own way.

A 429 means that nothing was done, so a call that changes something is sent again as well.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from vyrox.clock import Clock
from vyrox.edr.client import Deadline, held
from vyrox.edr.transport.calls import VendorRequest, VendorResponse, exchange
from vyrox.errors import VendorError

MAX_RETRIES: Final = 2

AT_ONCE: Final = 32
"""Calls of one tenant to one vendor. Others wait for their turn, so that a vendor that hangs for
one tenant leaves connections for the rest. Twice what `confirmation` looks at together."""

MIN_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
"""Of CrowdStrike's absolute time, which is read off two clocks that may differ."""

MILLISECONDS_FROM: Final = 10**11
"""An epoch time from here up is in milliseconds: in seconds it would be the year 5138."""

_NUMBER = re.compile(r"[0-9]{1,15}")

Pause = Callable[[httpx.Headers, int], float]
"""Returns the seconds to wait, from the headers of a 429 and the number of those before it."""

Sleep = Callable[[float], Awaitable[None]]


def backoff(_headers: httpx.Headers, earlier: int) -> float:
    """Return 1 to 1.5 s, then twice that, and so on: SentinelOne does not say how long."""
    jitter = random.uniform(1.0, 1.5)  # noqa: S311  (it spreads load, and protects nothing)
    return MIN_PAUSE_S * jitter * (1 << earlier)


def retry_after(headers: httpx.Headers, earlier: int) -> float:
    """Return the seconds that Microsoft's `Retry-After` holds, at least one."""
    seconds = _number(headers.get("retry-after"))
    return backoff(headers, earlier) if seconds is None else max(MIN_PAUSE_S, seconds)


def retry_after_epoch(clock: Clock) -> Pause:
    """Return the reader of CrowdStrike's `X-RateLimit-RetryAfter`, an absolute time.

    Source: CrowdStrike's specification says milliseconds, gofalcon (`parseRetryAfter`) reads
    seconds; the size of the number decides.
    """

    def pause(headers: httpx.Headers, earlier: int) -> float:
        at = _number(headers.get("x-ratelimit-retryafter"))
        if at is None:
            return backoff(headers, earlier)
        if at >= MILLISECONDS_FROM:
            at /= 1000
        return min(MAX_PAUSE_S, max(MIN_PAUSE_S, at - clock()))

    return pause


class RetryingSender:
    """Sends a call again that came too soon, as far as its deadline allows."""

    def __init__(self, http: httpx.AsyncClient, pause: Pause, sleep: Sleep = asyncio.sleep) -> None:
        self._http = http
        self._pause = pause
        self.sleep = sleep
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def exchange(
        self, call: VendorRequest, deadline: Deadline, authorization: str | None = None
    ) -> VendorResponse:
        """Return the answer to `call`; a 429 where it stays one.

        Raises:
            VendorError: As `exchange`; or the vendor wants to be left alone beyond the deadline.
            VendorOutcomeUnknownError: As `exchange`.
        """
        for earlier in range(MAX_RETRIES):
            answer = await self._exchange(call, deadline, authorization)
            if answer.status != httpx.codes.TOO_MANY_REQUESTS:
                return answer
            pause_s = self._pause(answer.headers, earlier)
            if pause_s >= deadline.remaining_s():
                raise VendorError(f"{call.name}: HTTP 429, to be tried again in {pause_s:.0f} s")
            await self.sleep(pause_s)
        return await self._exchange(call, deadline, authorization)

    async def _exchange(
        self, call: VendorRequest, deadline: Deadline, authorization: str | None
    ) -> VendorResponse:
        if call.method == "DELETE":
            # What an action tidies up, such as a kill that waits for an offline host: that must be
            # taken back whoever else is at the vendor.
            return await exchange(self._http, call, deadline, authorization)
        async with held(self._turns, deadline, call.name):
            return await exchange(self._http, call, deadline, authorization)


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value.strip()) else None
