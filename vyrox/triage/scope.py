"""What a suppression is about: which alerts it takes in, and which behaviour it covers."""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final, get_args

import msgspec

from vyrox.alerts.intake import MAX_NAME, folded
from vyrox.models import NormalizedAlert
from vyrox.triage.fingerprint import MAX_SHAPED, shape_of
from vyrox.triage.hosts import MAX_TEXT, clean
from vyrox.triage.score import ERROR_SIGNAL, REVIEW, Verdict
from vyrox.triage.signal import Family

NOT_COUNTED: Final = "technique"
"""The family that no scope names: a technique is a guess, and weak."""

VENDOR: Final = "vendor"
"""The vendor knows more than the command line: its opinion is hidden only if a scope names it."""

FAMILIES: Final[tuple[str, ...]] = tuple(
    family for family in get_args(Family) if family != NOT_COUNTED
)
"""The families that a scope may name."""

DANGEROUS: Final[frozenset[str]] = frozenset({"credentials", "recovery", "defences"})
"""A suppression that covers one of these holds only after a second person has confirmed it."""

MAX_SHOWN_SHAPE: Final = 200
"""Characters of a shape that are kept for people."""

_ADDRESS: Final = re.compile(
    r"(?:://|\\\\)[^/\\\s]{1,255}|\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{65,4096}"
)
"""What is compared exactly: addresses, and what is longer than a hash, which may be a program."""


class Traits(msgspec.Struct, frozen=True):
    """What scopes compare of an alert. None: the alert has no such field."""

    shape: str | None
    program: str | None
    host: str | None
    username: str | None


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts a suppression takes in. None: any.

    Attributes:
        shape: As `shape_key` returns it.
        families: What may be hidden. More of any other than `review` needs is not.
        host: The name of one host, or a device id. None: every host of the tenant.
    """

    shape: str | None = None
    program: str | None = None
    families: tuple[str, ...] = ()
    host: str | None = None
    username: str | None = None

    @property
    def needs_second(self) -> bool:
        """Whether a second person must confirm."""
        return not DANGEROUS.isdisjoint(self.families)

    @property
    def behaviour(self) -> tuple[str, ...]:
        """The families without the vendor's opinion."""
        return tuple(family for family in self.families if family != VENDOR)

    def takes_in(self, traits: Traits) -> bool:
        """Return whether command, program, host and user of an alert are in the scope."""
        # Plain comparisons, and what differs most often first: this runs for each suppression.
        if self.host is not None and self.host != traits.host:
            return False
        if self.username is not None and self.username != traits.username:
            return False
        if self.program is not None and self.program != traits.program:
            return False
        return self.shape is None or self.shape == traits.shape

    def covers(self, families: Mapping[str, float]) -> bool:
        """Return whether the families of an alert are in the scope.

        What is outside must be too little for `review` on its own. A scope without a command and
        a program covers an alert only if its strongest behaviour is inside.
        """
        outside = [
            share
            for family, share in families.items()
            if family not in self.families and family != NOT_COUNTED
        ]
        if not is_weak(outside):
            return False
        if self.shape is not None or self.program is not None:
            return True
        inside = [families.get(family, 0.0) for family in self.behaviour]
        return max(inside, default=0.0) > max(outside, default=0.0)

    def holds(self, traits: Traits, verdict: Verdict) -> bool:
        """Return whether an alert with this verdict may be hidden. Not if a rule failed on it."""
        return (
            self.takes_in(traits)
            and self.covers(verdict.families)
            and all(reason.signal != ERROR_SIGNAL for reason in verdict.reasons)
        )


def traits_of(alert: NormalizedAlert, *, with_shape: bool = True) -> Traits:
    """Return what scopes compare of an alert. The shape costs most, and is not always needed."""
    return Traits(
        shape_key(alert.process_cmdline) if with_shape else None,
        name_key(alert.process_name),
        host_key(alert.hostname) or host_key(alert.device_id),
        name_key(alert.username),
    )


def name_key(text: str | None) -> str | None:
    """Return a name as scopes compare it; None if it is empty, or too long to be compared whole."""
    return None if len(text or "") > MAX_NAME else folded(text)


def host_key(text: str | None) -> str | None:
    """Return a host's name as scopes compare it; None also for a placeholder."""
    return None if len(text or "") > MAX_TEXT else clean(text)


def shape_key(command_line: str | None) -> str | None:
    """Return 32 hex digits that are equal for command lines of one shape with equal addresses.

    None if there is no command line, or if it is too long: what is not read could be anything.
    """
    if not command_line or len(command_line) > MAX_SHAPED:
        return None
    shape = shape_of(command_line)
    if not shape:
        return None
    addresses = _ADDRESS.findall(command_line.casefold())
    text = "\0".join((shape, *addresses))
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def shown_shape(command_line: str) -> str:
    """Return a shape for people: with the addresses, which `shape_key` compares too."""
    shape, place = shape_of(command_line), 0
    for address in _ADDRESS.findall(command_line[:MAX_SHAPED].casefold()):
        hidden = shape_of(address)
        found = shape.find(hidden, place)
        if found >= 0:
            shape = shape[:found] + address + shape[found + len(hidden) :]
            place = found + len(address)
    return shape[:MAX_SHOWN_SHAPE].replace("\0", " ")


def narrowest(alert: NormalizedAlert, verdict: Verdict) -> Scope:
    """Return the narrowest scope that takes in `alert`."""
    traits = traits_of(alert)
    return Scope(
        shape=traits.shape,
        program=None if traits.shape is not None else traits.program,
        families=_families(verdict.families),
        host=traits.host,
        username=traits.username,
    )


def _families(found: Mapping[str, float]) -> tuple[str, ...]:
    """Return the families of an alert, without those that need care and are too weak to matter."""
    own = {family: share for family, share in found.items() if family in FAMILIES}
    weak = {family for family in own if is_weak([own[family]])}
    for outside in (weak & (DANGEROUS | {VENDOR}), weak & DANGEROUS):
        if is_weak(own[family] for family in outside):
            return tuple(sorted(own.keys() - outside))
    return tuple(sorted(own))


def is_weak(shares: Iterable[float]) -> bool:
    """Return whether these families alone are too little for `review`."""
    none = 1.0
    for share in shares:
        none *= 1 - share
    return 100 * (1 - none) < REVIEW
