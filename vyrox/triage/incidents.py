"""Alerts that belong together become one incident. Pure: alerts and verdicts in, incidents out.

Two tenants never share an incident, and an empty value never joins anything.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from vyrox.models import NormalizedAlert
from vyrox.triage.hosts import Hosts, short_name
from vyrox.triage.score import Band, Verdict, band_of
from vyrox.triage.users import person

GAP_S: Final = 4 * 3600
MAX_AGE_S: Final = 7 * 86_400
ACROSS_S: Final = 3600
AHEAD_S: Final = 300
"""A time further ahead of the arrival than this counts as the arrival."""

MAX_HOSTS_OF_A_PERSON: Final = 5
"""An account on more hosts in a day is taken for a service's."""

BURST: Final = 4
BURST_S: Final = 300

LATERAL: Final[frozenset[str]] = frozenset(
    {"remote.ps_remoting", "remote.psexec", "remote.winrs", "remote.admin_share_use"}
)
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{1,80}")

_TACTICS: Final[dict[str, int]] = {
    "download": 1, "shell": 1, "proxy": 1, "persistence": 2, "escalation": 3, "evasion": 4,
    "defences": 4, "credentials": 5, "discovery": 6, "remote": 7, "collection": 8,
    "exfiltration": 9, "recovery": 10, "impact": 10,
}  # fmt: skip
"""The families in the order of an attack."""

STRONG: Final = 0.5
"""A family's share from which it counts as a step of the story."""


class Judged(msgspec.Struct, frozen=True):
    """An alert with its verdict and the time at which it was delivered (Unix seconds)."""

    alert: NormalizedAlert
    verdict: Verdict
    arrived_at: float
    vendor_group: str | None = None

    @property
    def at(self) -> float:
        """When it happened."""
        ahead = self.alert.timestamp > self.arrived_at + AHEAD_S
        return self.arrived_at if ahead else self.alert.timestamp


class Incident(msgspec.Struct):
    """One story: its alerts, and why they are together."""

    number: int
    tenant_id: str
    members: list[Judged] = []
    hosts: set[int] = set()
    links: list[str] = []
    first_at: float = 0.0
    last_at: float = 0.0


class Grouping:
    """Puts alerts into incidents, in the order of their arrival."""

    def __init__(self) -> None:
        self._hosts: dict[str, Hosts] = defaultdict(Hosts)
        self._incidents: dict[int, Incident] = {}
        self._moved: dict[int, int] = {}
        self._by_host: dict[tuple[str, int], set[int]] = defaultdict(set)
        self._by_group: dict[tuple[str, str, str], set[int]] = defaultdict(set)
        self._person_hosts: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
        self._next = 0

    def add(self, judged: Judged) -> int:
        """Return the number of the incident that takes the alert; see `find` for merges."""
        alert = judged.alert
        host = self._hosts[alert.tenant_id].identify(alert)
        reasons: dict[int, str] = {}
        if judged.vendor_group:
            key = (alert.tenant_id, alert.source, judged.vendor_group)
            for number in self._alive(self._by_group[key]):
                if self._near(number, judged.at, 86_400):
                    reasons[number] = "vendor_group"
        if host is not None:
            for number in self._alive(self._by_host[alert.tenant_id, host]):
                if self._near(number, judged.at, GAP_S):
                    reasons.setdefault(number, "same_host")
            for number, why in self._across(judged, host):
                reasons.setdefault(number, why)
        target = self._merged(reasons) if reasons else self._open(alert.tenant_id)
        self._join(target, judged, host, sorted(set(reasons.values())))
        return target.number

    def find(self, number: int) -> Incident:
        """Return the incident that `number` is, or was merged into."""
        while number in self._moved:
            number = self._moved[number]
        return self._incidents[number]

    def incidents(self) -> Iterable[Incident]:
        """Return all that are not merged into others."""
        return self._incidents.values()

    def _alive(self, numbers: set[int]) -> list[int]:
        return sorted({self.find(number).number for number in numbers})

    def _near(self, number: int, at: float, gap_s: float) -> bool:
        incident = self._incidents[number]
        if not incident.first_at - gap_s <= at <= incident.last_at + gap_s:
            return False
        return max(at, incident.last_at) - min(at, incident.first_at) <= MAX_AGE_S

    def _across(self, judged: Judged, host: int) -> Iterable[tuple[int, str]]:
        tenant_id = judged.alert.tenant_id
        hosts = self._hosts[tenant_id]
        own = hosts.names(host)
        who = self._linking_person(judged, host)
        named = _named_hosts(judged) - own
        for incident in list(self._incidents.values()):
            if incident.tenant_id != tenant_id or host in incident.hosts:
                continue
            if not self._near(incident.number, judged.at, ACROSS_S):
                continue
            there = {name for other in incident.hosts for name in hosts.names(other)}
            if named & there or any(_named_hosts(member) & own for member in incident.members):
                yield incident.number, "named_target"
            elif who is not None and any(
                person(member.alert.username) == who
                and (_is_lateral(member) or _is_lateral(judged))
                for member in incident.members
            ):
                yield incident.number, "same_user_lateral"

    def _linking_person(self, judged: Judged, host: int) -> str | None:
        who = person(judged.alert.username)
        if who is None:
            return None
        seen = self._person_hosts[judged.alert.tenant_id, who]
        seen[host] = judged.at
        recent = sum(at > judged.at - 86_400 for at in seen.values())
        return who if recent <= MAX_HOSTS_OF_A_PERSON else None

    def _open(self, tenant_id: str) -> Incident:
        self._next += 1
        incident = Incident(self._next, tenant_id)
        self._incidents[incident.number] = incident
        return incident

    def _merged(self, reasons: Mapping[int, str]) -> Incident:
        first, *others = sorted(reasons)
        target = self._incidents[first]
        for number in others:
            other = self._incidents.pop(number)
            self._moved[number] = first
            target.members += other.members
            target.hosts |= other.hosts
            target.links += [*other.links, reasons[number]]
            target.first_at = min(target.first_at, other.first_at)
            target.last_at = max(target.last_at, other.last_at)
        return target

    def _join(self, incident: Incident, judged: Judged, host: int | None, why: list[str]) -> None:
        incident.first_at = min(incident.first_at, judged.at) if incident.members else judged.at
        incident.last_at = max(incident.last_at, judged.at) if incident.members else judged.at
        incident.members.append(judged)
        incident.links += why
        tenant_id = judged.alert.tenant_id
        if host is not None:
            incident.hosts.add(host)
            self._by_host[tenant_id, host].add(incident.number)
        if judged.vendor_group:
            key = (tenant_id, judged.alert.source, judged.vendor_group)
            self._by_group[key].add(incident.number)


def _named_hosts(judged: Judged) -> set[str]:
    """Return what may be host names in a command that runs something elsewhere."""
    if not _is_lateral(judged):
        return set()
    text = (judged.alert.process_cmdline or "")[:4096].casefold()
    return {short_name(word.strip(".-")) for word in _WORD.findall(text)}


def _is_lateral(judged: Judged) -> bool:
    return judged.verdict.families.get("remote", 0.0) >= STRONG or any(
        reason.signal in LATERAL for reason in judged.verdict.reasons
    )


def strongest_families(incident: Incident) -> dict[str, float]:
    """Return the strongest share of each family over all members."""
    strongest: dict[str, float] = {}
    for member in incident.members:
        for family, share in member.verdict.families.items():
            strongest[family] = max(strongest.get(family, 0.0), share)
    return strongest


def score_of(incident: Incident) -> float:
    """Return the score of an incident: noisy-OR over the strongest share of each family."""
    strongest = strongest_families(incident)
    steps = {_TACTICS[f] for f, share in strongest.items() if share >= STRONG and f in _TACTICS}
    if len(steps) >= 3:
        strongest["story.tactics"] = 0.5
    if len(incident.hosts) >= 2 and strongest.get("remote", 0.0) >= STRONG:
        strongest["story.spread"] = 0.4
    if _burst(incident):
        strongest["story.discovery_burst"] = 0.6
    none = 1.0
    for share in strongest.values():
        none *= 1 - share
    return 100 * (1 - none)


def _burst(incident: Incident) -> bool:
    looks = sorted(
        (member.at, reason.signal)
        for member in incident.members
        for reason in member.verdict.reasons
        if reason.family == "discovery"
    )
    first = 0
    for last, (at, _) in enumerate(looks):
        while looks[first][0] < at - BURST_S:
            first += 1
        if len({signal for _, signal in looks[first : last + 1]}) >= BURST:
            return True
    return False


def band_of_incident(incident: Incident) -> Band:
    """Return the band: that of the score, and never below that of a member."""
    bands = {member.verdict.band for member in incident.members} | {band_of(score_of(incident))}
    return next(band for band in ("urgent", "review", "close") if band in bands)
