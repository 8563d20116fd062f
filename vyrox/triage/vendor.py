"""What the vendor says of an alert: its severity, and the technique that it names."""

from collections.abc import Callable
from typing import Final

from vyrox.adapters.severity import severity_of
from vyrox.models import NormalizedAlert, Severity
from vyrox.triage.signal import Signal, Subject

_SEVERITIES: Final[dict[str, float]] = {
    "critical": 0.75,
    "high": 0.52,
    "medium": 0.18,
    "low": 0.02,
    "unknown": 0.08,
}
_TECHNIQUES: Final[dict[str, float]] = {
    "T1003": 0.3, "T1558": 0.3, "T1490": 0.3, "T1486": 0.35, "T1485": 0.3, "T1561": 0.35,
    "T1055": 0.25, "T1207": 0.35, "T1134": 0.2, "T1550": 0.25, "T1557": 0.3, "T1563": 0.25,
    "T1505": 0.2, "T1546": 0.2, "T1547": 0.15, "T1562": 0.2, "T1685": 0.2, "T1686": 0.2,
    "T1688": 0.2, "T1689": 0.2, "T1690": 0.2, "T1070": 0.15, "T1567": 0.2, "T1048": 0.2,
    "T1572": 0.2, "T1496": 0.25, "T1021": 0.1, "T1218": 0.1, "T1105": 0.1, "T1204": 0.15,
    "T1566": 0.2, "T1548": 0.15, "T1611": 0.25, "T1068": 0.3, "T1210": 0.3, "T1556": 0.25,
    "T1484": 0.25, "T1542": 0.25, "T1574": 0.15, "T1123": 0.2, "T1125": 0.2, "T1114": 0.15,
}  # fmt: skip
"""Prior of a technique, by its parent's id: old and new numbers."""


def severity_in(alert: NormalizedAlert) -> Severity:
    """Return the severity of `alert`.

    An adapter may know better than the vendor's word alone: which scale a number is of, or what
    to derive a missing one from. Alerts of earlier versions have only the word.
    """
    if alert.severity != "unknown":
        return alert.severity
    return severity_of(alert.vendor_severity)


def _severity(word: str) -> Callable[[Subject], str | None]:
    def find(subject: Subject) -> str | None:
        if severity_in(subject.alert) != word:
            return None
        if said := subject.alert.vendor_severity:
            return f"vendor {said[:40]}"
        return "vendor names no severity" if word == "unknown" else f"{word}, derived"

    return find


def _technique(weight: float) -> Callable[[Subject], str | None]:
    def find(subject: Subject) -> str | None:
        named = (subject.alert.technique or "").strip().upper()
        return named[:20] if _TECHNIQUES.get(named.partition(".")[0]) == weight else None

    return find


SIGNALS: Final[tuple[Signal, ...]] = (
    *(
        Signal(f"vendor.{word}", "vendor", weight, _severity(word))
        for word, weight in _SEVERITIES.items()
    ),
    *(
        Signal(f"technique.prior_{round(weight * 100):02}", "technique", weight, _technique(weight))
        for weight in sorted(set(_TECHNIQUES.values()))
    ),
)
