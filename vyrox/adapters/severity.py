"""The vendors' words and numbers for a severity, in one scale (contract 12)."""

from typing import Final

from vyrox.models import Severity

_WORDS: Final[dict[str, Severity]] = {
    "critical": "critical",
    "crit": "critical",
    "severe": "critical",
    "malicious": "high",
    "high": "high",
    "medium": "medium",
    "moderate": "medium",
    "suspicious": "medium",
    "low": "low",
    "info": "info",
    "informational": "info",
    "information": "info",
    "none": "info",
    "benign": "info",
}
_NUMBERS: Final[tuple[tuple[int, Severity], ...]] = (
    (90, "critical"),
    (70, "high"),
    (40, "medium"),
    (10, "low"),
    (0, "info"),
)
"""The lowest number of each severity, from 0 to 100. A number up to 10 counts ten times."""


def severity_of(vendor_severity: str | None) -> Severity:
    """Return the severity; `unknown` for a word that is not in the scale."""
    text = (vendor_severity or "").strip().lower()
    if text in _WORDS:
        return _WORDS[text]
    if text.isascii() and text.isdigit() and len(text) <= 3:
        number = int(text)
        if number <= 10:
            number *= 10
        return next(word for least, word in _NUMBERS if number >= least)
    return "unknown"
