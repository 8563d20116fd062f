"""Sends one notification: one signed POST, and what happened, in plain words.

It follows no redirect, and uses no proxy but that of the settings. It reads the status and nothing
of the response's body.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final
from urllib.parse import unquote, urlsplit

import httpcore

from vyrox.errors import NotDeliveredError
from vyrox.http.outgoing import trusting, why_failed
from vyrox.models import DIRECT, Outbound
from vyrox.notify.connecting import CheckedBackend, Resolve, Resolver
from vyrox.notify.signature import signed_headers
from vyrox.notify.url import PORTS, Endpoint, parse_url

TIMEOUT_S: Final = 10.0
"""For one attempt: the name, the connection, TLS, the request and the status."""

CONNECT_S: Final = 2.5
"""Time limit for connecting, and again for TLS. Both end before TIMEOUT_S, because the library may
leave a socket open if it is cancelled during TLS."""

MAX_IN_FLIGHT: Final = 64
"""Requests at the same time, to all targets together."""

Check = Callable[[str, int], Awaitable[None]]
"""Takes a host and a port. Raises NotDeliveredError if nothing may be sent there."""

_USER_AGENT: Final = f"vyrox/{version('vyrox')}"


class Webhooks:
    """Sends notifications. It knows no database."""

    def __init__(
        self,
        pool: httpcore.AsyncConnectionPool,
        allowed_hosts: AbstractSet[str],
        check: Check | None = None,
    ) -> None:
        """`check` is called before each attempt, if the pool does not check the address."""
        self._pool = pool
        self._allowed_hosts = allowed_hosts
        self._check = check

    async def deliver(
        self, url: str, secret: str, message_id: str, timestamp: int, body: bytes
    ) -> int:
        """Send `body` and return the status, a 2xx.

        Args:
            timestamp: Of this attempt, in Unix seconds.

        Raises:
            NotDeliveredError: There was no 2xx in time. The text contains neither the URL's path
                nor anything of the response except its status.
        """
        try:
            endpoint = parse_url(url, self._allowed_hosts)
            signed = signed_headers(secret, message_id, timestamp, body)
        except ValueError as exc:
            raise NotDeliveredError(f"the stored URL or secret {exc}") from None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._post(endpoint, signed, body)
        except TimeoutError:
            raise NotDeliveredError(f"no response within {TIMEOUT_S:.0f} s") from None
        except httpcore.ProxyError as exc:
            raise NotDeliveredError(why_failed(exc)) from None
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
            raise NotDeliveredError(self._why_no_connection(exc)) from None
        except httpcore.TimeoutException:
            raise NotDeliveredError("no response in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
            reason = f"the connection broke before a response: {type(exc).__name__}"
            raise NotDeliveredError(reason) from None
        if not 200 <= status < 300:
            hint = " (redirects are not followed)" if 300 <= status < 400 else ""
            raise NotDeliveredError(f"the receiver responded with HTTP {status}{hint}")
        return status

    def _why_no_connection(self, error: httpcore.ConnectError | httpcore.ConnectTimeout) -> str:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ssl.SSLError):
            return why_failed(cause)
        host = "host" if self._check is None else "proxy (OUTBOUND_PROXY)"
        if isinstance(error, httpcore.ConnectTimeout):
            return f"the {host} did not accept a connection in time"
        return f"the {host} refused the connection, or cannot be reached"

    async def _post(self, endpoint: Endpoint, signed: dict[str, str], body: bytes) -> int:
        if self._check is not None:
            await self._check(endpoint.host, endpoint.port)
        url = httpcore.URL(
            scheme=endpoint.scheme,
            host=endpoint.host,
            port=endpoint.port,
            target=endpoint.target,
        )
        headers = {
            "host": endpoint.authority,
            "user-agent": _USER_AGENT,
            "content-type": "application/json",
            **signed,
        }
        timeouts = {"connect": CONNECT_S, "read": TIMEOUT_S, "write": TIMEOUT_S}
        request = self._pool.stream(
            "POST",
            url,
            headers=list(headers.items()),
            content=body,
            extensions={"timeout": timeouts},
        )
        # The block ends without reading the body, which closes the connection.
        async with request as response:
            return response.status


@asynccontextmanager
async def open_webhooks(
    allowed_hosts: AbstractSet[str], resolve: Resolve | None = None, outbound: Outbound = DIRECT
) -> AsyncIterator[Webhooks]:
    """Open what sends notifications, and close it at the end.

    Args:
        allowed_hosts: Names and addresses that may be private, and that may be sent to over http.
        resolve: None: the system's resolver.
        outbound: How targets are reached. A proxy resolves their names itself.
    """
    # Made once: it takes the time of many requests.
    tls = trusting(httpcore.default_ssl_context(), outbound)
    async with Resolver() as system:
        backend = CheckedBackend(resolve or system, allowed_hosts)
        if outbound.proxy is None:
            pool = httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=MAX_IN_FLIGHT,
                max_keepalive_connections=0,
                network_backend=backend,
            )
            async with pool:
                yield Webhooks(pool, allowed_hosts)
        else:
            async with _through(outbound.proxy, tls) as pool:
                yield Webhooks(pool, allowed_hosts, backend.check_for_proxy)


def _through(proxy: str, tls: ssl.SSLContext) -> httpcore.AsyncHTTPProxy:
    parts = urlsplit(proxy)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return httpcore.AsyncHTTPProxy(
        f"{parts.scheme}://{host}:{parts.port or PORTS[parts.scheme]}",
        proxy_auth=(user.encode(), password.encode()) if user or password else None,
        ssl_context=tls,
        proxy_ssl_context=tls if parts.scheme == "https" else None,
        max_connections=MAX_IN_FLIGHT,
        max_keepalive_connections=0,
    )
