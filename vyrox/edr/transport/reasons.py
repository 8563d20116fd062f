"""The reason of a vendor's refusal, in a form that is safe for the event log."""

import re
from typing import Final

import msgspec

MAX_REASON_CHARS: Final = 160
"""Characters of one reason."""

_MAX_REASONS: Final = 3

_IDENTIFIER = re.compile(r"[^\s\"'`,;:()\[\]{}<>]{16,}")
"""A possible token, secret or identifier. Few words are as long."""

_ERROR_NAME = re.compile(r"[A-Za-z_]{1,40}")


class _Reason(msgspec.Struct, frozen=True):
    code: int | str | None = None
    message: str | None = None
    title: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    """The members of the errors of all three vendors.

    Without Microsoft's `error_description`, which contains ids of applications and directories.
    """

    errors: list[_Reason] | None = None
    error: _Reason | str | None = None
    error_codes: list[int] | None = None


_REFUSAL = msgspec.json.Decoder(_Refusal)


def reason(body: bytes) -> str:
    """Return the codes and texts of the errors in a response, or an empty text."""
    try:
        refusal = _REFUSAL.decode(body)
    except (ValueError, RecursionError):
        return ""
    words = [str(code) for code in (refusal.error_codes or ())[:_MAX_REASONS]]
    reasons = list(refusal.errors or ())[:_MAX_REASONS]
    if isinstance(refusal.error, _Reason):
        reasons.append(refusal.error)
    else:
        words.insert(0, _name(refusal.error))
    for each in reasons:
        words += [_name(each.code), redacted(each.message or ""), redacted(each.title or "")]
    return " ".join(filter(None, words))[:MAX_REASON_CHARS]


def redacted(text: str) -> str:
    """Return untrusted text in a printable, short form, without possible identifiers."""
    plain = "".join(
        c if c.isascii() and c.isprintable() else " " for c in text[: 4 * MAX_REASON_CHARS]
    )
    return _IDENTIFIER.sub("[...]", " ".join(plain.split()))[:MAX_REASON_CHARS]


def _name(code: int | str | None) -> str:
    """Return the name of an error. It may be long, such as ActiveRequestAlreadyExists."""
    if isinstance(code, str):
        return code if _ERROR_NAME.fullmatch(code) else redacted(code)
    return "" if code is None else str(code)
