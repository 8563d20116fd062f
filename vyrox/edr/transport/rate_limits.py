"""Retries after an HTTP 429. Each vendor reports the pause in its own way.

A 429 means that nothing was done, so requests that change something are sent again too.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

from vyrox.clock import Clock
from vyrox.edr.client import Deadline, locked
from vyrox.edr.transport.calls import VendorRequest, VendorResponse, exchange
from vyrox.errors import VendorBusyError

MAX_RETRIES: Final = 2

MAX_CONCURRENT_REQUESTS: Final = 32
"""Requests of one tenant to one vendor at one time. More requests wait. So if a vendor hangs for
one tenant, connections remain for other tenants. `confirmation` checks half as many at one time."""

MIN_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
"""Limits of the pause. CrowdStrike sends an absolute time, and its clock may differ from ours."""

MAX_ASKED_S: Final = 3600.0
"""The longest pause that Microsoft may ask for: a wrong number must not stop a poller for ever."""

MILLISECONDS_FROM: Final = 10**11
"""An epoch time from this value on is in milliseconds: in seconds it is the year 5138."""

_NUMBER = re.compile(r"[0-9]{1,15}")

Pause = Callable[[httpx.Headers, int], float]
"""Returns the seconds to wait, from the headers of a 429 and the number of earlier ones."""

Sleep = Callable[[float], Awaitable[None]]


def backoff(_headers: httpx.Headers, earlier: int) -> float:
    """Return 1 to 1.5 s, then twice that, and so on: SentinelOne does not report a pause."""
    jitter = random.uniform(1.0, 1.5)  # noqa: S311  (it spreads load and protects nothing)
    return MIN_PAUSE_S * jitter * (1 << earlier)


def retry_after(headers: httpx.Headers, earlier: int) -> float:
    """Return the seconds in Microsoft's `Retry-After`, at least one and at most an hour."""
    seconds = _number(headers.get("retry-after"))
    if seconds is None:
        return backoff(headers, earlier)
    return min(MAX_ASKED_S, max(MIN_PAUSE_S, seconds))


def retry_after_epoch(clock: Clock) -> Pause:
    """Return the function that reads CrowdStrike's `X-RateLimit-RetryAfter`, an absolute time.

    Source: CrowdStrike's specification says milliseconds, but gofalcon (`parseRetryAfter`) reads
    seconds. The size of the number decides.
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
    """Sends a request again after an HTTP 429, if its deadline allows."""

    def __init__(self, http: httpx.AsyncClient, pause: Pause, sleep: Sleep = asyncio.sleep) -> None:
        self._http = http
        self._pause = pause
        self.sleep = sleep
        self._turns = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)

    async def exchange(
        self, request: VendorRequest, deadline: Deadline, authorization: str | None = None
    ) -> VendorResponse:
        """Return the response to `request`. It is a 429 if the retries got a 429 too.

        Raises:
            VendorBusyError: The pause is longer than the deadline allows.
            VendorError: As `exchange`.
            VendorOutcomeUnknownError: As `exchange`.
        """
        for earlier in range(MAX_RETRIES):
            response = await self._exchange(request, deadline, authorization)
            if response.status != httpx.codes.TOO_MANY_REQUESTS:
                return response
            pause_s = self._pause(response.headers, earlier)
            if pause_s >= deadline.remaining_s():
                raise VendorBusyError(
                    f"{request.name}: HTTP 429, retry after {pause_s:.0f} s is too late", pause_s
                )
            await self.sleep(pause_s)
        return await self._exchange(request, deadline, authorization)

    def busy(self, response: VendorResponse) -> VendorBusyError:
        """Return the error for a 429 that is not tried again."""
        pause_s = self._pause(response.headers, MAX_RETRIES)
        text = f"{response.request.name}: HTTP 429, retry after {pause_s:.0f} s"
        return VendorBusyError(text, pause_s)

    async def _exchange(
        self, request: VendorRequest, deadline: Deadline, authorization: str | None
    ) -> VendorResponse:
        if request.method == "DELETE":
            # A cleanup, such as the deletion of a queued kill. It must not wait for the requests of
            # other actions.
            return await exchange(self._http, request, deadline, authorization)
        async with locked(self._turns, deadline, request.name):
            return await exchange(self._http, request, deadline, authorization)


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and _NUMBER.fullmatch(value.strip()) else None
