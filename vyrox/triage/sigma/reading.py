"""Reads one Sigma rule with pySigma, and turns its condition into a tree."""

import re
from typing import Any, Final, cast

import msgspec
import re2
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
)
from sigma.exceptions import SigmaRegularExpressionError
from sigma.policy import SigmaPolicy
from sigma.policy.regex_engine import RE2RegexEngine, RegexPattern
from sigma.rule import SigmaRule
from sigma.types import (
    SigmaCasedString,
    SigmaExists,
    SigmaExpansion,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SpecialChars,
)

from vyrox.triage.sigma.event import FIELDS, Field
from vyrox.triage.sigma.tree import (
    Absent,
    All,
    AnyOf,
    Exists,
    Kind,
    Node,
    Not,
    Pattern,
    RefusedError,
    Text,
    absent_fields,
    without_absent,
)

LEVELS: Final[dict[str, float]] = {
    "critical": 0.85,
    "high": 0.7,
    "medium": 0.35,
    "low": 0.1,
    "informational": 0.0,
}
"""The weight of a rule by its level."""

MAX_TITLE: Final = 120
MAX_NODES: Final = 20_000
"""Comparisons of one rule. More is a mistake, or a list that belongs elsewhere."""

MAX_EXPRESSION_MEMORY: Final = 1 << 20

_IMAGES: Final[dict[str | None, Field]] = {
    "windows": "windows_image",
    "linux": "unix_image",
    "macos": "unix_image",
    None: "image",
}

_OTHER_HASH: Final = re.compile(r"\*?(?!sha256=)\w{1,12}=", re.I)

_FLAGS: Final = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}


_NOT_LINEAR: Final = "its regular expression is none, or may not take linear time"


def _compiled(source: str) -> RegexPattern:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_EXPRESSION_MEMORY
    return cast(RegexPattern, re2.compile(source, options))


class _Engine(RE2RegexEngine):
    """RE2 without its own lines on standard error."""

    def compile(self, pattern: str, flags: int = 0) -> RegexPattern:
        letters = "".join(letter for flag, letter in _PYTHON_FLAGS if flags & flag)
        return _compiled(f"(?{letters}){pattern}" if letters else pattern)


_PYTHON_FLAGS: Final = ((re.IGNORECASE, "i"), (re.MULTILINE, "m"), (re.DOTALL, "s"))
_POLICY: Final = SigmaPolicy(regex_engine=_Engine())


class Parsed(msgspec.Struct, frozen=True):
    """One rule that Vyrox can judge by.

    Attributes:
        name: Its id, or its title in a short form.
        without: Fields that alerts do not have; the alternatives with them are left out.
    """

    name: str
    title: str
    weight: float
    tree: Node
    without: tuple[str, ...]


def parse(document: dict[str, Any]) -> Parsed:
    """Return the rule in `document`.

    Raises:
        RefusedError: Vyrox cannot judge by it.
        sigma.exceptions.SigmaError: It is no Sigma rule.
    """
    for kind in ("correlation", "filter", "action"):
        if kind in document:
            raise RefusedError(f"it is a Sigma {kind}, not a rule")
    source = document.get("logsource")
    if not isinstance(source, dict) or source.get("category") != "process_creation":
        raise RefusedError("its logsource is not process_creation")
    product = source.get("product")
    if product not in _IMAGES:
        raise RefusedError("its product is not windows, linux or macos")
    try:
        rule = SigmaRule.from_dict(document, policy=_POLICY)
    except SigmaRegularExpressionError:
        raise RefusedError(_NOT_LINEAR) from None
    reader = _Reader(_IMAGES[product])
    conditions = [reader.node(each.parsed) for each in rule.detection.parsed_condition]
    tree = conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions))
    level = "medium" if rule.level is None else rule.level.name.lower()
    return Parsed(
        name=str(rule.id) if rule.id is not None else _slug(rule.title),
        title=" ".join(rule.title.split())[:MAX_TITLE],
        weight=LEVELS[level],
        tree=without_absent(tree),
        without=tuple(sorted(absent_fields(tree))),
    )


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:80] or "untitled"


class _Reader:
    """Turns pySigma's condition into a tree.

    Args:
        image: Which of the image's forms the rule's product compares with.
    """

    def __init__(self, image: Field) -> None:
        self._image = image
        self._nodes = 0

    def node(self, parsed: object) -> Node:
        """Return the tree of one condition."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise RefusedError(f"it has more than {MAX_NODES} comparisons")
        match parsed:
            case ConditionAND(args=parts):
                return All(tuple(map(self.node, parts)))
            case ConditionOR(args=parts):
                return AnyOf(tuple(map(self.node, parts)))
            case ConditionNOT(args=[part]):
                return Not(self.node(part))
            case ConditionFieldEqualsValueExpression(field=name, value=value):
                return self._compared(name, value)
        raise RefusedError("it searches for words without naming a field")

    def _compared(self, name: str, value: object) -> Node:
        field = FIELDS.get(name.lower())
        if field is None:
            return Absent(name)
        if isinstance(value, SigmaExpansion):
            return AnyOf(tuple(self._compared(name, each) for each in value.values))
        return _leaf(name, self._image if field == "image" else field, value)


def _leaf(name: str, field: Field, value: object) -> Node:
    match value:
        case SigmaRegularExpression():
            flags = "".join(sorted(_FLAGS[each] for each in value.flags))
            return _pattern(field, str(value.regexp), flags)
        case SigmaString():
            return _text(name, field, value)
        case SigmaNumber():
            return Text(field, "equals", str(value))
        case SigmaNull():
            return Exists(field, wanted=False)
        case SigmaExists():
            return Exists(field, wanted=bool(value))
    raise RefusedError(f"it compares {name} in a way that Vyrox does not know")


def _text(name: str, field: Field, value: SigmaString) -> Node:
    if field == "hashes" and _OTHER_HASH.match(str(value)):
        return Absent(f"{name} other than SHA256")
    cased = isinstance(value, SigmaCasedString)
    parts = list(value.s)
    if not all(isinstance(each, str | SpecialChars) for each in parts):
        raise RefusedError(f"it has a placeholder in {name}")
    many = SpecialChars.WILDCARD_MULTI
    first = bool(parts) and parts[0] == many
    last = len(parts) > first and parts[-1] == many
    middle = parts[first : len(parts) - last]
    texts = [each for each in middle if isinstance(each, str)]
    if len(texts) == len(middle) <= 1:
        return Text(field, _KINDS[first, last], "".join(texts), cased)
    source = "".join(_expression(each) for each in middle)
    source = ("" if first else "^") + source + ("" if last else "$")
    return _pattern(field, source, "s" if cased else "is")


_KINDS: Final[dict[tuple[bool, bool], Kind]] = {
    (False, False): "equals",
    (True, True): "contains",
    (False, True): "startswith",
    (True, False): "endswith",
}


def _expression(part: object) -> str:
    if isinstance(part, str):
        return str(re2.escape(part))
    return ".*" if part == SpecialChars.WILDCARD_MULTI else "."


def _pattern(field: Field, source: str, flags: str) -> Pattern:
    try:
        compiled = _compiled(f"(?{flags}){source}" if flags else source)
    except re2.error:
        raise RefusedError(_NOT_LINEAR) from None
    return Pattern(field, source, compiled.search)
