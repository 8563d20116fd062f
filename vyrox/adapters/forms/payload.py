"""A payload of any form, read one level at a time: members are found whatever their spelling.

Relays change the case of members, flatten objects into dotted names, put JSON into a string, and
send a list of one where an object was. A path finds a value through all of these. A value of
another type than expected is the same as a missing one: one odd field must not lose an alert.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, lru_cache
from typing import Final

import msgspec

from vyrox.adapters.decoding import decode
from vyrox.adapters.tolerant_json import JsonText, tolerant
from vyrox.errors import NormalizationError

MAX_VALUES: Final = 100_000
"""Values of one payload that are visited, each as often as a path leads to it. An alert with 100
pieces of evidence needs 8,000. The largest body can hold 500,000 values, and reading them again
for each path would delay all other requests."""

MAX_TOGETHER: Final = 3_000_000
"""Values that are visited for all payloads of one delivery. The largest one of real alerts needs
two million; one that is made for it would need a hundred million, which takes minutes."""

_together: Final[ContextVar[list[int] | None]] = ContextVar("together", default=None)

_Level = dict[str, msgspec.Raw] | list[msgspec.Raw] | str | int | float | bool | None
_LEVEL: msgspec.json.Decoder[_Level] = msgspec.json.Decoder(_Level)

_EMPTY: Final = frozenset({"", "-", "null", "none", "n/a"})
"""What vendors and relays write for "no value"."""

_MAX_LEVELS: Final = 4
"""Objects inside objects whose members are read."""

Path = tuple[str, ...]


def fold(name: str) -> str:
    """Return the name of a member in one spelling: `agent_id`, `AgentId`, `Agent ID` are one."""
    return name.replace("_", "").replace(" ", "").lower()


@lru_cache(maxsize=4096)
def path_of(dotted: str) -> Path:
    """Return the parts of a path such as `event.ProcessId`. Call it with constants only."""
    return tuple(fold(part) for part in dotted.split("."))


class Work:
    """How many values of one payload may still be visited."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def spend(self, values: int) -> None:
        """Count `values`.

        Raises:
            NormalizationError: They are too many.
        """
        self._left -= values
        if (together := _together.get()) is not None:
            together[0] -= values
            self._left = min(self._left, together[0])
        if self._left < 0:
            raise NormalizationError("too many values to read")


@contextmanager
def one_delivery() -> Iterator[None]:
    """Let all payloads that are read in the block visit MAX_TOGETHER values."""
    token = _together.set([MAX_TOGETHER])
    try:
        yield
    finally:
        _together.reset(token)


class Node:
    """One value of a payload. Its methods raise NormalizationError after too much work.

    Attributes:
        raw: Its JSON text.
        work: Shared by all values of the payload.
    """

    def __init__(self, raw: msgspec.Raw | bytes, work: Work) -> None:
        self.raw = raw
        self.work = work

    @cached_property
    def _value(self) -> _Level:
        try:
            return _LEVEL.decode(self.raw)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def members(self) -> dict[str, list["Node"]]:
        """The members of an object, by their folded names; empty if this is not an object."""
        value = self._inside
        folded: dict[str, list[Node]] = {}
        if isinstance(value, dict):
            self.work.spend(len(value))
            for name, raw in value.items():
                folded.setdefault(fold(name), []).append(Node(raw, self.work))
        return folded

    @cached_property
    def elements(self) -> list["Node"]:
        """The elements of a list; empty if this is not a list."""
        self.work.spend(len(self.raws))
        return [Node(raw, self.work) for raw in self.raws]

    @property
    def raws(self) -> list[msgspec.Raw]:
        """The JSON texts of all elements of a list; empty if this is not a list."""
        value = self._inside
        return value if isinstance(value, list) else []

    @cached_property
    def _inside(self) -> _Level:
        """The value, or the object or list whose JSON text it contains."""
        value = self._value
        if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
            try:
                return _LEVEL.decode(value.encode())
            except (ValueError, RecursionError):
                return value
        return value

    def has_exactly(self, name: str) -> bool:
        """Return whether this is an object with a member of exactly this name."""
        return isinstance(self._value, dict) and name in self._value

    def find(self, path: Path) -> Iterator["Node"]:
        """Yield the values at `path`, the first one first. Lists on the way are walked through.

        At each level, the longest part of the path that is one literal name is tried first.
        """
        if not path:
            yield self
            return
        self.work.spend(1 + len(self.elements))
        for node in [self, *self.elements]:
            for length in range(len(path), 0, -1):
                for found in node.members.get(".".join(path[:length]), ()):
                    yield from found.find(path[length:])

    @property
    def is_null(self) -> bool:
        """Whether this is null, or could not be read."""
        return self._value is None

    @property
    def text(self) -> str | None:
        """The text, or the digits of a number as they were sent; None for anything else."""
        value = self._value
        if isinstance(value, str):
            return None if value.strip().lower() in _EMPTY else value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return bytes(self.raw).decode("ascii")
        return None

    @property
    def texts(self) -> Iterator[str]:
        """The text, or those of a list."""
        nodes = [self] if self.text is not None else self.elements
        return (text for node in nodes if (text := node.text) is not None)

    @property
    def parts(self) -> Iterator[str]:
        """The texts of a list, which may also be JSON in a string or joined by commas."""
        nodes = self.elements or [self]
        for node in nodes:
            yield from filter(None, map(str.strip, (node.text or "").split(",")))

    def first(self, *paths: str) -> str | None:
        """Return the first text at any of `paths`, in their order; a list's first text counts."""
        return next(self.all(*paths), None)

    def all(self, *paths: str) -> Iterator[str]:
        """Yield the texts at `paths`, in their order."""
        for path in paths:
            for node in self.find(path_of(path)):
                yield from node.texts

    def listed(self, *paths: str) -> list[str]:
        """Return the texts at `paths`, those of lists that are joined by commas each."""
        return [text for path in paths for node in self.find(path_of(path)) for text in node.parts]

    def has(self, *paths: str) -> bool:
        """Return whether there is something other than null at each of `paths`."""
        return all(any(not node.is_null for node in self.find(path_of(path))) for path in paths)


class Payload(Node):
    """The whole of an element.

    Attributes:
        body: The element with valid Unicode, and notes of what was replaced (contract 44).
    """

    def __init__(self, body: JsonText) -> None:
        super().__init__(body.content, Work())
        self.body = body

    @property
    def notes(self) -> tuple[str, ...]:
        """What was replaced to read the payload."""
        return self.body.notes


_PARENT: Final = re.compile(r"(?:great|grand)*parent")
"""How the name begins that leads to what another process did."""


class Endings(Node):
    """An object whose members are found by each end of their dotted names.

    What is of a parent process is not found by an end without it.
    """

    @cached_property
    def members(self) -> dict[str, list[Node]]:
        """The members, and those of the objects inside, by each end of their names."""
        found: dict[str, list[Node]] = {}
        level = list(Node(self.raw, self.work).members.items())
        for _ in range(_MAX_LEVELS):
            inside: list[tuple[str, list[Node]]] = []
            for name, nodes in level:
                parts = name.split(".", 8)
                self.work.spend(len(parts))
                parents = [at for at, part in enumerate(parts[:-1]) if _PARENT.match(part)]
                for start in range(1 + (parents[-1] if parents else len(parts) - 1)):
                    found.setdefault(".".join(parts[start:]), []).extend(nodes)
                for node in nodes:
                    inside += [(f"{name}.{key}", value) for key, value in node.members.items()]
            level = inside
        return found


def parse(element: bytes | JsonText) -> Payload:
    """Return the payload in `element`: bytes as received, or their valid copy.

    Raises:
        NormalizationError: It is not JSON.
    """
    body = tolerant(element) if isinstance(element, bytes) else element
    decode(_LEVEL, body.content, NormalizationError)
    return Payload(body)
