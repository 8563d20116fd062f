"""What every request to the console must have, and every response has (contract 66, A37)."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vyrox.errors import CrossSiteError, MisdirectedError
from vyrox.http.by_host import hosts_of, is_for

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    # With `no-referrer` browsers would send `Origin: null`.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every response, also of errors."""

_RAW: Final = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

_SAFE: Final = frozenset({"GET", "HEAD"})


class SecureHeaders:
    """The outermost layer: adds HEADERS to whatever the layers below respond."""

    def __init__(self, app: ASGIApp) -> None:
        """Add the layer to `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_RAW]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Guard:
    """Refuses requests for another name, and changes that no page of the console asked for.

    The name is checked because another website can point a name of its own at this address. Its
    pages could then read the console's (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, origin: str) -> None:
        """Add the layer to `app`, which serves `origin`."""
        self._app = app
        self._origin = origin.encode()
        self._hosts = hosts_of(origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            MisdirectedError: `Host` is not the console's.
            CrossSiteError: A change does not come from one of the console's own pages.
        """
        if scope["type"] == "http":
            if not is_for(scope, self._hosts):
                raise MisdirectedError("Host is not that of CONSOLE_ORIGIN")
            if scope["method"] not in _SAFE and not self._is_own(scope):
                raise CrossSiteError("Sec-Fetch-Site or Origin")
        await self._app(scope, receive, send)

    def _is_own(self, scope: Scope) -> bool:
        """Return whether a page of the console sent the request.

        Browsers leave out `Sec-Fetch-Site` over http, except for localhost. Then `Origin` decides.
        """
        for header, own in ((b"sec-fetch-site", b"same-origin"), (b"origin", self._origin)):
            found = [value for name, value in scope["headers"] if name == header]
            if found:
                return found == [own]
        return False
