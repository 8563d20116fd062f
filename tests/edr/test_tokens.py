"""A token is fetched once for all, renewed before its end, and never shown."""

import asyncio

import httpx
import pytest

from tests.edr.vendor import CLIENT_ID, SECRET, FakeVendor, answer, deadline, form, token
from tests.loop_time import set_loop_time
from vyrox.edr import defender
from vyrox.edr.crowdstrike import client
from vyrox.edr.transport.calls import open_http
from vyrox.edr.transport.rate_limits import RetryingSender, backoff
from vyrox.edr.transport.tokens import RENEW_S, ApiToken, BearerToken
from vyrox.edr.urls import microsoft_cloud
from vyrox.errors import VendorError, VendorOutcomeUnknownError

TOKEN_PATH = "/oauth2/token"
CALL = client.token_request("https://api.crowdstrike.com", CLIENT_ID, SECRET)


@pytest.fixture
def fake() -> FakeVendor:
    return FakeVendor()


def bearer(fake: FakeVendor, transport: httpx.AsyncBaseTransport | None = None) -> BearerToken:
    http = open_http(transport or httpx.MockTransport(fake.handle))
    return BearerToken(RetryingSender(http, backoff, fake.sleep), CALL)


async def test_value_fetches_a_token_with_a_form(fake: FakeVendor) -> None:
    fake.on("POST", TOKEN_PATH, token("abc"))
    assert await bearer(fake).value(deadline()) == "Bearer abc"
    request = fake.token_requests[0]
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert form(request) == {"client_id": [CLIENT_ID], "client_secret": [SECRET]}
    assert "authorization" not in request.headers


async def test_value_is_kept(fake: FakeVendor) -> None:
    fake.on("POST", TOKEN_PATH, token("abc"), token("other"))
    tokens = bearer(fake)
    assert {await tokens.value(deadline()) for _ in range(3)} == {"Bearer abc"}


@pytest.mark.parametrize(
    ("life_s", "kept_s"), [(1799, 1799 - RENEW_S), ("3599", 3599 - RENEW_S), (100, 50.0), (10, 5.0)]
)
async def test_value_is_renewed_before_its_end(
    fake: FakeVendor, monkeypatch: pytest.MonkeyPatch, life_s: object, kept_s: float
) -> None:
    fake.on("POST", TOKEN_PATH, token("first", life_s), token("second"))
    tokens, offset = bearer(fake), set_loop_time(monkeypatch, stops=True)
    await tokens.value(deadline())
    offset[0] = kept_s - 2
    assert await tokens.value(deadline()) == "Bearer first"
    offset[0] = kept_s + 2
    assert await tokens.value(deadline()) == "Bearer second"


class Gate(httpx.AsyncBaseTransport):
    """Holds every request until it is opened."""

    def __init__(self, fake: FakeVendor) -> None:
        self._fake = fake
        self.opened = asyncio.Event()
        self.reached = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.reached.set()
        await self.opened.wait()
        return self._fake.handle(request)


async def test_value_whose_fetcher_runs_out_of_time_is_fetched_by_the_next(
    fake: FakeVendor,
) -> None:
    fake.on("POST", TOKEN_PATH, httpx.ReadTimeout("late"), token("abc"))
    gate = Gate(fake)
    tokens = bearer(fake, gate)
    async with asyncio.timeout(20):
        first = asyncio.create_task(tokens.value(deadline()))
        await gate.reached.wait()
        second = asyncio.create_task(tokens.value(deadline()))
        await asyncio.sleep(0)
        gate.opened.set()
        with pytest.raises(VendorError):
            await first
        assert await second == "Bearer abc"


@pytest.mark.parametrize("reply", [token("abc"), answer(403, {"errors": []})])
async def test_value_is_fetched_once_for_all_who_wait(
    fake: FakeVendor, reply: httpx.Response
) -> None:
    fake.on("POST", TOKEN_PATH, reply)
    gate = Gate(fake)
    tokens = bearer(fake, gate)
    async with asyncio.timeout(20):
        waiting = [asyncio.create_task(tokens.value(deadline())) for _ in range(50)]
        await gate.reached.wait()
        gate.opened.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert len({str(result) for result in results}) == 1
    assert len(fake.token_requests) == 1


async def test_value_after_a_failure_is_tried_again(fake: FakeVendor) -> None:
    fake.on("POST", TOKEN_PATH, answer(500), token("abc"))
    tokens = bearer(fake)
    with pytest.raises(VendorError):
        await tokens.value(deadline())
    await asyncio.sleep(0.001)  # the clock of the loop moves on
    assert await tokens.value(deadline()) == "Bearer abc"


async def test_value_whose_fetcher_gives_up_is_fetched_by_the_next(fake: FakeVendor) -> None:
    fake.on("POST", TOKEN_PATH, token("abc"))
    gate = Gate(fake)
    tokens = bearer(fake, gate)
    async with asyncio.timeout(20):
        first = asyncio.create_task(tokens.value(deadline()))
        await gate.reached.wait()
        second = asyncio.create_task(tokens.value(deadline()))
        gate.opened.set()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == "Bearer abc"


async def test_value_ends_at_the_deadline_of_who_waits(fake: FakeVendor) -> None:
    tokens = bearer(fake, Gate(fake))
    async with asyncio.timeout(20):
        holding = asyncio.create_task(tokens.value(deadline()))
        await asyncio.sleep(0)
        with pytest.raises(VendorError):
            await tokens.value(deadline(0.1))
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding


async def test_discard_makes_room_for_another(fake: FakeVendor) -> None:
    fake.on("POST", TOKEN_PATH, token("first"), token("second"))
    tokens = bearer(fake)
    first = await tokens.value(deadline())
    assert tokens.discard(first)
    assert await tokens.value(deadline()) == "Bearer second"
    assert tokens.discard(first)  # by another call, whose 401 came later
    assert await tokens.value(deadline()) == "Bearer second"
    assert len(fake.token_requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer(403, {"errors": [{"code": 403, "message": SECRET}]}), id="refused"),
        pytest.param(
            answer(401, {"error": "invalid_client", "error_description": SECRET}),
            id="refused-by-microsoft",
        ),
        pytest.param(answer(400, {"error": SECRET}), id="secret-as-error"),
        pytest.param(answer(500, b"<html>"), id="broken"),
        pytest.param(answer(301, None, location="https://evil.example/"), id="redirect"),
        pytest.param(answer(201, b""), id="empty"),
        pytest.param(answer(201, b"{"), id="cut"),
        pytest.param(answer(201, {"token_type": "bearer"}), id="no-token"),
        pytest.param(token("a b"), id="space-in-token"),
        pytest.param(token("a\r\nx: y"), id="header-in-token"),
        pytest.param(token("a\n"), id="newline-after-token"),
        pytest.param(token(""), id="empty-token"),
        pytest.param(token("\u00e9"), id="odd-token"),
        pytest.param(token("a" * 20_000), id="long-token"),
        pytest.param(token("a", 0), id="ended-token"),
        pytest.param(token("a", "soon"), id="odd-life"),
        pytest.param(token("a", None), id="no-life"),
        pytest.param(httpx.ReadTimeout("late"), id="timeout"),
    ],
)
async def test_value_that_cannot_be_had(
    fake: FakeVendor, reply: httpx.Response | Exception
) -> None:
    fake.on("POST", TOKEN_PATH, reply)
    with pytest.raises(VendorError) as caught:
        await bearer(fake).value(deadline())
    assert type(caught.value) is VendorError  # nothing was done to any host
    assert SECRET not in str(caught.value)
    assert not isinstance(caught.value, VendorOutcomeUnknownError)


def test_token_call_of_defender_asks_for_machine_actions() -> None:
    call = defender.token_request(
        "https://login.microsoftonline.com",
        "acme.com",
        "app",
        "s&=+ \u00e9",
        microsoft_cloud("https://api.security.microsoft.com", None).scope,
    )
    assert call.url == "https://login.microsoftonline.com/acme.com/oauth2/v2.0/token"
    assert call.body == (
        b"grant_type=client_credentials&client_id=app&client_secret=s%26%3D%2B+%C3%A9"
        b"&scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default"
    )


def test_token_of_a_parents_client_is_for_the_child_contract_73() -> None:
    child = "0123456789abcdef0123456789abcdef"
    call = client.token_request("https://api.crowdstrike.com", "id", "secret", child)
    assert call.body == b"client_id=id&client_secret=secret&member_cid=" + child.encode()


async def test_api_token_is_sentinelones_scheme_and_has_no_successor() -> None:
    tokens = ApiToken(SECRET)
    assert await tokens.value(deadline()) == f"ApiToken {SECRET}"
    assert not tokens.discard(f"ApiToken {SECRET}")


async def test_tokens_show_nothing(fake: FakeVendor) -> None:
    fake.on("POST", TOKEN_PATH, token("abc-token"))
    tokens = bearer(fake)
    await tokens.value(deadline())
    assert "abc-token" not in repr(tokens)
    assert SECRET not in f"{tokens!r} {ApiToken(SECRET)!r} {CALL!r}"
