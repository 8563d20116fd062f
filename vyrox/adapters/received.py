"""From the bytes of an authenticated delivery to the text of each of its elements (contract 71).

Only paths that name the tenant use this: there, a body may be compressed, in another character set,
a list, or newline-delimited JSON.
"""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from encodings import normalize_encoding
from encodings.aliases import aliases
from io import BytesIO
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from vyrox.adapters import own_forms
from vyrox.adapters.decoding import one_line
from vyrox.adapters.tolerant_json import JsonText, tolerant
from vyrox.errors import NormalizationError
from vyrox.models import EdrVendor, FieldMap, Vendor

MAX_RATIO: Final = 10
MAX_INFLATED_BYTES: Final = 16 * 1024 * 1024
"""How large a compressed body may become: both limits hold."""

MAX_VALUES: Final = 1_000_000
"""Commas of one body: each value takes seventy bytes of memory, however few it has in the body.
Alerts have thirty bytes and more for each value."""

_LINE: Final = re.compile(rb"[^\r\n]+")
_CHARSET: Final = re.compile(rb";\s*charset\s*=\s*\"?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_CHARSETS: Final = frozenset(
    {
        "cp1250", "cp1251", "cp1252", "cp932", "euc_jp", "gb18030", "gbk", "iso8859-1",
        "iso8859-15", "iso8859-2", "shift_jis", "utf-16", "utf-16-be", "utf-16-le", "utf-32",
        "utf-32-be", "utf-32-le",
    }
)  # fmt: skip
"""Character sets other than UTF-8 that are read, as Python names them."""

_MARKS: Final = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                 (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
"""The longer ones first: a mark of UTF-32 begins with one of UTF-16."""

_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Element(NamedTuple):
    """What may be one alert.

    Attributes:
        raw: Its bytes: of the delivery, or of its place in a list.
        text: The same as JSON that a decoder can read.
    """

    raw: bytes
    text: JsonText


def text_of(body: bytes, content_type: bytes, *, is_gzip: bool) -> bytes:
    """Return the delivery as UTF-8; bytes that are not valid in it stay for `tolerant`.

    Args:
        body: The bytes as sent.
        content_type: The header's value, or empty.
        is_gzip: Whether the body is compressed.

    Raises:
        NormalizationError: It is not gzip, or larger than allowed.
    """
    content = _inflated(body) if is_gzip else body
    charset = _charset(content, content_type)
    if charset is None:
        return content
    return content.decode(charset, "replace").removeprefix("\ufeff").encode("utf-8", "replace")


def elements_of(vendor: Vendor, text: bytes, field_map: FieldMap | None) -> list[Element]:
    """Return the elements of a delivery, at least one, in order.

    Args:
        vendor: Who sent it, by its path.
        text: From `text_of`.
        field_map: The tenant's. If a path of it begins with a number, a list is one alert.

    Raises:
        NormalizationError: They are more than MAX_ELEMENTS, or of more than MAX_VALUES.
    """
    if text.count(b",") > MAX_VALUES:
        raise NormalizationError(f"more than {MAX_VALUES} values in one body")
    elements = list(islice(_elements(vendor, text, field_map), own_forms.MAX_ELEMENTS + 1))
    if len(elements) > own_forms.MAX_ELEMENTS:
        raise NormalizationError(f"more than {own_forms.MAX_ELEMENTS} elements in one body")
    return elements


def _elements(vendor: Vendor, text: bytes, field_map: FieldMap | None) -> Iterator[Element]:
    for line in _lines(text):
        is_list = line.text.content.lstrip().startswith(b"[")
        if vendor != "generic":
            parts = _parts(vendor, line.text)
        elif is_list and not _is_one_alert(field_map):
            parts = _items(line.text)
        else:
            parts = [line.text]
        is_whole = len(parts) == 1 and not is_list
        yield from (Element(line.raw if is_whole else part.content, part) for part in parts)


def _parts(vendor: EdrVendor, line: JsonText) -> list[JsonText]:
    try:
        return own_forms.split(vendor, line)
    except NormalizationError:
        return [line]  # reading it has the same result, with the reason


def _is_one_alert(field_map: FieldMap | None) -> bool:
    """Return whether a list is what the field map was made for."""
    return any(path.partition(".")[0].isdecimal() for path in (field_map or {}).values())


def _items(line: JsonText) -> list[JsonText]:
    try:
        items = _ITEMS.decode(line.content)
    except (ValueError, RecursionError):
        return [line]
    some = items[: own_forms.MAX_ELEMENTS + 1]
    return [JsonText(bytes(item), line.notes) for item in some] or [line]


def _lines(text: bytes) -> list[Element]:
    """Return the lines of newline-delimited JSON; any other text is one line."""
    whole = Element(text, tolerant(text))
    if _is_json(_RAW, whole.text):
        return [whole]
    found = (line[0] for line in _LINE.finditer(text.removeprefix(codecs.BOM_UTF8)))
    # Not all lines of a large body: one too many is enough to refuse it.
    some = islice((line for line in found if line.strip()), own_forms.MAX_ELEMENTS + 1)
    lines = [Element(line, tolerant(line)) for line in some]
    # Otherwise it is one broken document, of which no line is an object.
    some_are_objects = len(lines) > 1 and any(_is_json(_OBJECT, line.text) for line in lines)
    return lines if some_are_objects else [whole]


def _is_json(decoder: msgspec.json.Decoder[Any], line: JsonText) -> bool:
    try:
        decoder.decode(line.content)
    except (ValueError, RecursionError):
        return False
    return True


def _charset(content: bytes, content_type: bytes) -> str | None:
    """Return the character set as Python names it; None for UTF-8, and for one that is not read."""
    marked = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if marked is not None:
        return marked
    found = _CHARSET.search(content_type)
    return None if found is None else _KNOWN.get(_module_of(found[1].decode()))


def _module_of(charset: str) -> str:
    """Return the name of Python's module. `codecs.lookup` keeps every name that it was asked."""
    name = normalize_encoding(charset).lower()
    return aliases.get(name, name)


_KNOWN: Final = {_module_of(each): each for each in _CHARSETS}


def _inflated(body: bytes) -> bytes:
    limit = min(MAX_RATIO * len(body), MAX_INFLATED_BYTES)
    try:
        content = gzip.GzipFile(fileobj=BytesIO(body)).read(limit + 1)
    except EOFError as exc:
        raise NormalizationError("the compressed body is not complete") from exc
    except (OSError, zlib.error) as exc:
        raise NormalizationError(one_line(f"not gzip: {exc}")) from exc
    if len(content) > limit:
        raise NormalizationError(f"inflated, the body is larger than {limit} bytes")
    return content
