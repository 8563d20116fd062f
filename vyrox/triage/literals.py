"""Which texts a pattern cannot match without, so that most patterns are never tried.

The texts come from the pattern itself. All of them are searched in one pass over the command line.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from re import _constants as op  # type: ignore[attr-defined, unused-ignore]
from re import _parser as parser  # type: ignore[attr-defined, unused-ignore]
from typing import Any, Final

from ahocorasick_rs import AhoCorasick

Clause = frozenset[str]
"""Texts of which at least one occurs in every match."""

_SHORTEST: Final = 2
_REPEATS: Final = frozenset({op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT})
_ZERO_WIDTH: Final = frozenset({op.AT, op.ASSERT, op.ASSERT_NOT})


def clauses(pattern: str) -> tuple[Clause, ...]:
    """Return what every match of `pattern` holds, the most selective first; empty if unknown."""
    found = set(_walk(parser.parse(pattern)))
    return tuple(sorted(found, key=lambda each: (-_shortest(each), len(each), sorted(each))))


def _shortest(clause: Clause) -> int:
    return min(map(len, clause))


def _walk(nodes: Iterable[tuple[Any, Any]]) -> Iterator[Clause]:
    run = ""
    for code, value in nodes:
        if code is op.LITERAL:
            run += chr(value)
            continue
        if code in _ZERO_WIDTH:
            continue
        yield from _literal(run)
        if run and code is op.BRANCH:
            yield from _begun(run, value[1])
        run = ""
        yield from _inner(code, value)
    yield from _literal(run)


def _literal(run: str) -> Iterator[Clause]:
    if len(run) >= _SHORTEST:
        yield frozenset({run})


def _begun(run: str, branches: Iterable[Sequence[tuple[Any, Any]]]) -> Iterator[Clause]:
    """Yield the alternatives with the text before them, which the parser has taken out of them."""
    starts = {run + "".join(takewhile(bool, map(_character, branch))) for branch in branches}
    if _shortest(frozenset(starts)) >= _SHORTEST:
        yield frozenset(starts)


def _character(node: tuple[Any, Any]) -> str:
    return chr(node[1]) if node[0] is op.LITERAL else ""


def _inner(code: object, value: Any) -> Iterator[Clause]:  # noqa: ANN401  (nodes are untyped)
    if code is op.SUBPATTERN:
        yield from _walk(value[-1])
    elif code in _REPEATS and value[0] >= 1:
        yield from _walk(value[2])
    elif code is op.ATOMIC_GROUP:
        yield from _walk(value)
    elif code is op.BRANCH:
        best = [max(_walk(branch), key=_shortest, default=None) for branch in value[1]]
        if all(best):
            yield frozenset[str]().union(*(each for each in best if each))


class Scanner:
    """Finds which of many texts occur in a longer one, in one pass."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts: Sequence[str] = sorted(set(texts))
        self._automaton = AhoCorasick(self._texts)

    def scan(self, text: str) -> frozenset[str]:
        """Return the texts that occur in `text`."""
        found = self._automaton.find_matches_as_indexes(text, overlapping=True)
        return frozenset(self._texts[index] for index in {each[0] for each in found})


class Pattern:
    """A regular expression that is compiled when it is first needed."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._regex: re.Pattern[str] | None = None

    @cached_property
    def clauses(self) -> tuple[Clause, ...]:
        """What every match holds."""
        return clauses(self.source)

    def may_match(self, present: frozenset[str]) -> bool:
        """Return whether the texts in `present` allow a match."""
        return all(not each.isdisjoint(present) for each in self.clauses)

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first match in `text`."""
        if self._regex is None:
            self._regex = re.compile(self.source)
        return self._regex.search(text)
