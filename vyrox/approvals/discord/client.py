"""Requests to Discord's REST API, as the bot (contract 67, A32; Discord's own pages on limits).

A request is sent once. The client never waits: where Discord, or an earlier response, asks to
wait, it raises RateLimitedError with the time, and the caller decides. After a 401 it sends nothing
more, because Discord bans senders of many invalid requests.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Final, Literal

import httpx
import msgspec

from vyrox import log
from vyrox.clock import Clock
from vyrox.errors import VyroxError
from vyrox.http.outgoing import open_transport, why_failed
from vyrox.models import DIRECT, Outbound

ROOT: Final = "https://discord.com"
API: Final = "/api/v10"

TIMEOUT_S: Final = 10.0
"""For one request, from the name to the end of the response."""

CONNECT_S: Final = 3.0
"""For connecting, and again for TLS. Both end before TIMEOUT_S."""

MAX_RESPONSE_BYTES: Final = 1 << 20
MAX_CONNECTIONS: Final = 16
MAX_WAIT_S: Final = 3600.0
"""Longest wait that a response can ask for."""

USER_AGENT: Final = f"DiscordBot (https://vyrox.invalid, {version('vyrox')})"
"""Discord wants this form. The address is not one, as no page about the project is its own."""

Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
Json = Mapping[str, object]

_NUMBER: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?")
_UNSEEN: Final = re.compile(r"[^ -~]")


class DiscordError(VyroxError):
    """Discord did not do what it was asked. The text holds no secret."""


class AwayError(DiscordError):
    """No usable response: unreachable, too slow, or an error of Discord's own. Try again later."""


class RateLimitedError(DiscordError):
    """Nothing was sent, or Discord has refused it: it may be sent again after `after_s`."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"Discord asks to wait {after_s:.1f} s")
        self.after_s = after_s


class TokenRefusedError(DiscordError):
    """401: the bot token is not valid. Nothing is sent any more."""


class ForbiddenError(DiscordError):
    """403: the bot lacks a permission, or is not in the server."""


class MissingError(DiscordError):
    """404: the channel or the message does not exist, or the bot cannot see it."""


class RefusedError(DiscordError):
    """Another status of the 4xx: Discord does not take the request."""


_BY_STATUS: Final[dict[int, type[DiscordError]]] = {
    401: TokenRefusedError,
    403: ForbiddenError,
    404: MissingError,
}


class _Limited(msgspec.Struct):
    retry_after: float = 1.0
    is_global: bool = msgspec.field(default=False, name="global")


class _Refusal(msgspec.Struct):
    message: str = ""
    code: int = 0
    errors: msgspec.Raw = msgspec.Raw(b"")


class DiscordClient:
    """Sends requests as one bot. Its repr shows no token."""

    def __init__(
        self, http: httpx.AsyncClient, token: str, clock: Clock, root: str | None = None
    ) -> None:
        """Create it.

        Args:
            clock: Any that does not go back.
            root: In place of Discord's own, for tests.
        """
        self._http = http
        self._authorization = f"Bot {token}"
        self._clock = clock
        self._root = root or ROOT
        self._buckets: dict[str, str] = {}
        """The bucket of each route. Discord names it in the responses."""
        self._blocked: dict[str, float] = {}
        """Buckets that are used up, with the time from which they are not."""
        self._all_blocked_until = 0.0
        self.refused: str | None = None
        """Why nothing is sent any more."""

    async def request(
        self, method: Method, path: str, body: object = None, route: str | None = None
    ) -> Json:
        """Send one request and return the JSON object of its success; empty if it has none.

        Args:
            path: Below `/api/v10`.
            route: The same for all paths that share a limit. None: the path itself.

        Raises:
            DiscordError: As its classes say.
        """
        if self.refused is not None:
            raise TokenRefusedError(self.refused)
        name = f"{method} {route or path}"
        self._check_limits(name)
        response, content = await self._exchange(method, path, body)
        self._note_limits(name, response.headers)
        if 200 <= response.status_code < 300:
            return _decoded(content)
        raise self._error(name, response, content)

    def _check_limits(self, name: str) -> None:
        now = self._clock()
        until = max(self._all_blocked_until, self._blocked.get(self._bucket(name), 0.0))
        if until > now:
            raise RateLimitedError(until - now)

    def _bucket(self, name: str) -> str:
        return self._buckets.get(name, name)

    async def _exchange(
        self, method: Method, path: str, body: object
    ) -> tuple[httpx.Response, bytes]:
        headers = {"authorization": self._authorization, "user-agent": USER_AGENT}
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = msgspec.json.encode(body)
        request = self._http.build_request(
            method,
            f"{self._root}{API}{path}",
            content=content,
            headers=headers,
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S, pool=CONNECT_S),
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await self._http.send(request, stream=True)
                try:
                    return response, await _read(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise AwayError("Discord did not respond in time") from None
        except (httpx.HTTPError, httpx.StreamError) as exc:
            raise AwayError(f"Discord cannot be reached: {why_failed(exc)}") from None

    def _note_limits(self, name: str, headers: httpx.Headers) -> None:
        bucket = headers.get("x-ratelimit-bucket")
        if bucket is not None:
            # The same bucket of two channels is two limits: the path has the channel.
            self._buckets[name] = f"{bucket[:100]} {name.split(' ', 1)[1]}"
        if headers.get("x-ratelimit-remaining") == "0":
            after_s = _seconds(headers.get("x-ratelimit-reset-after"))
            if after_s is not None:
                self._blocked[self._bucket(name)] = self._clock() + after_s

    def _error(self, name: str, response: httpx.Response, content: bytes) -> DiscordError:
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return self._limited(name, response.headers, content)
        if status >= 500 or status < 400:
            return AwayError(f"Discord responded with HTTP {status}")
        text = f"HTTP {status}{_why(content)}"
        if status == httpx.codes.UNAUTHORIZED:
            self.refused = f"Discord does not accept DISCORD_BOT_TOKEN: {text}"
            log.event("discord.token_refused", logging.ERROR, reason=text)
            return TokenRefusedError(self.refused)
        return _BY_STATUS.get(status, RefusedError)(f"Discord refuses: {text}")

    def _limited(self, name: str, headers: httpx.Headers, content: bytes) -> RateLimitedError:
        try:
            limited = msgspec.json.decode(content, type=_Limited)
        except ValueError:  # not Discord itself, but what is in front of it
            limited = _Limited(_seconds(headers.get("retry-after")) or 1.0)
        after_s = min(max(limited.retry_after, 0.1), MAX_WAIT_S)
        until = self._clock() + after_s
        if limited.is_global or headers.get("x-ratelimit-global", "").lower() == "true":
            self._all_blocked_until = max(self._all_blocked_until, until)
        else:
            self._blocked[self._bucket(name)] = until
        log.event("discord.rate_limited", logging.WARNING, route=name, after_s=round(after_s, 1))
        return RateLimitedError(after_s)


def open_http(outbound: Outbound = DIRECT) -> httpx.AsyncClient:
    """Return the HTTP client for Discord, which the caller closes.

    No redirect, no proxy of the environment, no cookie: each could carry the token elsewhere.
    """
    return httpx.AsyncClient(
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"accept-encoding": "identity"},
        transport=open_transport(outbound, httpx.Limits(max_connections=MAX_CONNECTIONS)),
    )


async def _read(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("the response is compressed")
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_RESPONSE_BYTES:
            raise httpx.DecodingError("the response is too large")
    return bytes(content)


def _decoded(content: bytes) -> Json:
    if not content:
        return {}
    try:
        decoded = msgspec.json.decode(content)
    except ValueError:
        raise AwayError("Discord's response cannot be read") from None
    return decoded if isinstance(decoded, dict) else {"items": decoded}


def _why(content: bytes) -> str:
    try:
        refusal = msgspec.json.decode(content, type=_Refusal)
    except ValueError:
        return ""
    details = bytes(refusal.errors).decode("utf-8", "replace")
    text = f" {refusal.message} (code {refusal.code}) {details}"
    return _UNSEEN.sub("?", text[:300]).rstrip()


def _seconds(text: str | None) -> float | None:
    if text is None or _NUMBER.fullmatch(text) is None:
        return None
    return min(float(text), MAX_WAIT_S)
