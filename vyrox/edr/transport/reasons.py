"""What a vendor gives as the reason of its refusal, fit for the event log."""

import re
from typing import Final

import msgspec

MAX_TEXT: Final = 160
"""Characters of one reason."""

_MAX_REASONS: Final = 3

_IDENTIFIER = re.compile(r"[^\s\"'`,;:()\[\]{}<>]{16,}")
"""What could be a token, a secret or someone's identifier; few words are as long."""

_ERROR_NAME = re.compile(r"[A-Za-z_]{1,40}")


class _Reason(msgspec.Struct, frozen=True):
    code: int | str | None = None
    message: str | None = None
    title: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    """The members that the three vendors' errors have, of which each has some.

    Microsoft's `error_description` is left out: it names applications and directories.
    """

    errors: list[_Reason] | None = None
    error: _Reason | str | None = None
    error_codes: list[int] | None = None


_REFUSAL = msgspec.json.Decoder(_Refusal)


def reason(body: bytes) -> str:
    """Return the codes and texts of the errors in an answer; empty where there are none."""
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
    return " ".join(filter(None, words))[:MAX_TEXT]


def redacted(text: str) -> str:
    """Return text from outside: printable, short, and without what could be an identifier."""
    plain = "".join(c if c.isascii() and c.isprintable() else " " for c in text[: 4 * MAX_TEXT])
    return _IDENTIFIER.sub("[...]", " ".join(plain.split()))[:MAX_TEXT]


def _name(code: int | str | None) -> str:
    """Return the name of an error, such as ActiveRequestAlreadyExists, which may be long."""
    if isinstance(code, str):
        return code if _ERROR_NAME.fullmatch(code) else redacted(code)
    return "" if code is None else str(code)
