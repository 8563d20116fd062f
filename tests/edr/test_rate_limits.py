"""A vendor that says 429 is left alone for as long as it says, if there is time."""

import asyncio

import httpx
import pytest

from tests.audit import NOW
from tests.edr.vendor import (
    FakeVendor,
    Refusing,
    Reply,
    allowed,
    answer,
    deadline,
    order_for,
    unread,
)
from vyrox.edr.client import Check
from vyrox.edr.transport.calls import VendorRequest, open_http
from vyrox.edr.transport.rate_limits import (
    MAX_CONCURRENT_REQUESTS,
    MAX_RETRIES,
    Pause,
    RetryingSender,
    backoff,
    retry_after,
    retry_after_epoch,
)
from vyrox.errors import VendorError, VendorOutcomeUnknownError
from vyrox.models import Device


def a_call(path: str = "/x", check: Check = allowed) -> VendorRequest:
    order = order_for(Device("a"), check=check)
    return VendorRequest(
        name="contain", method="POST", url=f"https://v.example{path}", body=b"{}", order=order
    )


crowdstrike = retry_after_epoch(lambda: NOW)


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        (str(int(NOW) + 10), 9.75),
        (str(int(NOW * 1000) + 10_000), 10.0),
        (str(int(NOW) + 600), 60.0),
        (str(int(NOW * 1000) + 600_000), 60.0),
        (str(int(NOW) - 5), 1.0),
        (str(int(NOW * 1000) - 5000), 1.0),
        ("5", 1.0),
        (str(10**11 - 1), 60.0),
    ],
)
def test_retry_after_epoch_is_an_absolute_time(value: str, expected_s: float) -> None:
    pause_s = crowdstrike(httpx.Headers({"X-RateLimit-RetryAfter": value}), 0)
    assert pause_s == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("value", "expected_s"), [("7", 7.0), ("0", 1.0), (" 120 ", 120.0), ("9" * 15, 3600.0)]
)
def test_retry_after_is_seconds(value: str, expected_s: float) -> None:
    assert retry_after(httpx.Headers({"Retry-After": value}), 0) == expected_s


@pytest.mark.parametrize("pause", [backoff, retry_after, crowdstrike])
@pytest.mark.parametrize("value", ["", "soon", "-1", "1e9", "nan", "9" * 400, "\u0663"])
def test_pause_without_a_number_grows(pause: Pause, value: str) -> None:
    headers = httpx.Headers(
        [(b"Retry-After", value.encode()), (b"X-RateLimit-RetryAfter", value.encode())]
    )
    for _ in range(20):
        assert 1.0 <= pause(headers, 0) <= 1.5
        assert 2.0 <= pause(headers, 1) <= 3.0


async def sent(fake: FakeVendor, *replies: Reply, seconds: float = 30.0) -> int:
    """Return the status that a call ends with."""
    fake.on("POST", "/x", *replies)
    async with open_http(httpx.MockTransport(fake.handle)) as http:
        patience = RetryingSender(http, retry_after, fake.sleep)
        return (await patience.exchange(a_call(), deadline(seconds))).status


class Hanging(httpx.AsyncBaseTransport):
    """Answers nothing at one path, until it is released."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.held = 0
        self.full = asyncio.Event()
        self.released = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == self._path:
            self.held += 1
            if self.held == MAX_CONCURRENT_REQUESTS:
                self.full.set()
            await self.released.wait()
        return unread(answer(200))


async def test_exchange_of_one_tenant_leaves_connections_for_the_others() -> None:
    """Those that wait for their turn have sent nothing when their time is up."""
    hanging = Hanging("/x")
    async with open_http(hanging) as http, asyncio.timeout(20):
        one, other = RetryingSender(http, backoff), RetryingSender(http, backoff)
        held = [
            asyncio.create_task(one.exchange(a_call(), deadline()))
            for _ in range(MAX_CONCURRENT_REQUESTS)
        ]
        await hanging.full.wait()
        with pytest.raises(VendorError) as caught:
            await one.exchange(a_call(), deadline(0.05))
        assert not isinstance(caught.value, VendorOutcomeUnknownError)
        elsewhere = a_call("/y")
        assert (await other.exchange(elsewhere, deadline())).succeeded
        tidying = VendorRequest(name="take back", method="DELETE", url="https://v.example/y")
        assert (await one.exchange(tidying, deadline())).succeeded
        hanging.released.set()
        assert all(each.succeeded for each in await asyncio.gather(*held))
        assert hanging.held == MAX_CONCURRENT_REQUESTS
        assert (await one.exchange(a_call(), deadline())).succeeded


async def test_exchange_waits_and_sends_again() -> None:
    fake = FakeVendor()
    assert await sent(fake, answer(429, None, Retry_After="7"), answer(202, {})) == 202
    assert fake.slept == [7.0]


async def test_exchange_gives_up_after_a_few() -> None:
    fake = FakeVendor()
    assert await sent(fake, answer(429, None, Retry_After="7")) == 429
    assert len(fake.requests) == 1 + MAX_RETRIES
    assert fake.slept == [7.0] * MAX_RETRIES


async def test_exchange_does_not_wait_beyond_its_deadline() -> None:
    fake = FakeVendor()
    with pytest.raises(VendorError) as caught:
        await sent(fake, answer(429, None, Retry_After="7"), seconds=6.0)
    assert not isinstance(caught.value, VendorOutcomeUnknownError)  # a 429 means nothing was done
    assert (len(fake.requests), fake.slept) == (1, [])


async def test_exchange_after_a_429_may_still_not_know() -> None:
    with pytest.raises(VendorOutcomeUnknownError):
        await sent(FakeVendor(), answer(429), httpx.ReadTimeout("late"))


async def test_exchange_after_a_429_sends_nothing_more_for_a_frozen_tenant_contract_42() -> None:
    fake = FakeVendor()
    fake.on("POST", "/x", answer(429, None, Retry_After="7"), answer(202, {}))
    async with open_http(httpx.MockTransport(fake.handle)) as http:
        call = a_call(check=Refusing(allowed=1))
        with pytest.raises(VendorError, match="frozen") as caught:
            await RetryingSender(http, retry_after, fake.sleep).exchange(call, deadline())
    assert type(caught.value) is VendorError
    assert (len(fake.requests), fake.slept) == (1, [7.0])
