"""Two applications on one port: the name that a request is for decides (contract 66)."""

from starlette.types import ASGIApp, Receive, Scope, Send


def hosts_of(origin: str) -> frozenset[bytes]:
    """Return what `Host` may be in a request to `origin`, in lower case."""
    scheme, _, authority = origin.partition("://")
    default_port = {"http": ":80", "https": ":443"}[scheme]
    has_port = ":" in authority
    return frozenset(
        {authority.encode()} | (set() if has_port else {f"{authority}{default_port}".encode()})
    )


def is_for(scope: Scope, hosts: frozenset[bytes]) -> bool:
    """Return whether the request has exactly one `Host`, which is one of `hosts`."""
    found = [value.lower() for name, value in scope["headers"] if name == b"host"]
    return len(found) == 1 and found[0] in hosts


class ByHost:
    """Serves the requests for one name with `named`, and everything else with `others`."""

    def __init__(self, named: ASGIApp, hosts: frozenset[bytes], others: ASGIApp) -> None:
        """No header but `Host` is read: any client can send `X-Forwarded-Host`."""
        self._named = named
        self._hosts = hosts
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_named = scope["type"] == "http" and is_for(scope, self._hosts)
        await (self._named if is_named else self._others)(scope, receive, send)
