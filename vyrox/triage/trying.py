"""Judges a file of alerts without a service, a database or a history (`vyrox triage try`)."""

from collections.abc import Iterable, Iterator

import msgspec

from vyrox.models import ActionType, NormalizedAlert
from vyrox.triage.incidents import Grouping, Incident
from vyrox.triage.judged import Judged
from vyrox.triage.proposal import propose
from vyrox.triage.score import Band, OwnRules, judge

NOBODY = "unknown"
"""The tenant of an alert that names none."""


class _Alert(msgspec.Struct, frozen=True):
    """An alert as a file may hold it: every member is optional, and may be null."""

    id: str | None = None
    tenant_id: str | None = None
    source: str | None = None
    raw_id: str | None = None
    timestamp: float | None = None
    hostname: str | None = None
    device_id: str | None = None
    username: str | None = None
    process_name: str | None = None
    process_cmdline: str | None = None
    sha256: str | None = None
    tactic: str | None = None
    technique: str | None = None
    vendor_severity: str | None = None
    vendor_group: str | None = None


class _Delivery(msgspec.Struct, frozen=True):
    alert: _Alert
    arrive: float | None = None
    label: str | None = None
    tier: str | None = None
    incident: str | None = None


class _Story(msgspec.Struct, frozen=True):
    alerts: list[_Delivery]


class Read(msgspec.Struct, frozen=True):
    """One alert of a file, with what the file says of it where it is labelled."""

    judged: Judged
    label: str | None = None
    tier: str | None = None
    story: str | None = None


class Tried(msgspec.Struct, frozen=True):
    """The result for one alert. `incident` is where it ended, after merges."""

    id: str
    tenant_id: str
    raw_id: str
    band: Band
    score: float
    incident: str
    incident_band: Band
    explanation: list[str]
    proposed_action: ActionType | None


_SOURCES = frozenset({"crowdstrike", "sentinelone", "defender", "generic"})
_STORY = msgspec.json.Decoder(_Story)
_DELIVERY = msgspec.json.Decoder(_Delivery)
_ALERT = msgspec.json.Decoder(_Alert)


def read_line(
    line: bytes, number: int, *, masked: bool = False, own: OwnRules | None = None
) -> list[Read]:
    """Return the alerts of one line: a bare alert, a labelled one, or a story of several.

    Args:
        number: Of the line, for alerts without an id.
        masked: Without the vendor's severity, technique and tactic.
        own: Rules of the user's own.

    Raises:
        ValueError: The line is no alert.
    """
    members = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    if "alerts" in members:
        deliveries = _STORY.decode(line).alerts
    elif "alert" in members:
        deliveries = [_DELIVERY.decode(line)]
    elif members.keys() & {"process_cmdline", "raw_id", "hostname", "vendor_severity", "timestamp"}:
        deliveries = [_Delivery(_ALERT.decode(line))]
    else:
        raise ValueError("it has none of an alert's members")
    story = f"{number}" if len(deliveries) > 1 else None
    return [
        _read(each, f"{number}.{place}", story, masked, own)
        for place, each in enumerate(deliveries)
    ]


def _read(
    delivery: _Delivery, name: str, story: str | None, masked: bool, own: OwnRules | None
) -> Read:
    given = delivery.alert
    at = given.timestamp if given.timestamp is not None else delivery.arrive or 0.0
    alert = NormalizedAlert(
        id=given.id or name,
        tenant_id=given.tenant_id or NOBODY,
        source=given.source if given.source in _SOURCES else "generic",  # type: ignore[arg-type]
        raw_id=given.raw_id or name,
        timestamp=at,
        hostname=given.hostname,
        device_id=given.device_id,
        username=given.username,
        process_name=given.process_name,
        process_cmdline=given.process_cmdline,
        sha256=given.sha256,
        tactic=None if masked else given.tactic,
        technique=None if masked else given.technique,
        vendor_severity=None if masked else given.vendor_severity,
        vendor_group=given.vendor_group,
    )
    arrived_at = at if delivery.arrive is None else delivery.arrive
    judged = Judged(alert, judge(alert, own=own), arrived_at)
    label = None if story is None else f"{story}/{delivery.incident}"
    return Read(judged, delivery.label, delivery.tier, label)


def group(reads: Iterable[Read]) -> list[Incident]:
    """Put the alerts into incidents in the order of arrival; return where each one ended."""
    listed = list(reads)
    groupings: dict[str, Grouping] = {}
    numbers = [0] * len(listed)
    order = sorted(range(len(listed)), key=lambda place: listed[place].judged.arrived_at)
    for place in order:
        tenant_id = listed[place].judged.alert.tenant_id
        grouping = groupings.setdefault(tenant_id, Grouping(tenant_id))
        numbers[place], _ = grouping.add(listed[place].judged)
    ended: list[Incident] = []
    for read, number in zip(listed, numbers, strict=True):
        grouping = groupings[read.judged.alert.tenant_id]
        ended.append(grouping.incidents[grouping.find(number)])
    return ended


def results(reads: list[Read]) -> Iterator[Tried]:
    """Yield the result of each alert, in the file's order."""
    for read, incident in zip(reads, group(reads), strict=True):
        alert, verdict = read.judged.alert, read.judged.verdict
        yield Tried(
            id=alert.id,
            tenant_id=alert.tenant_id,
            raw_id=alert.raw_id,
            band=verdict.band,
            score=round(verdict.score, 1),
            incident=incident.id,
            incident_band=incident.band,
            explanation=verdict.explanation(),
            proposed_action=propose(incident).action,
        )
