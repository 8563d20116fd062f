"""Authorization: SentinelOne's lasting token, and the short-lived ones of the other two vendors."""

import asyncio
from typing import Annotated, Final, Protocol

import msgspec

from vyrox.edr.client import Deadline, held
from vyrox.edr.transport.calls import VendorRequest
from vyrox.edr.transport.rate_limits import RetryingSender
from vyrox.errors import VendorError

RENEW_S: Final = 60.0
"""A token is renewed this long before it ends, or after half its life if that is less."""

_REFUSED: Final = frozenset({400, 401, 403})
"""CrowdStrike answers 403 to a wrong secret, Microsoft 400 or 401."""


class Authorization(Protocol):
    """Whatever gives the value of the Authorization header."""

    async def value(self, deadline: Deadline) -> str:
        """Return the whole header. Raises VendorError where there is none to be had."""
        ...

    def discard(self, value: str) -> bool:
        """Forget `value`, which was refused; return whether `value()` may give another."""
        ...


class ApiToken:
    """SentinelOne's: the secret itself.

    Source: SentinelOne's API, "Authorization: ApiToken <token>".
    """

    def __init__(self, token: str) -> None:
        self._value = f"ApiToken {token}"

    async def value(self, deadline: Deadline) -> str:  # noqa: ARG002  (nothing is asked for)
        """Return the header."""
        return self._value

    def discard(self, value: str) -> bool:  # noqa: ARG002  (there is one, and it does not change)
        """Return False: there is no other."""
        return False


class _Token(msgspec.Struct, frozen=True):
    # No other characters: h11 repeats a header that it cannot send in the text of its error.
    access_token: Annotated[str, msgspec.Meta(pattern=r"\A[\x21-\x7e]+\Z", max_length=16384)]
    expires_in: Annotated[float, msgspec.Meta(gt=0)]


_TOKEN = msgspec.json.Decoder(_Token, strict=False)
"""Not strict: Microsoft has given `expires_in` as a number and as a string."""


class BearerToken:
    """An OAuth 2.0 client's token, fetched once for all who need it and renewed before its end.

    Source: CrowdStrike `POST /oauth2/token` (201, for 30 minutes); Microsoft identity platform,
    client credentials flow.
    """

    def __init__(self, patience: RetryingSender, call: VendorRequest) -> None:
        """`call` is the one that fetches it."""
        self._patience = patience
        self._call = call
        self._lock = asyncio.Lock()
        self._value: str | None = None
        self._renew_at = 0.0
        self._refused_at = -1.0
        self._refusal = ""

    async def value(self, deadline: Deadline) -> str:
        """Return the header.

        Raises:
            VendorError: The credentials are refused, or there is no answer to be had.
        """
        asked_at = asyncio.get_running_loop().time()
        async with held(self._lock, deadline, self._call.name):
            if self._value is None or asyncio.get_running_loop().time() >= self._renew_at:
                self._value = await self._fetch(asked_at, deadline)
            return self._value

    def discard(self, value: str) -> bool:
        """Forget the token if it still is `value`: another call may have renewed it since."""
        if self._value == value:
            self._value = None
        return True

    async def _fetch(self, asked_at: float, deadline: Deadline) -> str:
        loop = asyncio.get_running_loop()
        if self._refused_at >= asked_at:
            # Another fetch was refused while this one waited for it. A hundred more with a wrong
            # secret could get the client locked out.
            raise VendorError(self._refusal)
        answer = await self._patience.exchange(self._call, deadline)
        if answer.status in _REFUSED:
            self._refused_at = loop.time()
            self._refusal = f"credentials refused: {answer.refusal()}"
            raise VendorError(self._refusal)
        token = answer.decode(_TOKEN)
        self._renew_at = loop.time() + max(token.expires_in - RENEW_S, token.expires_in / 2)
        return f"Bearer {token.access_token}"
