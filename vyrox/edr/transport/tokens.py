"""Authorization: SentinelOne's API token, and the bearer tokens of the other two vendors."""

import asyncio
from typing import Annotated, Final, Protocol

import msgspec

from vyrox.edr.client import Deadline, locked
from vyrox.edr.transport.calls import VendorRequest
from vyrox.edr.transport.rate_limits import RetryingSender
from vyrox.errors import VendorError

RENEW_S: Final = 60.0
"""A token is renewed this long before it expires, but not before half of its lifetime."""

_REFUSED: Final = frozenset({400, 401, 403})
"""CrowdStrike returns 403 for a wrong secret, Microsoft 400 or 401."""


class Authorization(Protocol):
    """Returns the value of the Authorization header."""

    async def value(self, deadline: Deadline, /) -> str:
        """Return the whole header. Raises VendorError if the vendor issues no token."""
        ...

    def discard(self, value: str, /) -> bool:
        """Forget `value`, which was refused; return whether `value()` may return a new one."""
        ...


class ApiToken:
    """The API token of SentinelOne, which is the secret itself.

    Source: SentinelOne's API, "Authorization: ApiToken <token>".
    """

    def __init__(self, token: str) -> None:
        self._value = f"ApiToken {token}"

    async def value(self, _deadline: Deadline) -> str:
        """Return the header."""
        return self._value

    def discard(self, _value: str) -> bool:
        """Return False: the token does not change."""
        return False


class _Token(msgspec.Struct, frozen=True):
    # Other characters are rejected: h11 would copy an invalid header into its error text.
    access_token: Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]+\Z", max_length=16384)]
    expires_in: Annotated[float, msgspec.Meta(gt=0)]


_TOKEN = msgspec.json.Decoder(_Token, strict=False)
"""Not strict: Microsoft sends `expires_in` as a number or as a string."""


class BearerToken:
    """An OAuth 2.0 bearer token. All requests share it, and it is renewed before it expires.

    Source: CrowdStrike `POST /oauth2/token` (201, for 30 minutes); Microsoft identity platform,
    client credentials flow.
    """

    def __init__(self, sender: RetryingSender, request: VendorRequest) -> None:
        """`request` is the request for a token."""
        self._sender = sender
        self._request = request
        self._lock = asyncio.Lock()
        self._value: str | None = None
        self._renew_at = 0.0
        self._refused_at = -1.0
        self._refusal = ""

    async def value(self, deadline: Deadline) -> str:
        """Return the header.

        Raises:
            VendorError: The vendor rejects the credentials, or is unavailable.
        """
        asked_at = asyncio.get_running_loop().time()
        async with locked(self._lock, deadline, self._request.name):
            if self._value is None or asyncio.get_running_loop().time() >= self._renew_at:
                self._value = await self._fetch(asked_at, deadline)
            return self._value

    def discard(self, value: str) -> bool:
        """Forget the token if it still is `value`. Another request may have renewed it."""
        if self._value == value:
            self._value = None
        return True

    async def _fetch(self, asked_at: float, deadline: Deadline) -> str:
        loop = asyncio.get_running_loop()
        if self._refused_at >= asked_at:
            # Another request for a token was refused while this one waited. Many requests with a
            # wrong secret could lock the client out.
            raise VendorError(self._refusal)
        response = await self._sender.exchange(self._request, deadline)
        if response.status in _REFUSED:
            self._refused_at = loop.time()
            self._refusal = f"credentials refused: {response.refusal()}"
            raise VendorError(self._refusal)
        token = response.decode(_TOKEN)
        self._renew_at = loop.time() + max(token.expires_in - RENEW_S, token.expires_in / 2)
        return f"Bearer {token.access_token}"
