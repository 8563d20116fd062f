"""What a command line holds encoded: Base64 and hexadecimal, plain or compressed."""

import binascii
import re
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

_B64: Final = r"[A-Za-z0-9+/_-]{8,}={0,2}"


def encoded(text: str) -> Iterator[Callable[[int], str | None]]:
    """Yield a function for each piece of `text` that looks encoded: it decodes it to a limit."""
    lower = text.lower()
    seen: set[tuple[object, str]] = set()
    for needed, pattern, decode in _ENCODINGS:
        if needed not in lower:
            continue
        for match in pattern.finditer(text):
            if (decode, match[1]) not in seen:
                seen.add((decode, match[1]))
                yield partial(decode, match[1])


def _from_hex(text: str, room: int) -> str:
    return bytes.fromhex(text[: min(len(text) // 2, room) * 2]).decode("latin-1")


def _from_base64(text: str, room: int) -> str | None:
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return _readable(raw[: 2 * room], room) or _readable(_inflated(raw, room), room)


def _readable(raw: bytes, room: int) -> str | None:
    """Return `raw` as text, if most of its beginning is printable."""
    if not raw:
        return None
    is_utf_16 = raw[1::2].count(0) * 3 > len(raw)
    text = raw.decode("utf-16-le" if is_utf_16 else "utf-8", "replace")[:room]
    start = text[:512]
    readable = sum(each.isprintable() or each in "\r\n\t" for each in start)
    readable -= start.count("\ufffd")
    return text if readable * 10 >= len(start) * 8 else None


def _inflated(raw: bytes, room: int) -> bytes:
    """Return what is compressed in `raw` (gzip, zlib or deflate), at most `room` bytes of it."""
    for bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        try:
            return zlib.decompressobj(bits).decompress(raw, room)
        except zlib.error:
            continue
    return b""


_ENCODINGS: Final[tuple[tuple[str, re.Pattern[str], Callable[[str, int], str | None]], ...]] = (
    # -e, -ec, -enc ... any prefix of EncodedCommand; Base64 of UTF-16
    (
        "e",
        re.compile(rf"[-/](?:e|ec|en[codemand]{{0,12}})[\s:]{{1,8}}[\"']?({_B64})", re.I),
        _from_base64,
    ),
    (
        "base64",
        re.compile(
            rf"(?:echo|printf)\s{{1,4}}(?:-[ne]\s{{1,4}})?[\"']?({_B64})[\"']?\s{{0,4}}\|"
            rf"[^|]{{0,40}}base64\s{{1,4}}-{{1,2}}d",
            re.I,
        ),
        _from_base64,
    ),
    (
        "openssl",
        re.compile(
            rf"(?:echo|printf)\s{{1,4}}(?:-[ne]\s{{1,4}})?[\"']?({_B64})[\"']?\s{{0,4}}\|"
            rf"[^|]{{0,40}}openssl\s{{1,4}}(?:enc|base64)",
            re.I,
        ),
        _from_base64,
    ),
    (
        "{echo",
        re.compile(rf"\{{echo,({_B64})\}}\s{{0,4}}\|\s{{0,4}}\{{base64,-{{1,2}}d", re.I),
        _from_base64,
    ),
    (
        "<<<",
        re.compile(rf"-{{1,2}}d(?:ecode)?\s{{0,4}}<<<\s{{0,4}}[\"']?({_B64})", re.I),
        _from_base64,
    ),
    (
        "64",
        re.compile(
            rf"(?:frombase64string|b64decode|base64_decode)\s{{0,4}}\(\s{{0,4}}b?[\"']?({_B64})",
            re.I,
        ),
        _from_base64,
    ),
    ("atob", re.compile(rf"atob\s{{0,4}}\(\s{{0,4}}[\"']?({_B64})", re.I), _from_base64),
    # A name in place of the text: then the text is quoted elsewhere in the line.
    ("64", re.compile(r"[\"'=\s]([A-Za-z0-9+/]{32,}={0,2})(?=[\"';,)\s]|$)"), _from_base64),
    (
        "fromhex",
        re.compile(r"fromhex\s{0,4}\(\s{0,4}[\"']?([0-9a-f]{8,})", re.I),
        _from_hex,
    ),
    (
        "xxd",
        re.compile(r"echo\s{1,4}[\"']?([0-9a-f]{8,})[\"']?\s{0,4}\|[^|]{0,20}xxd\s{1,4}-r", re.I),
        _from_hex,
    ),
)
"""For each encoding: a text that it needs, its form, and how it is decoded."""
