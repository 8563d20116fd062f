"""A schema in words, as HTML, for the page of the API document (contract 100)."""

import html
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from vyrox.models import NOT_BLANK

Node = dict[str, Any]


def text_of(text: str) -> str:
    """Return the text escaped."""
    return html.escape(text)


_NAMES: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}

_LIMITS: Final[tuple[tuple[str, Callable[[Any], str]], ...]] = (
    ("minLength", lambda value: f"at least {value} long"),
    ("maxLength", lambda value: f"at most {value} long"),
    ("minItems", lambda value: f"at least {value}"),
    ("maxItems", lambda value: f"at most {value}"),
    ("minimum", lambda value: f"at least {value}"),
    ("maximum", lambda value: f"at most {value}"),
    ("exclusiveMaximum", lambda value: f"less than {value}"),
    ("format", text_of),
    ("pattern", lambda value: _pattern(value)),
    ("default", lambda value: f"else <code>{text_of(_json(value))}</code>"),
)


def in_words(schema: Node) -> str:
    """Return what a value of this schema is. A schema with a name is a link to it."""
    return ", ".join([_kind(schema), *_limits(schema)])


def _kind(schema: Node) -> str:
    if "$ref" in schema:
        name = text_of(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(map(in_words, schema[several]))
    if "enum" in schema:
        return " or ".join(f"<code>{text_of(_json(each))}</code>" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_of_list(schema)}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {in_words(schema['additionalProperties'])}"
    return _NAMES.get(schema.get("type", ""), "any JSON")


def _of_list(schema: Node) -> str:
    if "prefixItems" in schema:
        return " then ".join(map(in_words, schema["prefixItems"]))
    items = schema.get("items")
    return f"({in_words(items)})" if items else "any JSON"


def _limits(schema: Node) -> Iterable[str]:
    for name, words in _LIMITS:
        if schema.get(name) is not None:
            yield words(schema[name])


def _pattern(pattern: str) -> str:
    if pattern == NOT_BLANK["pattern"]:
        return "not only white space"
    return f"as <code>{text_of(pattern)}</code>"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
