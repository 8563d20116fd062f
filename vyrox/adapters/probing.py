"""Which values of a payload an alert's fields come from, found by trying (contract 73).

The payload is read again and again, each time with one value changed, or without it. A field that
differs then comes from that value. So this knows nothing of any form, and is true for all.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from vyrox.adapters.decoding import decode
from vyrox.adapters.forms.building import Ignored
from vyrox.adapters.tolerant_json import JsonText
from vyrox.errors import NormalizationError
from vyrox.models import NormalizedAlert

Read = Callable[[JsonText], NormalizedAlert | Ignored]
"""Returns the alert in a payload. Raises NormalizationError."""

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
Place = tuple[str | int, ...]

_JSON: Final[msgspec.json.Decoder[Json]] = msgspec.json.Decoder()

MAX_PROBED: Final = 1000
"""Values of one payload that are tried. A detection with much evidence has some hundreds."""

_MAX_FIELDS: Final = 3
"""Fields that one value can be in. A value with more decides which form the payload has."""

MAX_SOURCES: Final = 3
"""Places that are shown for one field."""

FIELDS: Final = tuple(
    name
    for name in NormalizedAlert.__struct_fields__
    if name not in {"id", "tenant_id", "source", "notes"}
)
"""The alert's fields that come from the payload."""

_PAIRS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CHANGED: Final = str.maketrans(
    {each: _PAIRS[number ^ 1] for number, each in enumerate(_PAIRS)},
)
"""Each character's neighbour: a digit stays a digit, and a hexadecimal one stays such a one."""

_LAST: Final = (
    re.compile(r"[0-9A-Za-z](?=[^0-9A-Za-z]*\Z)"),
    re.compile(r"[0-9](?=[^0-9]*\Z)"),
)
_REMOVED: Final = object()


def sources_of(read: Read, content: bytes, most: int = MAX_PROBED) -> dict[str, list[str]]:
    """Return the places in a payload that each field of its alert comes from, the best one first.

    Args:
        read: Makes the alert of the payload. It is called up to three times for each value.
        content: Valid JSON.
        most: Values of it that are tried.

    Returns:
        Nothing if the payload is no alert.

    Raises:
        NormalizationError: It is nested too deeply, or has a number that is too long.
    """
    try:
        whole = _opened(loaded(content))
    except RecursionError as exc:
        raise NormalizationError("the payload is nested too deeply") from exc
    before = _fields(read, whole)
    akin: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for place, value in islice(leaves(whole), most if before else 0):
        for field in _differing(read, whole, place, value, before):
            is_akin = str(value) in str(before[field]) or str(before[field]) in str(value)
            (akin if is_akin else others).setdefault(field, []).append(spelled(place))
    found = {field: akin.get(field) or others.get(field, []) for field in FIELDS}
    # A changed word may be no known severity: then a number beside it has the same one.
    found["severity"] = found["severity"] or found["vendor_severity"]
    return {field: places[:MAX_SOURCES] for field, places in found.items() if places}


def loaded(content: bytes) -> Json:
    """Return the value of valid JSON.

    Raises:
        NormalizationError: It is nested too deeply, or has a number that is too long.
    """
    return decode(_JSON, content, NormalizationError)


def leaves(value: Json, place: Place = ()) -> Iterator[tuple[Place, Json]]:
    """Yield every value that is neither an object nor a list nor null, with its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*place, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, (*place, number))
    elif value is not None:
        yield place, value


def spelled(place: Place) -> str:
    """Return a place as a field map spells it."""
    return ".".join(str(part) for part in place)


class _Opened(dict[str, Json]):
    """An object that a text contained as JSON."""


class _OpenedList(list[Json]):
    """A list that a text contained as JSON."""


def _opened(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _opened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_opened(inner) for inner in value]
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            inner = _opened(_JSON.decode(value))
        except (ValueError, RecursionError):
            return value
        return _Opened(inner) if isinstance(inner, dict) else _OpenedList(inner)  # type: ignore[arg-type]
    return value


def _closed(value: Json) -> Json:
    if isinstance(value, dict):
        inner: Json = {name: _closed(each) for name, each in value.items()}
    elif isinstance(value, list):
        inner = [_closed(each) for each in value]
    else:
        return value
    was_text = isinstance(value, _Opened | _OpenedList)
    return msgspec.json.encode(inner).decode() if was_text else inner


def _differing(
    read: Read, whole: Json, place: Place, value: Json, before: Mapping[str, object]
) -> set[str]:
    """Return the fields that differ if the value at `place` does."""
    found: set[str] = set()
    for other in (*_neighbours(value), _REMOVED):
        after = _fields(read, _with(whole, place, other))
        differing = {name for name in before if after and before[name] != after[name]}
        if len(differing) <= _MAX_FIELDS:
            found |= differing
    return found


def _neighbours(value: Json) -> list[Json]:
    """Return other values of the same kind: one of a text's last letter or digit, one of a time."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    text = str(value)
    ends = (next(pattern.finditer(text), None) for pattern in _LAST)
    return [
        text[: end.start()] + end[0].translate(_CHANGED) + text[end.end() :] for end in ends if end
    ]


def _with(value: Json, place: Place, other: object) -> Json:
    """Return a copy of `value` with `other` at `place`, or without what is there."""
    if not place:
        return None if other is _REMOVED else other  # type: ignore[return-value]
    first, rest = place[0], place[1:]
    copy = value.copy() if isinstance(value, dict | list) else value
    if not rest and other is _REMOVED:
        del copy[first]  # type: ignore[union-attr, arg-type]
    else:
        copy[first] = _with(copy[first], rest, other)  # type: ignore[index]
    if isinstance(value, _Opened):
        return _Opened(copy)  # type: ignore[arg-type]
    return _OpenedList(copy) if isinstance(value, _OpenedList) else copy  # type: ignore[arg-type]


def _fields(read: Read, payload: Json) -> dict[str, object]:
    try:
        alert = read(JsonText(msgspec.json.encode(_closed(payload))))
    except NormalizationError:
        return {}
    if isinstance(alert, Ignored):
        return {}
    found = msgspec.structs.asdict(alert)
    return {name: found[name] for name in FIELDS}
