"""All errors that Vyrox raises on purpose, with the response that the caller receives.

    VyroxError                      500  internal error
    |- AuditWriteError              500  internal error: no audit entry, so no action
    |  `- WriteUnknownError              a change may have been stored
    |- EntryError                   500  internal error: not a valid audit entry
    |- MissingTenantError           400  missing tenant identifier
    |- InvalidRequestError          400  invalid request
    |- MalformedRequestError        400  bad request (from the HTTP protocol)
    |- UnauthorizedError            401  unauthorized
    |- RefusedByPolicyError         403  refused by policy
    |- CrossSiteError               403  refused: not from a page of the console
    |- NotFoundError                404  not found
    |- RequestTimeoutError          408  request timed out
    |- InFlightError                409  request in flight
    |- NotPossibleError             409  not possible in its present state
    |- StaleRequestError            410  outside the replay window
    |- BodyTooLargeError            413  payload too large
    |- UnsupportedEncodingError     415  unsupported content encoding
    |- MisdirectedError             421  misdirected request
    |- NormalizationError           422  payload could not be normalised
    |- RequestReusedError           422  request_id reused
    |- RateLimitedError             429  too many requests
    |- HeadersTooLargeError         431  request header fields too large (from the HTTP protocol)
    |- ActionNotSupportedError      501  action not supported
    |- VendorError                  502  vendor error
    |  |- VendorOutcomeUnknownError      the vendor may have acted
    |  `- VendorLookUpError              the device was not found, so nothing was claimed
    |- UnavailableError             503  service unavailable (Retry-After: 5)
    |  |- DatabaseUnavailableError       the database is down, full, read-only or too slow
    |  |  |- DatabaseBusyError           the database is up, but busy: a lock, or too slow
    |  |  `- NewerSchemaError            a newer version has changed a table that this one needs
    |  |- QueueUnavailableError          Redis is down, rejects writes or is too slow
    |  |  `- QueueForbiddenError          the Redis user may not run a command
    |  |- QueueFullError                 the tenant has QUEUE_MAX_ALERTS or QUEUE_MAX_BYTES queued
    |  `- OverloadedError                too many callers are waiting already
    |- NotDeliveredError                 a notification did not reach its target; it is retried
    |- SettingsError                     a setting is missing or invalid; the start fails
    `- OperatorError                     a command failed; its text goes to standard error
       `- MissingDatabaseError           there is no database, and the command creates none

The caller receives `detail` (contract 1). The text of an error says why. It goes to the log, and to
a caller who has signed the request and asks (contract 83); it contains no secret and no payload.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

_CLOSE: Final = MappingProxyType({"connection": "close"})


class VyroxError(Exception):
    """Root of the tree above. `log_fields` are for the line in the log only."""

    status: ClassVar[int] = 500
    detail: ClassVar[str] = "internal error"
    headers: Mapping[str, str] = MappingProxyType({})
    log_fields: Mapping[str, object] = MappingProxyType({})


class AuditWriteError(VyroxError):
    """The audit log could not be written or read, so nothing was done."""


class WriteUnknownError(AuditWriteError):
    """The database did not respond in time, so a signed change may have been stored."""


class EntryError(VyroxError):
    """Not a valid audit entry, or changed bytes. The text names the member, never its value."""


class MissingTenantError(VyroxError):
    """The body names no tenant. The credential was not checked (contract 6)."""

    status = 400
    detail = "missing tenant identifier"


class InvalidRequestError(VyroxError):
    """A signed request to the proxy has a missing or invalid field (contract 19, 20 and 26)."""

    status = 400
    detail = "invalid request"


class MalformedRequestError(VyroxError):
    """The bytes are not an HTTP request, or two parsers could read them differently."""

    status = 400
    detail = "bad request"


class UnauthorizedError(VyroxError):
    """The credential is missing, malformed or wrong: always the same response (contract 3).

    Args:
        kind: What was wrong, for the log and the audit event only.
        tenant_id: The tenant that the request named, or None if it is not a valid tenant id.
        how: In which way it is malformed.
    """

    status = 401
    detail = "unauthorized"

    def __init__(self, kind: str, tenant_id: str | None = None, how: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.tenant_id = tenant_id
        self.how = how
        self.log_fields = {"how": how}


class RefusedByPolicyError(VyroxError):
    """A guard rail refuses the action; the text is the rule. Nothing was claimed (contract 35)."""

    status = 403
    detail = "refused by policy"


class CrossSiteError(VyroxError):
    """A browser sent a change that no page of the console asked for (contract 66)."""

    status = 403
    detail = "refused: not from a page of the console"


class NotFoundError(VyroxError):
    """The tenant has nothing with this id. It may be another tenant's (contract 50)."""

    status = 404
    detail = "not found"


class RequestTimeoutError(VyroxError):
    """The body of the request was not received in time."""

    status = 408
    detail = "request timed out"
    headers = _CLOSE


class InFlightError(VyroxError):
    """The same containment is in progress, or it is not known whether a kill happened."""

    status = 409
    detail = "request in flight"


class NotPossibleError(VyroxError):
    """Its present state does not allow the change. The text says why, and what to do."""

    status = 409
    detail = "not possible in its present state"


class StaleRequestError(VyroxError):
    """The request's time is too far in the past or in the future (contract 19 and 26)."""

    status = 410
    detail = "outside the replay window"


class BodyTooLargeError(VyroxError):
    """The body, or its announced length, is larger than the listener accepts (MAX_BODY_BYTES)."""

    status = 413
    detail = "payload too large"
    headers = _CLOSE


class UnsupportedEncodingError(VyroxError):
    """The body is compressed, in a way or on a path that does not allow it."""

    status = 415
    detail = "unsupported content encoding"


class MisdirectedError(VyroxError):
    """The request names another host than the console's (contract 66)."""

    status = 421
    detail = "misdirected request"


class NormalizationError(VyroxError):
    """An authenticated payload is not valid for its vendor's adapter (contract 10 to 13).

    The text names the field and what is wrong with it. It is stored with the quarantined payload.
    """

    status = 422
    detail = "payload could not be normalised"


class RequestReusedError(VyroxError):
    """The `request_id` was used for another tenant, alert, action or host (contract 21)."""

    status = 422
    detail = "request_id reused"


class RateLimitedError(VyroxError):
    """The tenant has exceeded EXECUTE_RATE_PER_MINUTE."""

    status = 429
    detail = "too many requests"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"the limit a minute is used up: the next is allowed in {retry_after_s} s")
        self.headers = {"retry-after": str(retry_after_s)}


class HeadersTooLargeError(VyroxError):
    """The header, a chunk extension or the trailers are larger than the listener accepts."""

    status = 431
    detail = "request header fields too large"


class ActionNotSupportedError(VyroxError):
    """The vendor does not support the action. Nothing was written or called (contract 25)."""

    status = 501
    detail = "action not supported"


class VendorError(VyroxError):
    """The vendor did not act, and the claim was released; the caller may retry."""

    status = 502
    detail = "vendor error"


class VendorBusyError(VendorError):
    """The vendor asks for a pause of `pause_s`: too long, or after the last retry."""

    def __init__(self, text: str, pause_s: float) -> None:
        super().__init__(text)
        self.pause_s = pause_s


class VendorOutcomeUnknownError(VendorError):
    """The request was sent to the vendor, but its result is not known. It may have acted."""


class VendorLookUpError(VendorError):
    """The vendor did not return the device. No guard rail was checked, nothing was claimed."""


class UnavailableError(VyroxError):
    """A required store is unavailable; the caller may send the same request again."""

    status = 503
    detail = "service unavailable"
    headers = MappingProxyType({"retry-after": "5"})


class DatabaseUnavailableError(UnavailableError):
    """The database is down, full, read-only or too slow. The write may have happened."""


class DatabaseBusyError(DatabaseUnavailableError):
    """The database is up, but busy. A retry may succeed at once."""


class NewerSchemaError(DatabaseUnavailableError):
    """A newer version of Vyrox has migrated the database, and a statement of this one failed."""


class QueueUnavailableError(UnavailableError):
    """Redis is down, loading, rejects writes or is too slow. The write may have happened."""


class QueueForbiddenError(QueueUnavailableError):
    """The Redis user may not run a command that Vyrox needs. The text names the command."""


class QueueFullError(UnavailableError):
    """The tenant has QUEUE_MAX_ALERTS or QUEUE_MAX_BYTES queued. The row is queued later."""


class OverloadedError(UnavailableError):
    """Too many callers are waiting for a write; nothing was written for this caller."""


class NotDeliveredError(VyroxError):
    """A notification did not reach its target. The text is the reason, without the URL's path."""


class SettingsError(VyroxError):
    """A setting is missing or invalid. The text names the variable, never a secret's value."""


class OperatorError(VyroxError):
    """A command failed. The text is the one line that the operator reads."""

    exit_code: ClassVar[int] = 1


class MissingDatabaseError(OperatorError):
    """There is no database where the settings point, and this command does not create one."""
