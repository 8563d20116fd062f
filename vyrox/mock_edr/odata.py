"""The little of OData that Microsoft's lists are asked with: `$filter` by equality, paging."""

import re
from collections.abc import Iterable
from typing import Final, TypeVar

from vyrox.mock_edr.exchange import Call

Item = dict[str, object]
T = TypeVar("T")

_CLAUSE: Final = re.compile(r"\s*(\w+) eq '((?:[^']|'')*)'\s*(and|$)")
_OPTIONS: Final = ("$filter", "$orderby", "$top", "$skip")


class ODataError(Exception):
    """The query is not understood. The text says why."""


def select(items: Iterable[Item], call: Call) -> list[Item]:
    """Return those of `items` that the call's query asks for, in its order.

    Raises:
        ODataError: An option is unknown or is there twice, or names what the items do not have.
    """
    names = [name for name, _ in call.query]
    if unknown := [name for name in names if name not in _OPTIONS or names.count(name) > 1]:
        raise ODataError(f"The query option {unknown[0]!r} is not supported")
    chosen = [item for item in items if _matches(item, call.one_of("$filter"))]
    if (order := call.one_of("$orderby")) is not None:
        field, _, direction = order.partition(" ")
        if direction not in {"", "asc", "desc"} or not all(field in item for item in chosen):
            raise ODataError(f"$orderby {order!r} is not supported")
        chosen.sort(key=lambda item: str(item[field]), reverse=direction == "desc")
    return chosen[_number(call, "$skip", 0) :][: _number(call, "$top", 10_000)]


def _matches(item: Item, text: str | None) -> bool:
    rest = text
    while rest is not None:
        clause = _CLAUSE.match(rest)
        if clause is None or clause[1] not in item:
            raise ODataError(f"$filter {text!r} is not supported")
        wanted = clause[2].replace("''", "'").casefold()
        if str(item[clause[1]]).casefold() != wanted:
            return False
        rest = rest[clause.end() :] if clause[3] else None
    return True


def _number(call: Call, name: str, default: int) -> int:
    text = call.one_of(name) or str(default)
    if not (text.isascii() and text.isdecimal()):
        raise ODataError(f"{name} must be a number")
    return int(text)
