"""In which way a refused credential is malformed, for the log and the audit event (contract 84).

The response was decided before. The steps are the same for every tenant (contract 3): the forms of
all headers that any scheme could read are found, and then one of them is chosen.
"""

import re
from collections.abc import Sequence
from typing import Final

from vyrox.models import BEARER_VENDORS, Vendor
from vyrox.tenants.webhook_options import SIGNATURES, WebhookOptions

Headers = Sequence[tuple[bytes, bytes]]
"""The names, in lower case, and values of a request's headers."""

READ_BYTES: Final = 160
"""Bytes of a value that are read. Every form is shorter."""

MAX_BEARER_BYTES: Final = 4096

_DIGEST: Final = rb"[0-9a-f]{64}"
_BASE64: Final = rb"[A-Za-z0-9+/_-]{43}="

_FORMS: Final = (
    ("prefixed", re.compile(rb"sha256=" + _DIGEST)),
    ("hex", re.compile(_DIGEST)),
    ("base64", re.compile(rb"(?:sha256=)?" + _BASE64)),
    ("standard", re.compile(rb"v1,[A-Za-z0-9+/]{43}=(?: v1[a-z]?,[A-Za-z0-9+/=]{1,128})*")),
    ("upper", re.compile(rb"(?:[Ss][Hh][Aa]256=)?[0-9A-Fa-f]{64}")),
    ("blanks", re.compile(rb"[^\s\"']*[\s\"'].*", re.DOTALL)),
    ("long", re.compile(rb"(?:sha256=)?[0-9A-Fa-f]*")),
)

_VYROX: Final[dict[str, str | None]] = {
    "prefixed": None,
    "hex": "no_prefix",
    "base64": "base64",
    "standard": "base64",
    "upper": "upper_case",
}
_OF_SCHEME: Final[dict[str, dict[str, str | None]]] = {
    "vyrox": _VYROX,
    "falcon": {"base64": None, "prefixed": "hex", "hex": "hex", "upper": "hex"},
    "falcon-hex": {
        "hex": None,
        "prefixed": "prefix",
        "base64": "base64",
        "upper": "upper_case",
    },
    "standard": {
        "standard": None,
        "base64": "no_prefix",
        "prefixed": "hex",
        "hex": "hex",
        "upper": "hex",
    },
}
"""By scheme and form: what is wrong with a form that the scheme does not take."""

_OTHERS: Final = {"blanks": "blanks", "long": "length", "other": "characters", "twice": "twice"}

_NUMBERS: Final = {name: number for number, name in enumerate(SIGNATURES)}

_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +")
_BLANKS: Final = re.compile(rb"[^!-~]|^[\"']|[\"']$")


def how_of_signature(values: Sequence[bytes]) -> str | None:
    """Return how the values of `X-Vyrox-Signature` are malformed, or None."""
    return _how("vyrox", _form(values))


def how_malformed(
    headers: Headers, vendor: Vendor, options: WebhookOptions, *, own_path: bool
) -> str | None:
    """Return how the credential of a delivery is malformed; None: it has the right form.

    Args:
        own_path: Whether the path names the tenant, so that its own scheme applies.
    """
    signed = _values(headers, b"x-vyrox-signature")
    authorization = _values(headers, b"authorization")
    vyrox = _form(signed)
    falcon = _form(_values(headers, options.signature_header.encode()))
    standard = _form(_values(headers, b"webhook-signature"))
    # In the order of SIGNATURES.
    by_scheme = (
        _how("vyrox", vyrox),
        _how("falcon", falcon),
        _how("falcon-hex", falcon),
        _how("standard", standard),
    )
    in_bearer = _how_of_bearer(authorization)
    in_own_header = _how_of_token(_values(headers, options.secret_header.encode()))
    if vendor not in BEARER_VENDORS:
        return by_scheme[_NUMBERS[options.signature] if own_path else 0]
    if signed and options.also_signature:
        return by_scheme[0]
    return in_bearer if authorization or not own_path else in_own_header


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for header, value in headers if header == name]


def _form(values: Sequence[bytes]) -> str:
    if len(values) != 1:
        return "twice" if values else "missing"
    value = values[0][:READ_BYTES]
    return next((name for name, form in _FORMS if form.fullmatch(value)), "other")


def _how(scheme: str, form: str) -> str | None:
    if form in _OTHERS or form == "missing":
        return _OTHERS.get(form)
    return _OF_SCHEME[scheme].get(form, "length")


def _how_of_bearer(values: Sequence[bytes]) -> str | None:
    if len(values) != 1:
        return "twice" if values else None
    start = _BEARER.match(values[0])
    if start is None:
        return "no_prefix"
    if len(values[0]) > MAX_BEARER_BYTES or start.end() == len(values[0]):
        return "length"
    return "blanks" if start[0].count(b" ") > 1 else _how_of_token([values[0][start.end() :]])


def _how_of_token(values: Sequence[bytes]) -> str | None:
    if len(values) != 1:
        return "twice" if values else None
    return "blanks" if _BLANKS.search(values[0]) else None
