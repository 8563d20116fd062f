"""Alerts that belong together become one incident. Pure: alerts and verdicts in, incidents out.

A `Grouping` holds one tenant, so two tenants cannot share an incident. An incident is found by its
keys, and no key is made of an empty value. `triage.rows` loads the part of a tenant that a batch of
alerts can touch, and stores what has changed; `triage.trying` starts with nothing.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from vyrox.triage.hosts import Hosts
from vyrox.triage.judged import STRONG, Judged
from vyrox.triage.linking import DAY_S, Search, Why, keys, searches
from vyrox.triage.score import Band
from vyrox.triage.story import BANDS, Story
from vyrox.triage.users import person

MAX_AGE_S: Final = 7 * 86_400.0

MAX_HOSTS_OF_A_PERSON: Final = 5
"""An account on more hosts in a day is taken for a service's."""

MAX_MERGED: Final = 20_000
"""An incident with more alerts is not merged into another: that changes the row of each alert."""

Status = Literal["open", "acknowledged", "closed"]

Resolution = Literal[
    "malicious", "benign_expected", "false_positive", "unclear", "below_review", "merged"
]
"""How an incident was closed. The last two are not a person's."""

BENIGN: Final[frozenset[Resolution]] = frozenset({"benign_expected", "false_positive"})


class Incident(msgspec.Struct):
    """One story. Times are Unix seconds.

    Attributes:
        first_at: When its first alert happened. `last_at` is of its last one.
        alerts: How many it has.
        earlier: The number of an older incident of the same host.
        due_at: When the next announcement is due, or None.
    """

    tenant_id: str
    number: int
    opened_at: float
    first_at: float
    last_at: float
    updated_at: float
    status: Status = "closed"
    resolution: Resolution | None = "below_review"
    assignee: str | None = None
    score: float = 0.0
    band: Band = "close"
    closed_at: float | None = None
    alerts: int = 0
    story: Story = msgspec.field(default_factory=Story)
    merged_into: int | None = None
    earlier: int | None = None
    announced_band: Band | None = None
    announced_at: float | None = None
    due_at: float | None = None

    @property
    def id(self) -> str:
        """What people call it."""
        return f"{self.tenant_id}-{self.number}"

    @property
    def is_decided(self) -> bool:
        """Whether a person has closed it."""
        return self.status == "closed" and self.resolution != "below_review"


class Change(NamedTuple):
    """A step in the life of an incident, for the audit events."""

    kind: Literal["incident.opened", "incident.reopened", "incident.merged"]
    number: int
    why: str
    into: int | None = None


class Grouping:
    """Puts alerts of one tenant into incidents, in the order of their arrival.

    Attributes:
        touched: Numbers of the incidents that have changed.
        new_keys: Keys that incidents have got.
        merged: Number of an incident that was merged -> the one that took its alerts.
        seen_on: Persons that were seen, with host and time.
    """

    def __init__(self, tenant_id: str, hosts: Hosts | None = None, newest: int = 0) -> None:
        """`newest` is the highest number that was given to an incident of the tenant."""
        self.tenant_id = tenant_id
        self.hosts = hosts or Hosts()
        self.newest = newest
        self.incidents: dict[int, Incident] = {}
        self.touched: set[int] = set()
        self.new_keys: set[tuple[str, int]] = set()
        self.merged: dict[int, int] = {}
        self.seen_on: dict[tuple[str, int], float] = {}
        self.changes: list[Change] = []
        self._by_key: dict[str, set[int]] = defaultdict(set)
        self._hosts_of: dict[str, dict[int, float]] = defaultdict(dict)

    def put(self, incident: Incident, keys: Iterable[str]) -> None:
        """Take an incident that is known already."""
        self.incidents[incident.number] = incident
        for key in keys:
            self._by_key[key].add(incident.number)

    def put_key(self, key: str, number: int) -> None:
        """Take a key of an incident that is known, or too far away to be joined."""
        self._by_key[key].add(number)

    def put_person(self, who: str, host: int, last_at: float) -> None:
        """Take a host on which a person was seen."""
        self._hosts_of[who][host] = last_at

    def add(self, judged: Judged) -> tuple[int, int | None]:
        """Return the numbers of the incident that takes the alert, and of its host."""
        host = self.hosts.identify(judged.alert, judged.at)
        who = self._linking_person(judged, host)
        found: dict[int, Why] = {}
        for search in searches(judged, host, who, self.hosts):
            for number in sorted({self.find(n) for n in self._by_key.get(search.key, ())}):
                if number in self.incidents and self._is_near(number, judged, search):
                    found.setdefault(number, search.why)
        target = self._chosen(found, judged, host)
        self._join(target, judged, host, sorted(set(found.values())))
        for key in keys(judged, host, who, target.story):
            if target.number not in self._by_key[key]:
                self._by_key[key].add(target.number)
                self.new_keys.add((key, target.number))
        return target.number, host

    def find(self, number: int) -> int:
        """Return the number that `number` is, or was merged into."""
        while number in self.merged:
            number = self.merged[number]
        return number

    def merge(self, target: Incident, other: Incident, why: str) -> None:
        """Move all that `other` has to `target`."""
        self.merged[other.number] = target.number
        target.story.join(other.story, why)
        target.alerts += other.alerts
        target.first_at = min(target.first_at, other.first_at)
        target.last_at = max(target.last_at, other.last_at)
        target.assignee = target.assignee or other.assignee
        if target.status == "open" and other.status == "acknowledged":
            target.status = "acknowledged"
        other.status, other.resolution, other.due_at = "closed", "merged", None
        other.merged_into = target.number
        for numbers in self._by_key.values():
            if other.number in numbers:
                numbers.discard(other.number)
                numbers.add(target.number)
        self.touched |= {target.number, other.number}
        self.changes.append(Change("incident.merged", other.number, why, target.number))

    def _is_near(self, number: int, judged: Judged, search: Search) -> bool:
        incident = self.incidents[number]
        at, gap_s = judged.at, search.gap_s
        if incident.is_decided:
            if judged.arrived_at > (incident.closed_at or 0.0) + DAY_S:
                return False
            if search.why == "same_host":
                gap_s = DAY_S
        if not incident.first_at - gap_s <= at <= incident.last_at + gap_s:
            return False
        return max(at, incident.last_at) - min(at, incident.first_at) <= MAX_AGE_S

    def _chosen(self, found: dict[int, Why], judged: Judged, host: int | None) -> Incident:
        """Return the incident that takes the alert, after the merges that it causes."""
        undecided = [n for n in sorted(found) if not self.incidents[n].is_decided]
        if not undecided:
            if found:
                return self.incidents[max(found)]
            return self._open(judged, host)
        target = self.incidents[undecided[0]]
        for number in undecided[1:]:
            other = self.incidents[number]
            may_join = other.assignee in {None, target.assignee} or target.assignee is None
            if may_join and other.alerts <= MAX_MERGED:
                self._keep_open(target, other)
                self.merge(target, other, found[number])
        return target

    def _keep_open(self, target: Incident, other: Incident) -> None:
        """Open the older incident, which triage closed, as the one that it takes over was open.

        So the person who has acknowledged that one has it still.
        """
        if target.status == "closed" and other.status != "closed":
            target.status, target.resolution, target.closed_at = other.status, None, None
            target.opened_at = other.opened_at
            self.changes.append(Change("incident.opened", target.number, f"merged {other.id}"))

    def _open(self, judged: Judged, host: int | None) -> Incident:
        self.newest += 1
        earlier = {self.find(n) for n in self._by_key[f"host:{host}"]} if host is not None else ()
        incident = Incident(
            self.tenant_id,
            self.newest,
            opened_at=judged.arrived_at,
            first_at=judged.at,
            last_at=judged.at,
            updated_at=judged.arrived_at,
            earlier=max(earlier, default=None),
        )
        self.incidents[incident.number] = incident
        return incident

    def _join(self, incident: Incident, judged: Judged, host: int | None, why: list[Why]) -> None:
        before, strong = incident.band, _strong(incident)
        incident.story.add(judged, host, self.hosts.certain_device(judged.alert, host))
        for link in why:
            if link not in incident.story.links:
                incident.story.links.append(link)
        incident.alerts += 1
        incident.first_at = min(incident.first_at, judged.at)
        incident.last_at = max(incident.last_at, judged.at)
        incident.updated_at = judged.arrived_at
        incident.score = incident.story.score()
        incident.band = incident.story.whole_band(incident.score)
        self.touched.add(incident.number)
        self._live(incident, judged, before, strong)

    def _live(self, incident: Incident, judged: Judged, before: Band, strong: set[str]) -> None:
        """Open or re-open an incident for which the new alert is a reason."""
        if incident.status != "closed":
            return
        is_raised = BANDS.index(incident.band) > BANDS.index(before)
        if not incident.is_decided:
            if incident.band == "close":
                incident.closed_at = judged.arrived_at
                return
            kind: Literal["incident.opened", "incident.reopened"] = "incident.opened"
            why = f"band {incident.band}"
        else:
            new = _strong(incident) - strong
            is_news = judged.verdict.suppression is None and judged.verdict.band != "close"
            if not is_raised and not new and (incident.resolution in BENIGN or not is_news):
                return
            kind = "incident.reopened"
            news = ", ".join(sorted(new)[:8]) or "a new alert"
            why = f"band {incident.band}" if is_raised else news
        incident.status, incident.resolution, incident.closed_at = "open", None, None
        if kind == "incident.opened":
            incident.opened_at = judged.arrived_at
        self.changes.append(Change(kind, incident.number, why))

    def _linking_person(self, judged: Judged, host: int | None) -> str | None:
        who = person(judged.alert.username)
        if who is None or host is None:
            return None
        seen = self._hosts_of[who]
        seen[host] = max(judged.at, seen.get(host, judged.at))
        self.seen_on[who, host] = seen[host]
        recent = sum(at > judged.at - DAY_S for at in seen.values())
        return who if recent <= MAX_HOSTS_OF_A_PERSON else None


def _strong(incident: Incident) -> set[str]:
    """Return what makes an alert news for the incident if the incident did not have it."""
    story = incident.story
    return {family for family, share in story.families.items() if share >= STRONG} | set(
        story.signals
    )
