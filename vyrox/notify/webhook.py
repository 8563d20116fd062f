"""Sends one notification: one signed POST, and what happened, in plain words.

It follows no redirect and uses no proxy. It reads the status and nothing of the response's body.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

import httpcore

from vyrox.errors import NotDeliveredError
from vyrox.notify.connecting import CheckedBackend, Resolve, Resolver
from vyrox.notify.signature import signed_headers
from vyrox.notify.url import Endpoint, parse_url

TIMEOUT_S: Final = 10.0
"""For one attempt: the name, the connection, TLS, the request and the status."""

CONNECT_S: Final = 2.5
"""Time limit for connecting, and again for TLS. Both end before TIMEOUT_S, because the library may
leave a socket open if it is cancelled during TLS."""

MAX_IN_FLIGHT: Final = 64
"""Requests at the same time, to all targets together."""

_USER_AGENT: Final = f"vyrox/{version('vyrox')}"


class Webhooks:
    """Sends notifications. It knows no database."""

    def __init__(self, pool: httpcore.AsyncConnectionPool, allowed_hosts: AbstractSet[str]) -> None:
        self._pool = pool
        self._allowed_hosts = allowed_hosts

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
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
            raise NotDeliveredError(_why_no_connection(exc)) from None
        except httpcore.TimeoutException:
            raise NotDeliveredError("no response in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
            reason = f"the connection broke before a response: {type(exc).__name__}"
            raise NotDeliveredError(reason) from None
        if not 200 <= status < 300:
            hint = " (redirects are not followed)" if 300 <= status < 400 else ""
            raise NotDeliveredError(f"the receiver responded with HTTP {status}{hint}")
        return status

    async def _post(self, endpoint: Endpoint, signed: dict[str, str], body: bytes) -> int:
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
    allowed_hosts: AbstractSet[str], resolve: Resolve | None = None
) -> AsyncIterator[Webhooks]:
    """Open what sends notifications, and close it at the end.

    Args:
        allowed_hosts: Names and addresses that may be private, and that may be sent to over http.
        resolve: None: the system's resolver.
    """
    async with Resolver() as system:
        pool = httpcore.AsyncConnectionPool(
            # Made once: it takes the time of many requests.
            ssl_context=httpcore.default_ssl_context(),
            max_connections=MAX_IN_FLIGHT,
            max_keepalive_connections=0,
            network_backend=CheckedBackend(resolve or system, allowed_hosts),
        )
        async with pool:
            yield Webhooks(pool, allowed_hosts)


def _why_no_connection(error: httpcore.ConnectError | httpcore.ConnectTimeout) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not accepted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason}"
    if isinstance(error, httpcore.ConnectTimeout):
        return "the host did not accept a connection in time"
    return "the host refused the connection, or cannot be reached"
