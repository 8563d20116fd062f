"""What the signed routes of the private listener share: authentication, and the two forms.

Contract 51 describes the forms: `signed_read` for a GET, `signed_change` for a POST.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final, Generic, NoReturn, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from vyrox import log
from vyrox.alerts.entries import QueueEntries
from vyrox.chain.checkpoints import Checkpoints
from vyrox.chain.events import AuditEvents
from vyrox.clock import Clock
from vyrox.containment.clock_guard import ClockGuard
from vyrox.containment.execution import Containment
from vyrox.containment.rate_limit import RateLimit
from vyrox.errors import (
    AuditWriteError,
    InvalidRequestError,
    OverloadedError,
    UnauthorizedError,
    UnavailableError,
    WriteUnknownError,
)
from vyrox.http.application import header_values, request_id_of
from vyrox.http.bodies import IncompleteBodies, read_body
from vyrox.http.explaining import note_signed
from vyrox.http.fields import invalid_field
from vyrox.http.replay_window import check_window
from vyrox.http.senders import sender_of
from vyrox.ids import is_tenant_id
from vyrox.models import Words
from vyrox.store.database import Database
from vyrox.store.signed_changes import run_once
from vyrox.tenants.audit_readers import AuditReaders
from vyrox.tenants.malformed import how_of_signature
from vyrox.tenants.private_secrets import PrivateSecrets

_TIMESTAMP: Final = re.compile(rb"[0-9]{1,12}")
"""Unix seconds in ASCII digits. `int` would also accept "1_000" and the digits of other scripts."""

MAX_SIGNED_BODY_BYTES: Final = 65_536

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""A text in the body of a signed request (contract 20)."""

_READS: Final = frozenset({"GET", "HEAD"})

_SIGNATURE: Final = re.compile(rb"sha256=[0-9a-f]{64}")
"""The form of a signature. The audit event reports another form as malformed, not as wrong."""


@dataclass(frozen=True)
class Proxy:
    """The parts that the routes use, opened in the application's lifespan.

    Attributes:
        secret: VYROX_HMAC_SECRET.
        secrets: Those that requests may be signed with.
        checkpoints: None: there is no key for them.
        approval_ttl_s: How long a proposal may be decided on.
        metrics: Returns what is measured, as text for Prometheus.
    """

    clock: Clock
    clocks: ClockGuard
    secret: str
    secrets: PrivateSecrets
    database: Database
    entries: QueueEntries
    containment: Containment
    events: AuditEvents
    checkpoints: Checkpoints | None
    readers: AuditReaders
    rate_limit: RateLimit
    approval_ttl_s: int
    metrics: Callable[[], Awaitable[bytes]]


class SignedBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that the body of every signed change has (contract 51). Others are ignored.

    Attributes:
        request_id: The idempotency key.
        by: The person who makes the change.
        at: Unix seconds.
    """

    tenant_id: Text
    request_id: UUID
    by: Words
    at: int


Body = TypeVar("Body", bound=SignedBody)

_incomplete: Final = IncompleteBodies()


@dataclass(frozen=True)
class SignedChange(Generic[Body]):
    """A signed change that is to be made once. `signed_change` returns it."""

    proxy: Proxy
    body: Body
    path: str
    now: float

    async def make(self, change: Callable[[Connection], object]) -> Response:
        """Return what `change(connection)` returns, as JSON, or has returned for this request.

        Raises:
            RequestReusedError: The `request_id` was used for another change.
            AuditWriteError: The database is unavailable.
            VyroxError: What `change` has raised.
        """

        def encoded(connection: Connection) -> bytes:
            return msgspec.json.encode(change(connection))

        request_id = str(self.body.request_id)
        with _write_as_500():
            content = await self.proxy.database.write(
                run_once, request_id, self._fingerprint(), encoded, self.now
            )
        return Response(content, media_type="application/json")

    def _fingerprint(self) -> bytes:
        """Return 32 bytes that identify the path and the fields. A retry may have another `at`."""
        fields = msgspec.structs.asdict(self.body)
        del fields["at"]
        return sha256(msgspec.json.encode([self.path, fields], order="deterministic")).digest()


async def read_signed_body(request: Request) -> bytes:
    """Return the body of a POST to the private listener.

    Raises:
        VyroxError: It is too large, compressed or late.
    """
    with unavailable_as_500():
        return await read_body(request, MAX_SIGNED_BODY_BYTES, _incomplete)


async def signed_read(request: Request, *, by_reader: bool = False) -> str:
    """Return the tenant of an authentic GET. Contract 51 fixes the order of the steps.

    Args:
        by_reader: The key of a reader of the tenant's audit log is accepted too (contract 94).

    Raises:
        UnauthorizedError: A header is missing or malformed, or the signature is wrong.
        InvalidRequestError: The query does not name exactly one tenant.
        StaleRequestError: The timestamp is outside the replay window.
        AuditWriteError: The readers' keys cannot be read.
    """
    proxy: Proxy = request.app.state.proxy
    tenant_ids = request.query_params.getlist("tenant_id")
    tenant_id = tenant_ids[0] if len(tenant_ids) == 1 and is_tenant_id(tenant_ids[0]) else None
    # 1. Both headers, and a whole number of seconds.
    timestamp = signed_timestamp(proxy, request, tenant_id)
    # 2. The tenant.
    if tenant_id is None:
        raise InvalidRequestError("the query must have exactly one valid tenant_id")
    # 3. The signature over both.
    message = b"%b:%b" % (tenant_id.encode(), timestamp)
    if not (by_reader and await _is_of_reader(proxy, request, message, tenant_id)):
        authenticate(proxy, request, message, tenant_id)
    # 4. The replay window.
    check_window(int(timestamp), proxy.clock())
    return tenant_id


async def signed_change(
    request: Request, decoder: msgspec.json.Decoder[Body]
) -> SignedChange[Body]:
    """Return the change that an authentic POST asks for. Contract 51 fixes the order of the steps.

    Raises:
        VyroxError: The body is too large, compressed or late; the signature is wrong; a field is
            invalid; or `at` is outside the replay window.
        AuditWriteError: A clock cannot be trusted.
    """
    proxy: Proxy = request.app.state.proxy
    # 1. The body, within its limit.
    body = await read_signed_body(request)
    now = proxy.clock()
    # 2. The signature.
    authenticate(proxy, request, body)
    # 3. The fields.
    decoded = _decode(body, decoder)
    # 4. The clocks, and the replay window, which depends on them.
    with unavailable_as_500():
        proxy.clocks.check()
    check_window(decoded.at, now)
    return SignedChange(proxy, decoded, request.scope["path"], now)


def _decode(body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    try:
        decoded = decoder.decode(body)
    except (ValueError, RecursionError) as exc:
        raise invalid_field(exc, body) from exc
    check_texts(decoded.tenant_id, {"by": decoded.by})
    return decoded


def check_texts(tenant_id: str, texts: Mapping[str, str]) -> None:
    """Check a tenant identifier, and that no text of a request is only white space.

    Args:
        texts: By the name of the field.

    Raises:
        InvalidRequestError: One of them is invalid; the text names the field.
    """
    if not is_tenant_id(tenant_id):
        raise InvalidRequestError("tenant_id is not a tenant identifier")
    for name, text in texts.items():
        if text.isspace():
            raise InvalidRequestError(f"{name} is only white space")


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
    is_read = request.method in _READS
    used = proxy.secrets.has_signed(message, signature, proxy.clock(), is_read=is_read)
    if used is not None:
        note_signed(request)
        if used == "previous":
            log.paced_event(
                "auth.previous_secret",
                path=request.scope["path"],
                address=sender_of(request.scope),
            )
        return
    how = how_of_signature(signatures)
    failure = "missing" if not signatures else "malformed" if how else "wrong"
    _refuse(proxy, request, UnauthorizedError(failure, claimed_tenant, how))


async def _is_of_reader(proxy: Proxy, request: Request, message: bytes, tenant_id: str) -> bool:
    signatures = header_values(request, b"x-vyrox-signature")
    if len(signatures) != 1 or _SIGNATURE.fullmatch(signatures[0]) is None:
        return False
    if proxy.secrets.has_signed(message, signatures[0], proxy.clock(), is_read=True):
        return False  # one of the service: the readers' need not be read
    with unavailable_as_500():
        is_of_reader = await proxy.readers.have_signed(tenant_id, message, signatures[0])
    if is_of_reader:
        note_signed(request)
    return is_of_reader


def signed_timestamp(proxy: Proxy, request: Request, claimed_tenant: str | None) -> bytes:
    """Return the timestamp of a request whose headers hold one, and a signature.

    Raises:
        UnauthorizedError: A header is missing, or the timestamp is malformed.
    """
    timestamps = header_values(request, b"x-vyrox-timestamp")
    if not timestamps or not header_values(request, b"x-vyrox-signature"):
        _refuse(proxy, request, UnauthorizedError("missing", claimed_tenant))
    if len(timestamps) > 1 or _TIMESTAMP.fullmatch(timestamps[0]) is None:
        _refuse(proxy, request, UnauthorizedError("malformed", claimed_tenant, "timestamp"))
    return timestamps[0]


def _refuse(proxy: Proxy, request: Request, error: UnauthorizedError) -> NoReturn:
    proxy.events.note_unauthenticated(
        "auth.failed",
        None,
        request_id_of(request),
        route=request.scope["path"],
        claimed_tenant=error.tenant_id,
        failure=error.kind,
        how=error.how,
        address=sender_of(request.scope),
    )
    raise error


@contextmanager
def unavailable_as_500() -> Iterator[None]:
    """Turn an UnavailableError into a 500: the private listener has no 503 (contract 19)."""
    try:
        yield
    except UnavailableError as exc:
        raise AuditWriteError(str(exc)) from exc


@contextmanager
def _write_as_500() -> Iterator[None]:
    """As `unavailable_as_500`, for a write: if it was not refused, it may have happened."""
    try:
        yield
    except OverloadedError as exc:
        raise AuditWriteError(str(exc)) from exc
    except UnavailableError as exc:
        raise WriteUnknownError(str(exc)) from exc
