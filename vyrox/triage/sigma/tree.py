"""The condition of one rule as a tree: simplified, indexed by its texts, and made into a function.

Sigma compares without regard to case, except where a rule asks for it. A field that an event lacks
matches nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from vyrox.triage import literals
from vyrox.triage.sigma.event import IMAGES, Event, Field

Kind = Literal["equals", "contains", "startswith", "endswith"]

Check = Callable[[Event], bool]

Scanned = tuple[Literal["line", "image"], str]
"""A text that events are scanned for, and where."""

Clause = frozenset[Scanned]
"""Texts of a field, of which at least one occurs in every event that the rule matches."""

SHORTEST: Final = 4
"""Characters of a text that events are scanned for; a shorter one occurs too often to help."""


class RefusedError(Exception):
    """Vyrox cannot judge by this rule; the text says why."""


class Text(msgspec.Struct, frozen=True):
    """A field compared with a text."""

    field: Field
    kind: Kind
    text: str
    cased: bool = False


class Pattern(msgspec.Struct, frozen=True):
    """A field searched for a regular expression of RE2, which takes linear time.

    Attributes:
        source: The expression as the rule has it, without its flags.
        search: The compiled one.
    """

    field: Field
    source: str
    search: Callable[[str], Any]


class Exists(msgspec.Struct, frozen=True):
    """Whether the event has the field."""

    field: Field
    wanted: bool


class Absent(msgspec.Struct, frozen=True):
    """A comparison with a field that no alert has."""

    field: str


class All(msgspec.Struct, frozen=True):
    """Every part matches."""

    parts: tuple["Node", ...]


class AnyOf(msgspec.Struct, frozen=True):
    """At least one part matches."""

    parts: tuple["Node", ...]


class Not(msgspec.Struct, frozen=True):
    """The part does not match."""

    part: "Node"


Node = Text | Pattern | Exists | Absent | All | AnyOf | Not


def absent_fields(node: Node) -> set[str]:
    """Return the names of the fields that no alert has."""
    return {each.field for each in _leaves(node) if isinstance(each, Absent)}


def without_absent(node: Node) -> Node:
    """Return the tree without the alternatives that need a field that no alert has.

    Raises:
        RefusedError: The rule cannot match without such a field, or excludes ordinary work by one.
    """
    missing = ", ".join(sorted(absent_fields(node)))
    if any(isinstance(each, Not) and absent_fields(each) for each in _all_nodes(node)):
        raise RefusedError(f"it excludes ordinary work by what alerts do not have: {missing}")
    left = _possible(node)
    if left is None:
        raise RefusedError(f"it needs what alerts do not have: {missing}")
    return left


def _possible(node: Node) -> Node | None:
    """Return what is left if no event has the absent fields; None if it can never match."""
    match node:
        case Absent():
            return None
        case All(parts):
            kept = _kept(parts)
            return All(kept) if len(kept) == len(parts) else None
        case AnyOf(parts):
            kept = _kept(parts)
            return AnyOf(kept) if kept else None
    return node


def _kept(parts: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(left for each in parts if (left := _possible(each)) is not None)


def _all_nodes(node: Node) -> Iterator[Node]:
    yield node
    match node:
        case All(parts) | AnyOf(parts):
            for each in parts:
                yield from _all_nodes(each)
        case Not(part):
            yield from _all_nodes(part)


def _leaves(node: Node) -> Iterator[Node]:
    return (each for each in _all_nodes(node) if not isinstance(each, All | AnyOf | Not))


def scanned(node: Node) -> set[Scanned]:
    """Return every text that an event is scanned for: those of the index and of `check`."""
    found: set[Scanned] = {text for each in clauses(node)[:1] for text in each}
    found |= {
        ("line", leaf.text.lower())
        for leaf in _leaves(node)
        if isinstance(leaf, Text) and _is_scanned(leaf)
    }
    return found


def _is_scanned(node: Text) -> bool:
    """Return whether the scan of the command line answers the whole comparison."""
    return (
        node.field == "line"
        and node.kind == "contains"
        and not node.cased
        and len(node.text.lower()) >= SHORTEST
    )


def clauses(node: Node) -> list[Clause]:
    """Return what every event that matches holds, the most selective first; empty if unknown."""
    found = set(_clauses(node))
    return sorted(found, key=lambda each: (-_shortest(each), len(each), sorted(each)))


def _shortest(clause: Clause) -> int:
    return min(len(text) for _, text in clause)


def _clauses(node: Node) -> Iterator[Clause]:
    match node:
        case Text(field=field, text=text):
            yield from _clause(field, [text])
        case Pattern(field=field, source=source):
            yield from _of_pattern(field, source)
        case All(parts):
            for each in parts:
                yield from _clauses(each)
        case AnyOf(parts):
            best = [next(iter(clauses(each)), None) for each in parts]
            if best and all(best):
                yield frozenset(text for each in best if each for text in each)


def _of_pattern(field: Field, source: str) -> Iterator[Clause]:
    if "[:" in source:  # a class of RE2's, which Python's parser takes for something else
        return
    try:
        found = literals.clauses(source)
    except Exception:  # noqa: BLE001  (RE2 knows forms that Python's parser does not)
        return
    for clause in found:
        yield from _clause(field, clause)


def _clause(field: Field, texts: Iterable[str]) -> Iterator[Clause]:
    place: Literal["line", "image"] | None = (
        "line" if field == "line" else "image" if field in IMAGES else None
    )
    lower = [text.lower() for text in texts]
    # Outside ASCII, a letter and its lower case may not be one for one.
    if place and all(len(text) >= SHORTEST and text.isascii() for text in lower):
        yield frozenset((place, text) for text in lower)


def check(node: Node) -> Check:
    """Return the function that returns whether an event matches."""
    match node:
        case Text():
            return _text_check(node)
        case Pattern(field=field, search=search):
            return lambda event: _searched(event, field, search)
        case Exists(field, wanted):
            return lambda event: bool(event.values[field]) == wanted
        case Not(part):
            inner = check(part)
            return lambda event: not inner(event)
        case All(parts):
            every = [check(each) for each in parts]
            return lambda event: all(each(event) for each in every)
        case AnyOf(parts):
            some = [check(each) for each in parts]
            return lambda event: any(each(event) for each in some)
    raise RefusedError("it needs what alerts do not have")


def _searched(event: Event, field: Field, search: Callable[[str], Any]) -> bool:
    return any(
        event.work.may_search(value) and search(value) is not None for value in event.values[field]
    )


def _text_check(node: Text) -> Check:
    field, text = node.field, node.text
    if node.cased:
        return lambda event: any(_KINDS[node.kind](value, text) for value in event.values[field])
    lower = text.lower()
    if _is_scanned(node):
        return lambda event: lower in event.line_texts
    return lambda event: any(_KINDS[node.kind](value, lower) for value in event.lower[field])


_KINDS: Final[dict[Kind, Callable[[str, str], bool]]] = {
    "equals": str.__eq__,
    "contains": str.__contains__,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
