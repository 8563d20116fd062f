"""From an alert to a verdict: noisy-OR over families, with every reason kept.

    score = 100 * (1 - product over families of (1 - p))

One strong family is enough, weak ones add up, and nothing passes 100.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from vyrox import log
from vyrox.models import NormalizedAlert
from vyrox.triage import catalogue
from vyrox.triage.mitigations import MITIGATIONS
from vyrox.triage.rules import BY_WEIGHT, EXHAUSTED, VERSION
from vyrox.triage.signal import MAX_SEARCHED, Family, Mitigation, Signal, Subject
from vyrox.triage.vendor import severity_in
from vyrox.triage.views import views

URGENT: Final = 85.0
REVIEW: Final = 50.0

MORE: Final = 0.05
"""What further signals of one family may add to its strongest."""

ERROR_SIGNAL: Final = "triage.error"

Band = Literal["urgent", "review", "close"]


class OwnRules(Protocol):
    """Rules of the user's own, beside Vyrox's.

    Attributes:
        version: Is stored with each verdict, after that of Vyrox's rules.
    """

    version: str

    def found(self, subject: Subject) -> list[tuple[Signal, str]]:
        """Return the signals of the rules that match, each with what matched."""
        ...


class Reason(msgspec.Struct, frozen=True):
    """One signal that was found.

    Attributes:
        text: What matched.
        capped: A stronger signal of the same family already counts.
    """

    signal: str
    family: str
    weight: float
    text: str
    capped: bool = False


class Lowered(msgspec.Struct, frozen=True):
    """A mitigation that applied."""

    mitigation: str
    families: tuple[str, ...]
    factor: float
    text: str


class Verdict(msgspec.Struct, frozen=True):
    """The judgement of one alert.

    Attributes:
        score: 0 to 100.
        families: The share of each family after mitigations, 0 to 1.
        floor: Why the band is not lower than `review`, or None.
        suppression: The id of the one that lowered the band to `close`, or None.
    """

    score: float
    band: Band
    reasons: tuple[Reason, ...] = ()
    lowered: tuple[Lowered, ...] = ()
    families: Mapping[str, float] = {}
    floor: str | None = None
    version: str = VERSION
    suppression: str | None = None

    @property
    def own_band(self) -> Band:
        """The band without the suppression."""
        if self.suppression is None:
            return self.band
        band = band_of(self.score)
        return "review" if band == "close" and self.floor is not None else band

    def shown_again(self) -> "Verdict":
        """Return the verdict without its suppression."""
        return msgspec.structs.replace(self, band=self.own_band, suppression=None)

    def explanation(self) -> list[str]:
        """Return the reasons as texts, the strongest first; never empty."""
        lines = [f"score {self.score:.0f}, band {self.band}, rules {self.version}"]
        if self.suppression is not None:
            lines.append(f"hidden by suppression {self.suppression}: the band was {self.own_band}")
        for reason in self.reasons:
            capped = " (counted with a stronger signal of its family)" if reason.capped else ""
            lines.append(f"{reason.signal} {reason.weight:.2f} “{reason.text}”{capped}")
        for each in self.lowered:
            families = ", ".join(each.families)
            lines.append(f"{each.mitigation} x{each.factor:.2f} on {families}: “{each.text}”")
        if self.floor is not None:
            lines.append(self.floor)
        if not self.reasons:
            lines.append("no signal")
        return lines


def judge(
    alert: NormalizedAlert,
    *,
    disabled: Iterable[str] = (),
    signals: Sequence[Signal] = BY_WEIGHT,
    mitigations: Sequence[Mitigation] = MITIGATIONS,
    own: OwnRules | None = None,
) -> Verdict:
    """Return the verdict on `alert`, whatever it holds; a rule that fails makes it `review`.

    Args:
        disabled: Names of signals that the tenant has switched off.
        own: Rules of the user's own.
    """
    verdict = _judged(alert, frozenset(disabled), signals, mitigations, own)
    if own is None:
        return verdict
    return msgspec.structs.replace(verdict, version=f"{VERSION}+{own.version}")


def _judged(
    alert: NormalizedAlert,
    off: frozenset[str],
    signals: Sequence[Signal],
    mitigations: Sequence[Mitigation],
    own: OwnRules | None,
) -> Verdict:
    try:
        forms = views(alert.process_cmdline)
        subject = Subject(alert, forms, catalogue.present(forms))
        possible = catalogue.index().possible(subject)
    except Exception:  # noqa: BLE001  (logged; the alert must get a verdict)
        log.event("triage.failed", logging.ERROR, tenant=alert.tenant_id, alert_id=alert.id)
        return with_error("the command line could not be read")
    found: list[tuple[Signal, str]] = []
    errors: list[str] = []
    for signal in signals:
        if signal.name in off or (signal.is_indexed and signal.name not in possible):
            continue
        try:
            text = signal.find(subject)
        except Exception:  # noqa: BLE001  (logged; the other signals still count)
            log.event("triage.failed", logging.ERROR, signal=signal.name, alert_id=alert.id)
            errors.append(signal.name)
            continue
        if text is not None:
            found.append((signal, text))
    if own is not None:
        found += _found_by(own, subject, off, errors)
    if subject.work.is_exhausted:
        found.append(
            (EXHAUSTED, f"patterns read {MAX_SEARCHED} characters; the rest was not tried")
        )
    return _weigh(subject, found, mitigations, errors)


def _found_by(
    own: OwnRules, subject: Subject, off: frozenset[str], errors: list[str]
) -> list[tuple[Signal, str]]:
    try:
        return [pair for pair in own.found(subject) if pair[0].name not in off]
    except Exception:  # noqa: BLE001  (logged; the other signals still count)
        log.event("triage.failed", logging.ERROR, signal="own", alert_id=subject.alert.id)
        errors.append("a rule of the user's own")
        return []


def _weigh(
    subject: Subject,
    found: Sequence[tuple[Signal, str]],
    mitigations: Sequence[Mitigation],
    errors: Sequence[str],
) -> Verdict:
    by_family: dict[Family, list[tuple[Signal, str]]] = {}
    for each in sorted(found, key=lambda pair: (-pair[0].weight, pair[0].name)):
        by_family.setdefault(each[0].family, []).append(each)
    shares = {family: _share([s.weight for s, _ in own]) for family, own in by_family.items()}
    failed = list(errors)
    lowered = _lower(subject, shares, mitigations, failed)
    score = 100 * _noisy_or(shares.values())
    reasons = [
        Reason(signal.name, family, signal.weight, text, capped=place > 0)
        for family, own in sorted(by_family.items(), key=lambda item: -shares[item[0]])
        for place, (signal, text) in enumerate(own)
    ]
    reasons += [Reason(ERROR_SIGNAL, "triage", 0.0, f"{name} failed") for name in failed]
    floor = _floor(subject, failed)
    band = band_of(score)
    if band == "close" and floor is not None:
        band = "review"
    else:
        floor = floor if failed else None
    families = {str(family): share for family, share in shares.items()}
    return Verdict(score, band, tuple(reasons), tuple(lowered), families, floor)


def _lower(
    subject: Subject,
    shares: dict[Family, float],
    mitigations: Sequence[Mitigation],
    errors: list[str],
) -> list[Lowered]:
    """Lower the share of each family by the strongest mitigation that applies to it.

    Only by one: an attacker writes the command line, and so its words of ordinary work. Several of
    them together must not close what one of them leaves in review.
    """
    applied: dict[Family, tuple[Mitigation, str]] = {}
    for mitigation in sorted(mitigations, key=lambda each: each.factor):
        touched = mitigation.families & shares.keys() - applied.keys()
        text = _found_sign(mitigation, subject, errors) if touched else None
        if text is not None:
            applied.update(dict.fromkeys(touched, (mitigation, text)))
    lowered: dict[str, Lowered] = {}
    for family, (mitigation, text) in sorted(applied.items()):
        shares[family] = _with_odds(shares[family], mitigation.factor)
        name, known = mitigation.name, lowered.get(mitigation.name)
        families = (*(known.families if known else ()), str(family))
        lowered[name] = Lowered(name, families, mitigation.factor, text)
    return list(lowered.values())


def _found_sign(mitigation: Mitigation, subject: Subject, errors: list[str]) -> str | None:
    try:
        return mitigation.find(subject)
    except Exception:  # noqa: BLE001  (logged; what failed excuses nothing)
        log.event("triage.failed", logging.ERROR, signal=mitigation.name, alert_id=subject.alert.id)
        errors.append(mitigation.name)
        return None


def band_of(score: float) -> Band:
    """Return the band of a score."""
    return "urgent" if score >= URGENT else "review" if score >= REVIEW else "close"


def _share(weights: Sequence[float]) -> float:
    first, *others = weights
    return min(0.99, first + min(MORE, 0.1 * sum(others)) * (1 - first))


def _with_odds(share: float, factor: float) -> float:
    odds = share / (1 - share) * factor
    return odds / (1 + odds)


def _noisy_or(shares: Iterable[float]) -> float:
    none = 1.0
    for share in shares:
        none *= 1 - share
    return 1 - none


def _floor(subject: Subject, errors: Sequence[str]) -> str | None:
    """Return why this alert is never below `review`: it is not for Vyrox to close."""
    if errors:
        return "a rule failed, so a person decides"
    severity = severity_in(subject.alert)
    if severity in {"critical", "high"}:
        return f"the severity is {severity}, so a person decides"
    if not subject.alert.process_cmdline and severity not in {"low", "info"}:
        return "there is neither a command line nor a low severity, so a person decides"
    if "truncated" in subject.views.marks or subject.work.is_exhausted:
        return "the command line was not read to its end, so a person decides"
    return None


def with_error(why: str) -> Verdict:
    """Return the verdict on an alert that could not be judged."""
    reason = Reason(ERROR_SIGNAL, "triage", 0.0, why)
    return Verdict(0.0, "review", (reason,), floor="a rule failed, so a person decides")
