"""Decoding of untrusted JSON for all adapters: returns a value or raises one of Vyrox's errors."""

from typing import Annotated, TypeVar

import msgspec

from vyrox.errors import MissingTenantError, VyroxError
from vyrox.ids import parse_tenant_id

T = TypeVar("T")

Identifier = Annotated[str, msgspec.Meta(min_length=1)]
"""The vendor's own identifier of a detection: required and not empty (contract 11)."""

ABSENT = msgspec.Raw(b"null")
"""The default of a Raw field: a missing field is the same as null (contract 11)."""

_TENANT_ID: msgspec.json.Decoder[str | int] = msgspec.json.Decoder(str | int)

_MAX_REASON_LENGTH = 200
"""Characters of a reason that is stored with a quarantined payload or logged."""


def decode(
    decoder: msgspec.json.Decoder[T],
    source: bytes | msgspec.Raw,
    error: type[VyroxError],
    field: str | None = None,
) -> T:
    """Return the value that `decoder` reads from `source`, or raise `error` with a one-line reason.

    Catching only `msgspec.DecodeError` is not enough: text that is not UTF-8 raises
    UnicodeDecodeError, deep nesting raises RecursionError, and either would cause a 500.

    Args:
        decoder: Made once, at module level.
        source: Untrusted bytes, as received.
        error: The class to raise, also if the JSON does not have the decoder's type.
        field: The alert field that is being read, if the decoder cannot name it.
    """
    try:
        return decoder.decode(source)
    except (ValueError, RecursionError) as exc:
        raise error(one_line(f"{field}: {exc}" if field else str(exc))) from exc


def one_line(text: str) -> str:
    """Return at most 200 characters of `text`, with unprintable characters escaped.

    A decoding error can contain text from the sender. Escaped, that text can neither start a new
    log line nor control a terminal.
    """
    escaped = (c if c.isprintable() else ascii(c)[1:-1] for c in text[:_MAX_REASON_LENGTH])
    return "".join(escaped)[:_MAX_REASON_LENGTH]


def decode_tenant_id(raw: msgspec.Raw) -> str:
    """Return the tenant id in the JSON value `raw`.

    It is Raw because an unauthenticated client can repeat the field with many integers of 4,300
    digits. A typed decoder would convert each of them; this function converts only the last.

    Raises:
        MissingTenantError: The value is not a tenant id (contract 7).
    """
    tenant_id = parse_tenant_id(decode(_TENANT_ID, raw, MissingTenantError))
    if tenant_id is None:
        raise MissingTenantError("not a tenant identifier")
    return tenant_id
