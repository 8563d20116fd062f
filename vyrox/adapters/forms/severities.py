"""A severity in one scale, from what the vendors' own forms say of it (contract 70)."""

from typing import Final, NamedTuple

from vyrox.adapters.decoding import one_line
from vyrox.adapters.severity import severity_of
from vyrox.models import Severity


class Graded(NamedTuple):
    """A severity.

    Attributes:
        vendor: What the vendor says, in upper case.
        notes: That Vyrox derived the severity, and from what.
    """

    vendor: str | None
    severity: Severity
    notes: tuple[str, ...] = ()


_FIVE: Final[tuple[Severity, ...]] = ("info", "info", "low", "medium", "high", "critical")
"""Falcon's severities from 1 to 5, by number."""

_HUNDRED: Final[tuple[tuple[float, Severity], ...]] = (
    (80, "critical"),
    (60, "high"),
    (40, "medium"),
    (20, "low"),
    (0, "info"),
)
"""The lowest number of each of Falcon's severities, from 0 to 100."""


def in_words(text: str | None) -> Graded:
    """Return the severity of a word such as `High`, `MEDIUM` or `E_CRITICAL`."""
    word = (text or "").strip()
    bare = word[2:] if word[:2].upper() == "E_" else word
    return Graded(word.upper() or None, severity_of(bare))


_OCSF: Final[tuple[Severity, ...]] = (
    "unknown", "info", "low", "medium", "high", "critical", "critical",
)  # fmt: skip
"""The severities of OCSF by their id; 6 is "fatal"."""


def ocsf(severity_id: str | None) -> Graded | None:
    """Return the severity with this id in OCSF; None if it says nothing."""
    number = int(severity_id) if severity_id in {"1", "2", "3", "4", "5", "6"} else 0
    return Graded(severity_id, _OCSF[number]) if number else None


def falcon(name: str | None, number: str | None, *, of_five: bool) -> Graded:
    """Return the severity of a Falcon detection.

    Args:
        name: Its name, which decides if it is known: a relay may change the number's scale.
        number: Its number.
        of_five: The number is from 1 to 5, if it is not above 5. Otherwise it is from 0 to 100.
    """
    named = in_words(name)
    if named.severity != "unknown" or number is None:
        return named
    try:
        value = float(number)
    except ValueError:
        return in_words(number)
    vendor = named.vendor or number.upper()
    if of_five and value in range(6):
        return Graded(vendor, _FIVE[int(value)])
    if not 0 <= value <= 100:
        return Graded(vendor, "unknown")
    return Graded(vendor, next(word for least, word in _HUNDRED if value >= least))


_BY_CONFIDENCE: Final[dict[str, Severity]] = {
    "malicious": "high",
    "true_positive": "high",
    "suspicious": "medium",
    "undefined": "low",
}
_MOST_SEVERE: Final = frozenset({"ransomware"})
_LEAST_SEVERE: Final = frozenset(
    {"pua", "pup", "adware", "riskware", "potentially unwanted application", "toolbar", "joke"}
)


def threat(confidence: str | None, classification: str | None) -> Graded:
    """Return the severity of a SentinelOne threat, which has none of its own.

    It is derived from the confidence. Ransomware is critical if it is malicious, otherwise high;
    software that is only unwanted is low.
    """
    level = _BY_CONFIDENCE.get((confidence or "").strip().lower(), "unknown")
    kind = (classification or "").strip().lower()
    if kind in _MOST_SEVERE:
        level = "critical" if level == "high" else "high"
    elif kind in _LEAST_SEVERE:
        level = "low"
    if level == "unknown":
        return Graded(None, "unknown")
    words = ", ".join(word[:40] for word in (confidence, classification) if word)
    return Graded(None, level, (one_line(f"severity derived by Vyrox from: {words}"),))
