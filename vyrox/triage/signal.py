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
]
"""A group of behaviour. Signals of one family are one witness."""

MAX_MATCH: Final = 120
"""Characters of the matched text that a verdict shows."""


class Subject(msgspec.Struct, frozen=True):
    """An alert and the forms of its command line.

    Attributes:
        present: For each text of `views`, which texts of the patterns occur in it.
    """

    alert: NormalizedAlert
    views: Views
    present: tuple[frozenset[str], ...] = ()


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
