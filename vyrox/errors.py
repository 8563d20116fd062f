"""Every error Vyrox raises on purpose, with the answer its caller sees.

    VyroxError                      500  internal error
    |- AuditWriteError              500  internal error: no entry, so no action
    |- EntryError                   500  internal error: no entry can be made of this
    |- MissingTenantError           400  missing tenant identifier
    |- InvalidRequestError          400  invalid request
    |- MalformedRequestError        400  bad request (below the application)
    |- UnauthorizedError            401  unauthorized
    |- RefusedByPolicyError         403  refused by policy
    |- RequestTimeoutError          408  request timed out
    |- InFlightError                409  request in flight
    |- StaleRequestError            410  outside the replay window
    |- BodyTooLargeError            413  payload too large
    |- UnsupportedEncodingError     415  unsupported content encoding
    |- NormalizationError           422  payload could not be normalised
    |- RequestReusedError           422  request_id reused
    |- RateLimitedError             429  too many requests
    |- HeadersTooLargeError         431  request header fields too large (below the application)
    |- ActionNotSupportedError      501  action not supported
    |- VendorError                  502  vendor error
    |  |- VendorOutcomeUnknownError      the vendor may have acted
    |  `- VendorLookUpError              nothing was claimed: it did not say which device it is
    |- UnavailableError             503  service unavailable (Retry-After: 5)
    |  |- DatabaseUnavailableError       the SQL store is away, full, read-only or too slow
    |  |  `- DatabaseBusyError           it works on something else: a lock, or too slow
    |  |- QueueUnavailableError          Redis is away, refusing writes or too slow
    |  |  `- QueueForbiddenError          its user may not do what Vyrox does
    |  |- QueueFullError                 the tenant's queue holds QUEUE_MAX_ALERTS or _BYTES
    |  `- OverloadedError                more callers are waiting than may wait
    |- SettingsError                     a setting is missing or bad; stops the start
    `- OperatorError                     a command cannot do what it was asked; said on stderr
       `- MissingDatabaseError           there is no database, and the command makes none

`detail` is all that a caller is told (contract 1). The text an error is raised with is for the
operator: it goes to the log, never into an answer, and never holds a secret or a payload.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

_CLOSE: Final = MappingProxyType({"connection": "close"})


class VyroxError(Exception):
    """Root of the tree above."""

    status: ClassVar[int] = 500
    detail: ClassVar[str] = "internal error"
    headers: Mapping[str, str] = MappingProxyType({})


class AuditWriteError(VyroxError):
    """The audit log could not be written or read: nothing was done, and nothing remains."""


class EntryError(VyroxError):
    """These members make no audit entry, or its bytes changed under way; nothing was written.

    Its text names the member, never what it holds.
    """


class MissingTenantError(VyroxError):
    """The body names no tenant, whatever the credential (contract 6)."""

    status = 400
    detail = "missing tenant identifier"


class InvalidRequestError(VyroxError):
    """A signed request of the proxy lacks a field or holds a bad one (contract 19, 20, 26)."""

    status = 400
    detail = "invalid request"


class MalformedRequestError(VyroxError):
    """The bytes are no HTTP request, or one that two parsers could read differently."""

    status = 400
    detail = "bad request"


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


class RefusedByPolicyError(VyroxError):
    """A guard rail of the tenant stands against it. Nothing was claimed (contract 35).

    Its text is the rule.
    """

    status = 403
    detail = "refused by policy"


class RequestTimeoutError(VyroxError):
    """The request's body did not arrive within the time allowed for it."""

    status = 408
    detail = "request timed out"
    headers = _CLOSE


class InFlightError(VyroxError):
    """The same containment is being carried out, or nobody knows whether a kill happened."""

    status = 409
    detail = "request in flight"


class StaleRequestError(VyroxError):
    """The request was signed too long ago, or for later (contract 19 and 26)."""

    status = 410
    detail = "outside the replay window"


class BodyTooLargeError(VyroxError):
    """The body is, or says it is, larger than the listener takes (contract, MAX_BODY_BYTES)."""

    status = 413
    detail = "payload too large"
    headers = _CLOSE


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


class RequestReusedError(VyroxError):
    """The `request_id` stands for another tenant, alert, action or host (contract 21)."""

    status = 422
    detail = "request_id reused"


class RateLimitedError(VyroxError):
    """The tenant is beyond EXECUTE_RATE_PER_MINUTE."""

    status = 429
    detail = "too many requests"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"next in {retry_after_s} s")
        self.headers = {"retry-after": str(retry_after_s)}


class HeadersTooLargeError(VyroxError):
    """The header, a chunk extension or the trailers are larger than the listener takes."""

    status = 431
    detail = "request header fields too large"


class ActionNotSupportedError(VyroxError):
    """The vendor cannot do the action as asked. Nothing was written or called (contract 25)."""

    status = 501
    detail = "action not supported"


class VendorError(VyroxError):
    """The vendor did not act, and the claim is released; a retry may."""

    status = 502
    detail = "vendor error"


class VendorOutcomeUnknownError(VendorError):
    """The call was sent and its outcome is not known. The action may have happened."""


class VendorLookUpError(VendorError):
    """The vendor did not say which device it is, so no guard rail was checked, nothing claimed."""


class UnavailableError(VyroxError):
    """A store that a promise rests on is not there; the same request may be sent again."""

    status = 503
    detail = "service unavailable"
    headers = MappingProxyType({"retry-after": "5"})


class DatabaseUnavailableError(UnavailableError):
    """The SQL store is away, full, read-only or too slow. The write may still have happened."""


class DatabaseBusyError(DatabaseUnavailableError):
    """The SQL store is there, and works on something else: it is worth trying again at once."""


class QueueUnavailableError(UnavailableError):
    """Redis is away, loading, refusing writes or too slow. The write may still have happened."""


class QueueForbiddenError(QueueUnavailableError):
    """Redis is there, and its user may not do what Vyrox does. The text names the command."""


class QueueFullError(UnavailableError):
    """The tenant's queue holds QUEUE_MAX_ALERTS or QUEUE_MAX_BYTES. The row is queued later."""


class OverloadedError(UnavailableError):
    """More callers wait for one write than may wait; nothing was written for this one."""


class SettingsError(VyroxError):
    """A setting is missing or bad. Its text names the variable, never a secret's value."""


class OperatorError(VyroxError):
    """A command cannot do what it was asked. Its text is the one line the operator reads."""


class MissingDatabaseError(OperatorError):
    """There is no database where the settings point, and this command does not make one."""
