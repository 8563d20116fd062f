r"""Repairs text that is not valid Unicode in JSON, so that it can be decoded (contract 44).

File and process names come from the monitored host. Its file system allows names that JSON and
UTF-8 do not: any UTF-16 units on Windows, any bytes on Linux. An alert with `"\ud83d"` or a raw
0xFF in such a name must not be lost.
"""

import re
from typing import Final

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_REPLACEMENT: Final = "\ufffd"

_LONE_SURROGATE: Final = re.compile(
    rb"\\u[dD](?:"
    rb"[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2}"
    rb")"
)
"""The escape of half a surrogate pair, in text in which every backslash begins an escape."""


_CONTROLS: Final = bytes(range(0x20))
_CONTROLS_TO_NUL: Final = bytes(32) + bytes(range(0x20, 0x100))


class JsonText(msgspec.Struct, frozen=True):
    """A body that a decoder can read.

    Attributes:
        content: The bytes as received, or a copy in which U+FFFD replaces invalid Unicode.
        notes: What was replaced, one short text for each kind.
    """

    content: bytes
    notes: tuple[str, ...] = ()


def tolerant(body: bytes) -> JsonText:
    """Return `body` with valid Unicode. It never raises, and does the same for every vendor.

    This runs before decoding, not after a failure: a decoder skips fields that it does not need, so
    whether it fails would depend on the adapter. White space, numbers and the order of members do
    not change, and other errors in the JSON stay.
    """
    content = body.removeprefix(_BOM)
    notes: tuple[str, ...] = ()
    if not content.isascii():
        content, replaced = _as_utf8(content)
        if replaced:
            notes = (f"{replaced} x invalid UTF-8 replaced by U+FFFD",)
    if b"\\u" in content and (b"\\ud" in content or b"\\uD" in content):
        # Rewrite escaped backslashes first: a `u` after one does not begin an escape.
        escapes = content.replace(b"\\\\", b"\\u005c")
        repaired, replaced = _LONE_SURROGATE.subn(rb"\\ufffd", escapes)
        if replaced:
            content = repaired
            notes = (*notes, f"{replaced} x lone UTF-16 surrogate replaced by U+FFFD")
    if len(content.translate(None, _CONTROLS)) < len(content):
        content, replaced = _without_controls(content)
        if replaced:
            notes = (*notes, f"{replaced} x control character replaced by U+FFFD")
    return JsonText(content, notes)


def _without_controls(content: bytes) -> tuple[bytes, int]:
    """Replace the raw control characters inside strings; return how many there were."""
    # Without escaped quotes, each second part is inside a string. Splitting costs less than a
    # regular expression, which matters for the body of an unauthenticated client.
    parts = content.replace(b"\\\\", b"\\u005c").replace(b'\\"', b"\\u0022").split(b'"')
    inside = b'"'.join(parts[1::2])
    replaced = len(inside) - len(inside.translate(None, _CONTROLS))
    if not replaced:
        return content, 0  # the usual case: white space between the tokens
    repaired = inside.translate(_CONTROLS_TO_NUL).replace(b"\0", _REPLACEMENT.encode())
    parts[1::2] = repaired.split(b'"')
    return b'"'.join(parts), replaced


def _as_utf8(content: bytes) -> tuple[bytes, int]:
    """Return `content` as valid UTF-8, and the number of replacement characters in it."""
    try:
        content.decode()
    except UnicodeDecodeError:
        text = content.decode("utf-8", "replace")
        own = content.count(_REPLACEMENT.encode())
        return text.encode(), text.count(_REPLACEMENT) - own
    return content, 0
