r"""JSON with text in it that is not Unicode, made decodable (contract 44).

The names of files and processes come from the monitored host, and its file system allows names that
JSON and UTF-8 do not: in Windows any sequence of UTF-16 units, in Linux any bytes. A sensor that
writes `"\ud83d"` or a raw 0xFF must not lose its alert for that.
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
"""An escape that is one half of a pair, in text in which every backslash begins an escape."""


class JsonText(msgspec.Struct, frozen=True):
    """What a decoder reads in the place of the bytes as received.

    Attributes:
        content: The bytes themselves, or a copy in which U+FFFD stands for what is not Unicode.
        notes: What was replaced, one short text for each kind.
    """

    content: bytes
    notes: tuple[str, ...] = ()


def tolerant(body: bytes) -> JsonText:
    """Return `body` as a decoder can read it: in one pass, whoever sent it, and never an error.

    Checked before it is decoded and not after that has failed: a decoder skips what it does not
    read, so what it accepts would depend on the fields that are read. White space, numbers and the
    order of members stay, and so does what is no JSON for another reason.
    """
    content = body.removeprefix(_BOM)
    notes: tuple[str, ...] = ()
    if not content.isascii():
        content, replaced = _as_utf8(content)
        if replaced:
            notes = (f"{replaced} x invalid UTF-8 replaced by U+FFFD",)
    if b"\\u" in content and (b"\\ud" in content or b"\\uD" in content):
        # An escaped backslash is written in another way first: behind it a `u` begins no escape.
        escapes = content.replace(b"\\\\", b"\\u005c")
        repaired, replaced = _LONE_SURROGATE.subn(rb"\\ufffd", escapes)
        if replaced:
            content = repaired
            notes = (*notes, f"{replaced} x lone UTF-16 surrogate replaced by U+FFFD")
    return JsonText(content, notes)


def _as_utf8(content: bytes) -> tuple[bytes, int]:
    """Return `content` as valid UTF-8, and how many replacement characters that took."""
    try:
        content.decode()
    except UnicodeDecodeError:
        text = content.decode("utf-8", "replace")
        own = content.count(_REPLACEMENT.encode())
        return text.encode(), text.count(_REPLACEMENT) - own
    return content, 0
