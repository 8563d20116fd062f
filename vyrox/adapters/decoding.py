"""How every adapter reads bytes that someone else wrote: a value, or an error of ours."""

from typing import Annotated, TypeVar

import msgspec

from vyrox.errors import MissingTenantError, VyroxError
from vyrox.ids import parse_tenant_id

T = TypeVar("T")

Identifier = Annotated[str, msgspec.Meta(min_length=1)]
"""The vendor's own identifier of a detection: required and not empty (contract 11)."""

ABSENT = msgspec.Raw(b"null")
"""The default of a field that is read as Raw: missing is the same as null (contract 11)."""

_TENANT_ID: msgspec.json.Decoder[str | int] = msgspec.json.Decoder(str | int)

_LINE_CHARACTERS = 200
"""Longest reason kept with a quarantined payload or written to the log."""


def decode(
    decoder: msgspec.json.Decoder[T],
    source: bytes | msgspec.Raw,
    error: type[VyroxError],
    field: str | None = None,
) -> T:
    """Return what `decoder` reads from `source`, or raise `error` saying in one line why not.

    `msgspec.DecodeError` alone would not do: text that is not UTF-8 raises UnicodeDecodeError and
    deep nesting RecursionError, and a sender could turn either into a 500 at will.

    Args:
        decoder: Made once, at module level.
        source: Untrusted bytes, as received.
        error: What to raise; also for JSON of another shape than the decoder's type.
        field: The alert field that is being read, where the decoder cannot name it.
    """
    try:
        return decoder.decode(source)
    except (ValueError, RecursionError) as exc:
        raise error(one_line(f"{field}: {exc}" if field else str(exc))) from exc


def one_line(text: str) -> str:
    """Return at most 200 characters of `text`, with all that is not printable escaped.

    Decoding errors can repeat what a sender wrote; escaped, it can neither begin a log line of its
    own nor drive a terminal.
    """
    escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in text[:_LINE_CHARACTERS])
    return "".join(escaped)[:_LINE_CHARACTERS]


def decode_tenant_id(raw: msgspec.Raw) -> str:
    """Return the tenant identifier that the JSON value `raw` is.

    Raw, because a sender who has proved nothing yet could repeat the field with integers of 4,300
    digits, and a typed preview would convert every one of them; this converts the last.

    Raises:
        MissingTenantError: It is none (contract 7).
    """
    tenant_id = parse_tenant_id(decode(_TENANT_ID, raw, MissingTenantError))
    if tenant_id is None:
        raise MissingTenantError("not a tenant identifier")
    return tenant_id
