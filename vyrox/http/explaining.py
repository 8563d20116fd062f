"""Error bodies that say more, for a caller who has signed the request and asks (contract 83).

Without `X-Vyrox-Explain: 1`, or without a right signature, nothing here changes a response.
"""

from typing import Final, Literal

from starlette.requests import Request
from starlette.types import Scope

from vyrox.errors import (
    ActionNotSupportedError,
    AuditWriteError,
    InFlightError,
    RefusedByPolicyError,
    UnavailableError,
    VendorError,
    VendorOutcomeUnknownError,
    VyroxError,
    WriteUnknownError,
)

Outcome = Literal["refused", "not_done", "unknown"]
"""Whether something was done: it was refused; it was tried and not done; or that is not known."""

MAX_REASON: Final = 300
"""Characters of a reason. Vendors and alerts choose parts of it, such as the name of a host."""

_HEADER: Final = b"x-vyrox-explain"
_MEMBER: Final = "explains"

_NOT_KNOWN: Final = (InFlightError, VendorOutcomeUnknownError, WriteUnknownError)
_NOT_DONE: Final = (VendorError, UnavailableError, AuditWriteError)

_NO_TEXT: Final = "an error in Vyrox, or it is stopping: its log has more, under this X-Request-ID"


def note_signed(request: Request) -> None:
    """Note that the signature of `request` is right, so its errors are explained if it asks."""
    asked = [value for name, value in request.scope["headers"] if name == _HEADER]
    request.scope["state"][_MEMBER] = asked == [b"1"]


def explained(scope: Scope, error: VyroxError) -> dict[str, str]:
    """Return the members that the body of `error` gets beside `detail`, if any."""
    if not scope["state"].get(_MEMBER, False):
        return {}
    return {"reason": reason_of(error), "outcome": outcome_of(error)}


def reason_of(error: VyroxError) -> str:
    """Return why, in at most MAX_REASON printable characters."""
    text = str(error)[: MAX_REASON + 1] or _NO_TEXT
    if isinstance(error, RefusedByPolicyError):
        text = f"a rule of the tenant refuses it: {text}"
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return printable if len(printable) <= MAX_REASON else f"{printable[: MAX_REASON - 3]}..."


def outcome_of(error: VyroxError) -> Outcome:
    """Return what became of the request. An unexpected error may have come at any step."""
    if isinstance(error, _NOT_KNOWN):
        return "unknown"
    if isinstance(error, _NOT_DONE):
        return "not_done"
    is_refused = error.status < VyroxError.status or isinstance(error, ActionNotSupportedError)
    return "refused" if is_refused else "unknown"
