"""Calls to other servers: through the proxy, with which certificates, and why one failed."""

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx

from vyrox.models import Outbound

_STATUS: Final = re.compile(r"[0-9]{3}\b")

_MAX_CAUSES: Final = 8
"""Errors behind an error that are read."""


class ProxyUnreachableError(httpx.ConnectError):
    """There is no connection to the proxy itself."""


def tls_context(outbound: Outbound) -> ssl.SSLContext:
    """Return a context that trusts the public certificates and those of the settings.

    It takes the time of many requests, so make it once.
    """
    return trusting(httpx.create_ssl_context(trust_env=False), outbound)


def trusting(context: ssl.SSLContext, outbound: Outbound) -> ssl.SSLContext:
    """Return `context`, which now trusts the certificates of the settings too."""
    if outbound.ca is not None:
        context.load_verify_locations(cadata=outbound.ca)
    return context


def open_transport(
    outbound: Outbound, limits: httpx.Limits, tls: ssl.SSLContext | None = None
) -> httpx.AsyncBaseTransport:
    """Return what carries requests, for one `httpx.AsyncClient`. It reads no environment.

    Args:
        tls: From `tls_context`; None: a new one.
    """
    context = tls or tls_context(outbound)
    proxy = _proxy(outbound, context)
    if proxy is None:
        return httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
    return _ViaProxy(verify=context, trust_env=False, limits=limits, proxy=proxy)


def _proxy(outbound: Outbound, context: ssl.SSLContext) -> httpx.Proxy | None:
    if outbound.proxy is None:
        return None
    secured = context if outbound.proxy.startswith("https:") else None
    return httpx.Proxy(outbound.proxy, ssl_context=secured)


class _ViaProxy(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectError as exc:
            if any(isinstance(each, ssl.SSLError) for each in _causes(exc)):
                raise  # in the tunnel, so the proxy was reached
            raise ProxyUnreachableError(str(exc), request=request) from exc


def why_failed(error: BaseException) -> str:
    """Return why a call failed: TLS, the proxy, the name, or else the kind of the error.

    The text contains nothing of the URL but its host, and nothing of a response but its status.
    """
    reason = next(filter(None, map(_reason, _causes(error))), type(error).__name__)
    if isinstance(error, ProxyUnreachableError):
        known = "" if reason == type(error).__name__ else f": {reason}"
        return f"the proxy cannot be reached (OUTBOUND_PROXY){known}"
    return reason


def _reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        message = str(getattr(error, "verify_message", ""))
        return f"TLS: the certificate is not accepted: {message}".removesuffix(": ")
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {getattr(error, 'reason', None) or type(error).__name__}"
    if isinstance(error, socket.gaierror):
        return "the name of the host does not resolve (DNS)"
    if type(error).__name__ == "ProxyError":  # of httpx and of httpcore
        status = _STATUS.match(str(error))
        return f"the proxy responded with HTTP {status[0]}" if status else "the proxy failed"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__
