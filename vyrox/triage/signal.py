"""What a signal is: one named reason why a person should see an alert."""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from vyrox.models import NormalizedAlert
from vyrox.triage.views import Views

Family = Literal[
    "credentials",
    "recovery",
    "defences",
    "download",
    "proxy",
    "remote",
    "persistence",
    "escalation",
    "exfiltration",
    "collection",
    "shell",
    "impact",
    "evasion",
    "discovery",
    "vendor",
    "technique",
    "sigma",
]
"""A group of behaviour. Signals of one family are one witness."""

MAX_MATCH: Final = 120
"""Characters of the matched text that a verdict shows."""


MAX_SEARCHED: Final = 2 * 1024 * 1024
"""Characters that all patterns of one verdict read together. The strongest signals come first."""


class Work:
    """Counts what the patterns of one verdict read, and stops it at a limit."""

    __slots__ = ("is_exhausted", "searched")

    def __init__(self) -> None:
        self.searched = 0
        self.is_exhausted = False

    def may_search(self, text: str) -> bool:
        """Count one search of `text`; return whether the limit allows it."""
        if self.searched + len(text) > MAX_SEARCHED:
            self.is_exhausted = True
            return False
        self.searched += len(text)
        return True


class Subject(msgspec.Struct, frozen=True):
    """An alert and the forms of its command line.

    Attributes:
        present: For each text of `views`, which texts of the patterns occur in it.
        work: What the patterns have read so far.
    """

    alert: NormalizedAlert
    views: Views
    present: tuple[frozenset[str], ...] = ()
    work: Work = msgspec.field(default_factory=Work)


Find = Callable[[Subject], str | None]
"""Returns the text that matched, or None."""


class Signal(msgspec.Struct, frozen=True):
    """One reason.

    Attributes:
        name: `family.what`, unique.
        weight: The share of alerts with this signal that deserve a person's look, 0 to 1.
        technique: MITRE ATT&CK.
        is_indexed: `find` is asked only if a text of its patterns occurs.
    """

    name: str
    family: Family
    weight: float
    find: Find
    technique: str | None = None
    is_indexed: bool = False


class Mitigation(msgspec.Struct, frozen=True):
    """A sign of ordinary work. It multiplies the odds of the families that it names."""

    name: str
    families: frozenset[Family]
    factor: float
    find: Find
