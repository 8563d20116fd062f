"""The part of OData that the mock needs: `$filter` by `eq` and `startswith`, order and paging."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from vyrox.trial.mock_edr.exchange import Call

Item = dict[str, object]
_Matches = Callable[[str, str], bool]

_TEXT: Final = r"'((?:[^']|'')*)'"
_CLAUSE: Final = re.compile(rf"\s*(?:(\w+) eq {_TEXT}|startswith\((\w+), ?{_TEXT}\))\s*(and\b|$)")
_OPTIONS: Final = ("$filter", "$orderby", "$top", "$skip")


class ODataError(Exception):
    """The query is not supported. The text contains the reason."""


def select(items: Iterable[Item], call: Call, fields: frozenset[str]) -> list[Item]:
    """Return the items that match the query, in its order.

    Args:
        fields: The fields that a filter may use. Every item has them.

    Raises:
        ODataError: An option is unknown, repeated or not supported.
    """
    names = [name for name, _ in call.query]
    if unknown := [name for name in names if name not in _OPTIONS or names.count(name) > 1]:
        raise ODataError(f"The query option {unknown[0]!r} is not supported")
    wanted = _clauses(call.one_of("$filter"), fields)
    chosen = [
        item
        for item in items
        if all(matches(str(item[field]).casefold(), value) for field, matches, value in wanted)
    ]
    field, _, direction = (call.one_of("$orderby") or "").partition(" ")
    if field and (field not in fields or direction not in {"", "asc", "desc"}):
        raise ODataError(f"$orderby by {field!r} {direction!r} is not supported")
    if field:
        chosen.sort(key=lambda item: str(item[field]), reverse=direction == "desc")
    return chosen[_number(call, "$skip", 0) :][: _number(call, "$top", 10_000)]


def _clauses(text: str | None, fields: frozenset[str]) -> list[tuple[str, _Matches, str]]:
    """Return the fields, comparisons and values, in lower case, which must all match."""
    clauses: list[tuple[str, _Matches, str]] = []
    rest = text
    while rest is not None:
        clause = _CLAUSE.match(rest)
        field = None if clause is None else clause[1] or clause[3]
        if clause is None or field not in fields:
            raise ODataError(f"$filter {text!r} is not supported")
        value = (clause[2] if clause[1] else clause[4]).replace("''", "'").casefold()
        clauses.append((str(field), str.__eq__ if clause[1] else str.startswith, value))
        rest = rest[clause.end() :] if clause[5] else None
    return clauses


def _number(call: Call, name: str, default: int) -> int:
    text = call.one_of(name) or str(default)
    if not (text.isascii() and text.isdecimal()):
        raise ODataError(f"{name} must be a number")
    return int(text)
