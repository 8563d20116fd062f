"""What the signed routes of the private listener share: its parts, and authentication."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

from starlette.requests import Request

from vyrox.chain.events import AuditEvents
from vyrox.clock import Clock
from vyrox.containment.clock_guard import ClockGuard
from vyrox.containment.execution import Containment
from vyrox.containment.rate_limit import RateLimit
from vyrox.crypto import verify
from vyrox.errors import AuditWriteError, UnauthorizedError, UnavailableError
from vyrox.http.application import header_values, request_id_of
from vyrox.store.database import Database

_TIMESTAMP: Final = re.compile(rb"[0-9]{1,12}")
"""Unix seconds in ASCII digits. `int` would also accept "1_000" and the digits of other scripts."""

_SIGNATURE: Final = re.compile(rb"sha256=[0-9a-f]{64}")
"""The form of a signature. The audit event reports another form as malformed, not as wrong."""


@dataclass(frozen=True)
class Proxy:
    """The parts that the routes use, opened in the application's lifespan.

    Attributes:
        secret: VYROX_HMAC_SECRET.
    """

    clock: Clock
    clocks: ClockGuard
    secret: str
    database: Database
    containment: Containment
    events: AuditEvents
    rate_limit: RateLimit


def authenticate(
    proxy: Proxy, request: Request, message: bytes, claimed_tenant: str | None = None
) -> None:
    """Check that the request's one signature signs `message`.

    Args:
        claimed_tenant: The tenant that the request names outside of a signed body, for the audit
            event.

    Raises:
        UnauthorizedError: The signature is missing, malformed or wrong, or there are several.
    """
    signatures = header_values(request, b"x-vyrox-signature")
    signature = signatures[0] if len(signatures) == 1 else b""
    if verify(message, signature, proxy.secret):
        return
    if not signatures:
        failure = "missing_credential"
    elif _SIGNATURE.fullmatch(signature) is None:
        failure = "malformed_credential"
    else:
        failure = "bad_signature"
    _refuse(proxy, request, failure, claimed_tenant)


def signed_timestamp(proxy: Proxy, request: Request, claimed_tenant: str | None) -> bytes:
    """Return the timestamp of a request whose headers hold one, and a signature.

    Raises:
        UnauthorizedError: A header is missing, or the timestamp is malformed.
    """
    timestamps = header_values(request, b"x-vyrox-timestamp")
    if not timestamps or not header_values(request, b"x-vyrox-signature"):
        _refuse(proxy, request, "missing_credential", claimed_tenant)
    if len(timestamps) > 1 or _TIMESTAMP.fullmatch(timestamps[0]) is None:
        _refuse(proxy, request, "malformed_credential", claimed_tenant)
    return timestamps[0]


def _refuse(proxy: Proxy, request: Request, failure: str, claimed_tenant: str | None) -> NoReturn:
    proxy.events.note_unauthenticated(
        "auth.failed",
        None,
        request_id_of(request),
        route=request.scope["path"],
        claimed_tenant=claimed_tenant,
        failure=failure,
    )
    raise UnauthorizedError(failure, claimed_tenant)


@contextmanager
def unavailable_as_500() -> Iterator[None]:
    """Turn an UnavailableError into a 500: the private listener has no 503 (contract 19)."""
    try:
        yield
    except UnavailableError as exc:
        raise AuditWriteError(str(exc)) from exc
