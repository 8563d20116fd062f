"""A field of a body that is not valid, in words, and what stood there (contract 83 and 84)."""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from vyrox.errors import InvalidRequestError

MAX_READ_BYTES: Final = 65_536
"""Bytes of a body that is read again for the log. A larger one is not."""

MAX_KEYS: Final = 20
MAX_KEY: Final = 32
MAX_FOUND: Final = 64
"""Characters of a key, and of what stood in the field."""

_DEPTH: Final = 6
"""Levels of a path that are followed."""

_PATH: Final = re.compile(r" - at `\$([^`]*)`")
_NAMED: Final = re.compile(r"([A-Za-z_][\w.]{0,63}): ")

_KINDS: Final = {
    "int": "an integer",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}

_Words = Callable[[re.Match[str], str], str]

_SENTENCES: Final[tuple[tuple[re.Pattern[str], _Words], ...]] = (
    (
        re.compile(r"Object missing required field `([^`]+)`"),
        lambda found, where: f"{f'{where}.' if where else ''}{found[1]} is missing",
    ),
    (
        re.compile(r"Object contains unknown field `([^`]+)`"),
        lambda found, where: f"{f'{where}.' if where else ''}{found[1]} is not known",
    ),
    (
        re.compile(r"Expected `([a-z |]+)`, got `([a-z]+)`"),
        lambda found, where: (
            f"{where or 'the body'} must be {_kind(found[1])}, not {_kind(found[2])}"
        ),
    ),
    (
        re.compile(r"Expected `str` of length >= 1"),
        lambda _found, where: f"{where or 'the body'} is empty",
    ),
    (
        re.compile(r"Expected `(\w+)` of length <= (\d+)"),
        lambda found, where: f"{where or 'the body'} is longer than {found[2]}",
    ),
    (
        re.compile(r"Invalid enum value '?(.*?)'?$"),
        lambda found, where: f"{where or 'the body'} does not take the value {found[1][:64]!r}",
    ),
    (
        re.compile(r"(?:JSON is malformed|Input data was truncated).*"),
        lambda found, _where: f"the body is not JSON: {found[0]}",
    ),
)


def invalid_field(error: Exception, body: bytes | None = None) -> InvalidRequestError:
    """Return the refusal of what a decoder has raised, with what stood in `body` for the log."""
    if isinstance(error, msgspec.MsgspecError):
        text = in_words(str(error))
    elif isinstance(error, RecursionError):
        text = "the body is nested too deeply"
    else:
        text = "the body is not UTF-8"
    refused = InvalidRequestError(text)
    if body is not None:
        refused.log_fields = seen_in(body, str(error))
    return refused


def in_words(text: str) -> str:
    """Return a decoder's text as a sentence that names the field first."""
    at = _PATH.search(text)
    where = at[1].removeprefix(".") if at else ""
    whole = _PATH.sub("", text)
    for pattern, words in _SENTENCES:
        if found := pattern.match(whole):
            return words(found, where)
    return f"{where}: {whole}" if where else whole


def _kind(text: str) -> str:
    return " or ".join(_KINDS.get(each, each) for each in text.split(" | "))


def seen_in(body: bytes, reason: str, field: str | None = None) -> dict[str, str]:
    """Return what the log shows of a refused body: its keys, the field and what stood there.

    All of it is cut and escaped: an unauthenticated client may have sent the body.

    Args:
        reason: The refusal's text, which names the field as decoders do.
        field: The field, if `reason` does not name it.
    """
    top = _object(body) if len(body) <= MAX_READ_BYTES else None
    if top is None:
        return {}
    keys = [_escaped(key, MAX_KEY) for key in list(top)[:MAX_KEYS]]
    shown = {"keys": ", ".join(keys)}
    exact = field or _path_in(reason)
    path = exact or named_field(reason)
    if path:
        shown["field"] = _escaped(path, MAX_FOUND)
        found = _at(top, path)
        if found is not None:
            shown["found"] = _escaped(_text(found), MAX_FOUND)
        elif exact:
            shown["found"] = "nothing"
    return shown


def named_field(reason: str) -> str:
    """Return the field that a refusal's text begins with, as `hostname: ...`; else nothing."""
    named = _NAMED.match(reason)
    return named[1] if named else ""


def _path_in(reason: str) -> str:
    missing = re.match(r"Object missing required field `([^`]+)`", reason)
    at = _PATH.search(reason)
    parts = [at[1].removeprefix(".") if at else "", missing[1] if missing else ""]
    return ".".join(part for part in parts if part)


def _at(level: dict[str, msgspec.Raw], path: str) -> bytes | None:
    """Return the JSON text at `path`, or None if nothing is there or it leads through a list."""
    names = path.split(".")
    for depth, name in enumerate(names[:_DEPTH], 1):
        found = level.get(name)
        if found is None or depth == len(names):
            return None if found is None else bytes(found)
        inner = _object(found)
        if inner is None:
            return bytes(found)
        level = inner
    return None


def _object(text: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError):
        return None


_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _text(raw: bytes) -> str:
    return raw[: 4 * MAX_FOUND].decode("utf-8", "replace")


def _escaped(text: str, limit: int) -> str:
    """Return at most `limit` characters of printable ASCII."""
    return ascii(text[: limit + 1])[1:-1][:limit]
