"""Every error Vyrox raises on purpose, with the answer its caller sees.

    VyroxError                      500  internal error
    |- MissingTenantError           400  missing tenant identifier
    |- UnauthorizedError            401  unauthorized
    |- RequestTimeoutError          408  request timed out
    |- BodyTooLargeError            413  payload too large
    |- UnsupportedEncodingError     415  unsupported content encoding
    |- NormalizationError           422  payload could not be normalised
    |- UnavailableError             503  service unavailable (Retry-After: 5)
    |  |- DatabaseUnavailableError       the SQL store is away, full, read-only or too slow
    |  |- QueueUnavailableError          Redis is away, refusing writes or too slow
    |  |- QueueFullError                 the tenant's queue holds QUEUE_MAX_ALERTS alerts
    |  `- OverloadedError                more callers are waiting than may wait
    |- SettingsError                     a setting is missing or bad; stops the start
    `- OperatorError                     a command cannot do what it was asked; said on stderr

`detail` is all that a caller is told (contract 1). The text an error is raised with is for the
operator: it goes to the log, never into an answer, and never holds a secret or a payload.
"""

from typing import ClassVar


class VyroxError(Exception):
    """Root of the tree above."""

    status: ClassVar[int] = 500
    detail: ClassVar[str] = "internal error"
    headers: ClassVar[dict[str, str]] = {}


class MissingTenantError(VyroxError):
    """The body names no tenant, whatever the credential (contract 6)."""

    status = 400
    detail = "missing tenant identifier"


class UnauthorizedError(VyroxError):
    """The credential is missing, malformed or wrong; one answer for all of these (contract 3).

    Args:
        kind: What was wrong, for the log and the audit event alone.
        tenant_id: The tenant the request claimed, or None where the claim is no valid tenant id.
    """

    status = 401
    detail = "unauthorized"

    def __init__(self, kind: str, tenant_id: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.tenant_id = tenant_id


class RequestTimeoutError(VyroxError):
    """The request's body did not arrive within the time allowed for it."""

    status = 408
    detail = "request timed out"
    headers: ClassVar[dict[str, str]] = {"connection": "close"}


class BodyTooLargeError(VyroxError):
    """The body is, or says it is, larger than the listener takes (contract, MAX_BODY_BYTES)."""

    status = 413
    detail = "payload too large"
    headers: ClassVar[dict[str, str]] = {"connection": "close"}


class UnsupportedEncodingError(VyroxError):
    """The body is compressed; nothing is ever inflated."""

    status = 415
    detail = "unsupported content encoding"


class NormalizationError(VyroxError):
    """An authenticated payload does not fit its vendor's adapter (contract 10 to 13).

    Its text names the field and what is wrong with it, and is kept with the quarantined payload.
    """

    status = 422
    detail = "payload could not be normalised"


class UnavailableError(VyroxError):
    """A store that a promise rests on is not there; the same request may be sent again."""

    status = 503
    detail = "service unavailable"
    headers: ClassVar[dict[str, str]] = {"retry-after": "5"}


class DatabaseUnavailableError(UnavailableError):
    """The SQL store is away, full, read-only or too slow. The write may still have happened."""


class QueueUnavailableError(UnavailableError):
    """Redis is away, loading, refusing writes or too slow. The write may still have happened."""


class QueueFullError(UnavailableError):
    """The tenant's queue holds QUEUE_MAX_ALERTS alerts. The row stays and is queued later."""


class OverloadedError(UnavailableError):
    """More callers wait for one write than may wait; nothing was written for this one."""


class SettingsError(VyroxError):
    """A setting is missing or bad. Its text names the variable, never a secret's value."""


class OperatorError(VyroxError):
    """A command cannot do what it was asked. Its text is the one line the operator reads."""
