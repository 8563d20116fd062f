"""What an incident keeps of its alerts: enough to score it, explain it and propose an action.

Everything is bounded, so that a storm of alerts does not make an incident larger.
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from vyrox.models import NormalizedAlert
from vyrox.triage.judged import STRONG, Judged
from vyrox.triage.score import Band, Verdict, band_of

T = TypeVar("T")

MAX_KEPT: Final = 32
"""Hosts, names, users, devices and links that an incident keeps of each kind."""

MAX_SIGNALS: Final = 256
"""Strong signals that an incident keeps."""

MAX_NAMED: Final = 256
"""Words of its commands that an incident keeps as names of other hosts."""

MAX_LOOKS: Final = 64
"""Discovery signals that an incident keeps."""

MAX_TEXT: Final = 160

BURST: Final = 4
BURST_S: Final = 300

LOOK_S: Final = 60
"""Repeats of a discovery signal on a host within the same minute are kept once."""

TACTICS: Final[dict[str, int]] = {
    "download": 1, "shell": 1, "proxy": 1, "persistence": 2, "escalation": 3, "evasion": 4,
    "defences": 4, "credentials": 5, "discovery": 6, "remote": 7, "collection": 8,
    "exfiltration": 9, "recovery": 10, "impact": 10,
}  # fmt: skip
"""The families in the order of an attack."""

BANDS: Final[tuple[Band, ...]] = ("close", "review", "urgent")
"""From the lowest to the highest."""


class Sign(msgspec.Struct, frozen=True):
    """The strongest signal of a family, and the alert that has it."""

    signal: str
    weight: float
    text: str
    alert_id: str


class Seen(msgspec.Struct, frozen=True):
    """A device of the incident.

    Attributes:
        device_id: The vendor's own identifier.
        families: The strongest share of each family on this device.
        alert_id: Of the alert that carries the strongest of them; `raw_id` is the vendor's id.
    """

    source: str
    device_id: str
    hostname: str | None
    host: int
    families: dict[str, float]
    alert_id: str
    raw_id: str

    @property
    def strongest(self) -> float:
        """The share of its strongest family."""
        return max(self.families.values(), default=0.0)


class Story(msgspec.Struct):
    """What an incident keeps of its alerts.

    Attributes:
        families: The strongest share of each family over all alerts, 0 to 1.
        loose: The families of alerts whose device is not certain, or not kept.
        signals: The strong signals of its alerts.
        named: What its commands name as other hosts.
        links: Why alerts and incidents are together.
        looks: Of each host and discovery signal the latest time in a minute, the newest of them.
        has_burst: There was a burst of discovery. It stays when `looks` no longer shows it.
        band: The highest band of an alert.
        announced: A digest of what was announced last.
    """

    families: dict[str, float] = {}
    loose: dict[str, float] = {}
    signals: list[str] = []
    named: list[str] = []
    signs: dict[str, Sign] = {}
    hosts: list[int] = []
    names: list[str] = []
    users: list[str] = []
    devices: dict[str, Seen] = {}
    links: list[str] = []
    looks: list[tuple[float, int, str]] = []
    has_burst: bool = False
    band: Band = "close"
    announced: str = ""

    def add(self, judged: Judged, host: int | None, device_id: str | None) -> None:
        """Add an alert. A suppressed one is counted by the incident, and adds no family.

        Args:
            host: Its host, or None if that is not certain.
            device_id: The device of that host at the alert's vendor, or None.
        """
        alert, verdict = judged.alert, judged.verdict
        if host is not None:
            _keep(self.hosts, host)
        _keep(self.names, (alert.hostname or "")[:MAX_TEXT])
        _keep(self.users, (alert.username or "")[:MAX_TEXT])
        if verdict.suppression is not None:
            return
        self.band = max(self.band, verdict.band, key=BANDS.index)
        _keep_all(self.signals, sorted(strong_signals(verdict)), MAX_SIGNALS)
        for family, share in verdict.families.items():
            if share > self.families.get(family, -1.0):
                self.families[family] = share
                self._sign(judged, family)
        if host is None or device_id is None:
            _raise(self.loose, verdict.families)
        else:
            self._see(alert, verdict, host, device_id)
        for reason in verdict.reasons:
            if reason.family == "discovery":
                self._look(judged.at, host or 0, reason.signal)

    def join(self, other: "Story", why: str) -> None:
        """Add all of another story."""
        for family, share in other.families.items():
            if share > self.families.get(family, -1.0):
                self.families[family] = share
                if family in other.signs:
                    self.signs[family] = other.signs[family]
        _raise(self.loose, other.loose)
        _keep_all(self.hosts, other.hosts)
        _keep_all(self.names, other.names)
        _keep_all(self.users, other.users)
        _keep_all(self.links, [*other.links, why])
        _keep_all(self.signals, other.signals, MAX_SIGNALS)
        _keep_all(self.named, other.named, MAX_NAMED)
        for key, seen in other.devices.items():
            if key in self.devices:
                _raise(self.devices[key].families, seen.families)
            else:
                self._put(key, seen)
        self.has_burst |= other.has_burst
        for look in other.looks:
            self._look(*look)
        self.band = max(self.band, other.band, key=BANDS.index)

    def keeps_named(self, name: str) -> bool:
        """Keep the name of another host, if there is room; return whether it is kept."""
        _keep(self.named, name, MAX_NAMED)
        return name in self.named

    def names_by_weight(self) -> list[str]:
        """Return the host names, those of the devices that show most first."""
        found = sorted(self.devices.values(), key=lambda seen: -seen.strongest)
        names = (*(seen.hostname for seen in found if seen.hostname), *self.names)
        return list(dict.fromkeys(names))[:MAX_KEPT]

    def own_signals(self) -> dict[str, float]:
        """Return the signals that only several alerts together make, with their weights."""
        own: dict[str, float] = {}
        steps = {
            TACTICS[f] for f, share in self.families.items() if share >= STRONG and f in TACTICS
        }
        if len(steps) >= 3:
            own["story.tactics"] = 0.5
        if len(self.hosts) >= 2 and self.families.get("remote", 0.0) >= STRONG:
            own["story.spread"] = 0.4
        if self.has_burst:
            own["story.discovery_burst"] = 0.6
        return own

    def score(self) -> float:
        """Return the score: noisy-OR over families and the story's own signals, 0 to 100."""
        return score_of({**self.families, **self.own_signals()})

    def whole_band(self, score: float) -> Band:
        """Return the band: that of the score, and never below that of an alert."""
        return max(self.band, band_of(score), key=BANDS.index)

    def _sign(self, judged: Judged, family: str) -> None:
        for reason in judged.verdict.reasons:
            if reason.family == family:
                text = reason.text[:MAX_TEXT]
                self.signs[family] = Sign(reason.signal, reason.weight, text, judged.alert.id)
                return

    def _see(self, alert: NormalizedAlert, verdict: Verdict, host: int, device_id: str) -> None:
        key = f"{alert.source}:{device_id}"
        known = self.devices.get(key)
        if known is None:
            families = dict(verdict.families)
            name = None if alert.hostname is None else alert.hostname[:MAX_TEXT]
            raw_id = alert.raw_id[:MAX_TEXT]
            seen = Seen(alert.source, device_id, name, host, families, alert.id, raw_id)
            self._put(key, seen)
            return
        if max(verdict.families.values(), default=0.0) > known.strongest:
            known = msgspec.structs.replace(
                known, alert_id=alert.id, raw_id=alert.raw_id[:MAX_TEXT]
            )
        _raise(known.families, verdict.families)
        self.devices[key] = known

    def _put(self, key: str, seen: Seen) -> None:
        """Keep a new device. Of too many, the latest of those that show least is not kept."""
        self.devices[key] = seen
        if len(self.devices) > MAX_KEPT:
            least = min(reversed(self.devices), key=lambda each: self.devices[each].strongest)
            _raise(self.loose, self.devices.pop(least).families)

    def _look(self, at: float, host: int, signal: str) -> None:
        place = (at // LOOK_S, host, signal)
        same = [look for look in self.looks if (look[0] // LOOK_S, *look[1:]) == place]
        kept = [look for look in self.looks if look not in same]
        latest = max([at, *(look[0] for look in same)])
        self.looks = sorted([*kept, (latest, host, signal)])[-MAX_LOOKS:]
        self.has_burst = self.has_burst or self._is_burst(host)

    def _is_burst(self, host: int) -> bool:
        looks = [(at, signal) for at, each, signal in self.looks if each == host]
        first = 0
        for last, (at, _) in enumerate(looks):
            while looks[first][0] < at - BURST_S:
                first += 1
            if len({signal for _, signal in looks[first : last + 1]}) >= BURST:
                return True
        return False


def score_of(shares: Mapping[str, float]) -> float:
    """Return the noisy-OR of these shares, 0 to 100."""
    none = 1.0
    for share in shares.values():
        none *= 1 - share
    return 100 * (1 - none)


def strong_signals(verdict: Verdict) -> set[str]:
    """Return the strong signals of behaviour of an alert that is not to be closed."""
    return {
        reason.signal
        for reason in (verdict.reasons if verdict.band != "close" else ())
        if reason.weight >= STRONG and reason.family not in {"vendor", "technique"}
    }


def _keep(kept: list[T], value: T, limit: int = MAX_KEPT) -> None:
    if value and value not in kept and len(kept) < limit:
        kept.append(value)


def _keep_all(kept: list[T], values: Iterable[T], limit: int = MAX_KEPT) -> None:
    for value in values:
        _keep(kept, value, limit)


def _raise(shares: dict[str, float], others: Mapping[str, float]) -> None:
    for family, share in others.items():
        shares[family] = max(shares.get(family, 0.0), share)
