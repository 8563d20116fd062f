"""Which answers are an answer: a 401 is tried once more, what is no refusal is not believed."""

import httpx
import msgspec
import pytest

from tests.edr.vendor import FakeVendor, Refusing, Reply, answer, deadline, order_for, token
from vyrox.edr.crowdstrike import client
from vyrox.edr.transport.api import VendorApi
from vyrox.edr.transport.calls import VendorRequest, open_http
from vyrox.edr.transport.rate_limits import MAX_RETRIES, RetryingSender, backoff
from vyrox.edr.transport.tokens import ApiToken, BearerToken
from vyrox.errors import VendorBusyError, VendorError, VendorOutcomeUnknownError
from vyrox.models import Device

BASE = "https://api.crowdstrike.com"
REFUSALS = frozenset({400, 401, 403, 404, 429})
ANYTHING = msgspec.json.Decoder(dict[str, int])


def opened(fake: FakeVendor, *replies: Reply, static: bool = False) -> VendorApi:
    fake.on("POST", "/act", *replies)
    fake.on("POST", "/oauth2/token", token("first"), token("second"))
    patience = RetryingSender(open_http(httpx.MockTransport(fake.handle)), backoff, fake.sleep)
    tokens = BearerToken(patience, client.token_request(BASE, "id", "secret"))
    return VendorApi(BASE, patience, ApiToken("t") if static else tokens, REFUSALS)


def act(api: VendorApi, *, changes: bool = True) -> VendorRequest:
    body = {"ids": ["a"]}
    if changes:
        return api.change("contain", "/act", order_for(Device("a")), body=body)
    return api.request("contain", "/act", body=body)


async def test_read_after_the_last_retry_names_the_pause_contract_72() -> None:
    fake = FakeVendor()
    api = opened(fake, answer(429), static=True)
    with pytest.raises(VendorBusyError) as caught:
        await api.read(act(api, changes=False), deadline())
    assert len(fake.requests) == 1 + MAX_RETRIES
    pause_s = caught.value.pause_s
    assert str(caught.value) == f"contain: HTTP 429, retry after {pause_s:.0f} s"


async def test_send_after_a_401_renews_the_token_and_sends_once_more() -> None:
    fake = FakeVendor()
    api = opened(fake, answer(401), answer(202, {}))
    assert (await api.send(act(api), deadline())).status == 202
    assert [r.headers["authorization"] for r in fake.requests] == ["Bearer first", "Bearer second"]
    assert fake.requests[0].content == fake.requests[1].content == b'{"ids":["a"]}'


async def test_send_takes_the_second_401_for_a_refusal() -> None:
    fake = FakeVendor()
    api = opened(fake, answer(401))
    assert (await api.send(act(api), deadline())).status == 401
    assert (len(fake.requests), len(fake.token_requests)) == (2, 2)


async def test_send_does_not_repeat_a_401_where_there_is_one_token() -> None:
    fake = FakeVendor()
    api = opened(fake, answer(401), static=True)
    assert (await api.send(act(api), deadline())).status == 401
    assert len(fake.requests) == 1


async def test_send_without_a_token_sends_nothing() -> None:
    fake = FakeVendor()
    api = opened(fake)
    fake.on("POST", "/oauth2/token", answer(403))
    with pytest.raises(VendorError, match="credentials refused") as caught:
        await api.send(act(api), deadline())
    assert type(caught.value) is VendorError
    assert fake.requests == []


@pytest.mark.parametrize("status", sorted(REFUSALS - {401, 429}))
async def test_read_takes_a_refusal_for_nothing_done(status: int) -> None:
    fake = FakeVendor()
    api = opened(fake, answer(status, b"<html>"))
    with pytest.raises(VendorError, match=f"contain: HTTP {status}") as caught:
        (await api.send(act(api), deadline())).decode(ANYTHING)
    assert type(caught.value) is VendorError
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        *(answer(status, {}) for status in (301, 307, 402, 405, 408, 409, 418, 500, 502, 503, 504)),
        answer(502, b"<html>Bad Gateway</html>"),
        answer(200, b""),
        answer(200, b'{"a":1'),
        answer(200, b"[1]"),
        answer(200, b'{"a":"\xff"}'),
        answer(200, b"[" * 100_000),
        answer(204),
    ],
)
async def test_read_does_not_know_after_an_odd_answer(reply: httpx.Response) -> None:
    for changes in (True, False):
        fake = FakeVendor()
        api = opened(fake, reply)
        with pytest.raises(VendorError) as caught:
            (await api.send(act(api, changes=changes), deadline())).decode(ANYTHING)
        assert isinstance(caught.value, VendorOutcomeUnknownError) is changes
        assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("status", "expected"), [(200, True), (403, False), (404, True), (400, None)]
)
async def test_is_allowed_reads_the_status(status: int, expected: bool | None) -> None:
    api = opened(FakeVendor(), answer(status, {}))
    call = act(api, changes=False)
    assert await api.is_allowed(call, deadline(), frozenset({404})) is expected


@pytest.mark.parametrize("status", [401, 500])
async def test_is_allowed_raises_where_the_credentials_are_the_matter(status: int) -> None:
    api = opened(FakeVendor(), answer(status, {}))
    with pytest.raises(VendorError):
        await api.is_allowed(act(api, changes=False), deadline())


async def test_send_after_a_401_sends_nothing_more_for_a_frozen_tenant_contract_42() -> None:
    fake = FakeVendor()
    api = opened(fake, answer(401), answer(202, {}))
    order = order_for(Device("a"), check=Refusing(allowed=1))
    with pytest.raises(VendorError, match="frozen") as caught:
        await api.send(api.change("contain", "/act", order, body={}), deadline())
    assert type(caught.value) is VendorError
    assert len(fake.requests) == 1
