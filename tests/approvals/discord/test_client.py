"""What the client makes of responses, also those that Discord never sends (contract 67; A32)."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.audit import Clock
from vyrox.approvals.discord.client import (
    API,
    MAX_RESPONSE_BYTES,
    MAX_WAIT_S,
    AwayError,
    DiscordClient,
    DiscordError,
    ForbiddenError,
    MissingError,
    RateLimitedError,
    RefusedError,
    open_http,
)

TOKEN = "bot-token-CANARY"
LIMITED = {"retry_after": 1.5, "global": False, "message": "You are being rate limited."}


class Stream(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


def client_of(
    respond: Callable[[httpx.Request], httpx.Response], clock: Clock | None = None
) -> DiscordClient:
    def streamed(request: httpx.Request) -> httpx.Response:
        found = respond(request)
        return httpx.Response(
            found.status_code, headers=found.headers, stream=Stream(found.content)
        )

    http = httpx.AsyncClient(transport=httpx.MockTransport(streamed))
    return DiscordClient(http, TOKEN, clock or Clock())


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx.Response(500), AwayError),
        (httpx.Response(302, headers={"location": "http://evil.test/"}), AwayError),
        (httpx.Response(200, content=b"<html>"), AwayError),
        (httpx.Response(200, content=b" " * (MAX_RESPONSE_BYTES + 1)), AwayError),
        (httpx.Response(200, headers={"content-encoding": "zstd-x"}), AwayError),
        (httpx.Response(400, json={"code": 50035, "message": "Invalid Form Body"}), RefusedError),
        (httpx.Response(403, content=b"<html>"), ForbiddenError),
        (httpx.Response(404, json={"code": "x"}), MissingError),
    ],
)
async def test_each_response_is_one_kind_of_error_contract_67(
    response: httpx.Response, error: type[DiscordError]
) -> None:
    sent: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return response

    with pytest.raises(error) as caught:
        await client_of(respond).request("GET", "/users/@me")
    assert type(caught.value) is error
    assert "CANARY" not in str(caught.value)
    [request] = sent
    assert str(request.url) == f"https://discord.com{API}/users/@me"
    assert request.headers["authorization"] == f"Bot {TOKEN}"
    assert request.headers["user-agent"].startswith("DiscordBot (")


@pytest.mark.parametrize(
    ("response", "after_s"),
    [
        (httpx.Response(429, json=LIMITED), 1.5),
        (httpx.Response(429, headers={"retry-after": "7"}, content=b"<html>"), 7.0),
        (httpx.Response(429, json={**LIMITED, "retry_after": 10**9}), MAX_WAIT_S),
        (httpx.Response(429, json={**LIMITED, "retry_after": -5}), 0.1),
        (httpx.Response(429, headers={"retry-after": "inf"}, content=b"{"), 1.0),
    ],
)
async def test_a_429_says_how_long_within_bounds_contract_67(
    response: httpx.Response, after_s: float
) -> None:
    with pytest.raises(RateLimitedError) as caught:
        await client_of(lambda _: response).request("GET", "/users/@me")
    assert caught.value.after_s == after_s


@pytest.mark.parametrize("is_global", [True, False])
async def test_only_a_limit_for_all_holds_up_other_routes_contract_67(is_global: bool) -> None:
    clock = Clock()
    asked: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if len(asked) == 1:
            return httpx.Response(429, json={**LIMITED, "global": is_global})
        return httpx.Response(204)

    client = client_of(respond, clock)
    with pytest.raises(RateLimitedError):
        await client.request("POST", "/channels/1/messages", {})
    with pytest.raises(RateLimitedError):
        await client.request("POST", "/channels/1/messages", {})
    if is_global:
        with pytest.raises(RateLimitedError):
            await client.request("POST", "/channels/2/messages", {})
        assert len(asked) == 1
    else:
        assert await client.request("POST", "/channels/2/messages", {}) == {}
    clock.now += 1.5
    assert await client.request("POST", "/channels/1/messages", {}) == {}


async def test_no_redirect_proxy_or_cookie_carries_the_token_contract_67() -> None:
    async with open_http() as http:
        assert not http.follow_redirects
        assert not http.trust_env
        http.cookies.extract_cookies(
            httpx.Response(
                200,
                headers={"set-cookie": "a=b"},
                request=httpx.Request("GET", "https://discord.com/"),
            )
        )
        assert not http.cookies
