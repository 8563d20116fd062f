"""All that the page of an incident shows, read in one transaction and bounded (contract 78)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.device_history import DeviceAction, history_of
from vyrox.alerts.queue import decode_alert
from vyrox.approvals.about import About, proposals_about
from vyrox.approvals.lease_rows import find_ends
from vyrox.approvals.states import OPEN
from vyrox.console.drawing import Drawing, Event, Spot, draw
from vyrox.console.marking import Form, forms_of
from vyrox.console.wording import family_means, step_words, telling
from vyrox.containment.contained import contained_of
from vyrox.edr.actions import why_unsupported
from vyrox.models import EdrVendor, NormalizedAlert, normal_host
from vyrox.store.tables import alerts, verdicts
from vyrox.tenants.freezes import frozen_since
from vyrox.triage.explaining import Group, groups, read_verdict
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.likes import Like, likes_of, suppressions_of
from vyrox.triage.rows import read_incident
from vyrox.triage.score import Band, Lowered, Verdict
from vyrox.triage.shown_incident import ShownIncident, show_incident
from vyrox.triage.story import BANDS, Seen
from vyrox.triage.suppressions import Suppression
from vyrox.triage.timeline import MAX_TEXT, AlertLine, PersonLine

MAX_READ: Final = 500
"""Alerts of an incident that its page reads, the newest; those of the reasons are read too."""

MAX_LINES: Final = 30
"""Kinds of alerts on the page, the strongest."""

MAX_CARDS: Final = 8
"""Alerts that are explained with every signal."""

MAX_CARD_BYTES: Final = 262_144
"""A larger alert is a line of the story, and is explained on its own page."""

MAX_PERSON_LINES: Final = 50
MAX_ACTIONS: Final = 20
MAX_HISTORY: Final = 300
"""The newest actions of the tenant, and the newest outcomes, that are read."""

_NOT_NAMED: Final = "host not named"
_EDR: Final[Mapping[str, EdrVendor]] = {
    "crowdstrike": "crowdstrike",
    "sentinelone": "sentinelone",
    "defender": "defender",
}

_a: Final = alerts.c
_v: Final = verdicts.c


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the story.

    Attributes:
        means: What the strongest signals mean, in words that continue a sentence.
        text: What a person did or wrote, or what was proposed; None: this is an alert.
        link: The proposal.
    """

    at: float
    last_at: float | None = None
    count: int = 1
    alert_id: str | None = None
    host: str | None = None
    user: str | None = None
    program: str | None = None
    technique: str | None = None
    band: Band = "close"
    score: float = 0.0
    means: tuple[str, ...] = ()
    verdict: str | None = None
    is_hidden: bool = False
    by: str | None = None
    text: str | None = None
    note: str | None = None
    link: str | None = None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """An alert with its verdict.

    Attributes:
        forms: The command line, with what matched.
        kill: Whether a proposal to end its process is possible.
    """

    line: AlertLine
    alert: NormalizedAlert
    groups: Sequence[Group]
    lowered: tuple[Lowered, ...]
    floor: str | None
    forms: tuple[Form, ...]
    kill: bool
    by_person: str | None
    by: str | None
    person_at: float | None


class DeviceOf(msgspec.Struct, frozen=True, kw_only=True):
    """A device of the incident.

    Attributes:
        alert_id: Of the alert that shows most there.
        can_act: Whether its vendor takes orders.
        ends_at: When its containment ends; None: it has no end, or the device is not contained.
    """

    source: str
    device_id: str
    hostname: str | None
    alert_id: str
    host: int
    can_act: bool
    is_contained: bool
    ends_at: float | None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.hostname or self.device_id


class IncidentStory(msgspec.Struct, frozen=True, kw_only=True):
    """The page of an incident.

    Attributes:
        steps: What happened and was done, in order.
        strongest: The id of the alert with the highest score.
        waiting: The proposals that may still be decided on.
        likes: What people decided on alerts like these.
        suppressions: Those that take in alerts of the incident.
    """

    shown: ShownIncident
    steps: tuple[Told, ...]
    drawing: Drawing
    cards: tuple[Card, ...]
    strongest: str | None
    devices: tuple[DeviceOf, ...]
    proposals: tuple[About, ...]
    waiting: tuple[About, ...]
    actions: tuple[DeviceAction, ...]
    likes: tuple[Like, ...]
    suppressions: tuple[Suppression, ...]
    frozen_since: float | None


def read_story(connection: Connection, key: IncidentKey, now: float) -> IncidentStory:
    """Return the story of an incident, or of the one that it was merged into.

    Raises:
        NotFoundError: There is no such incident.
    """
    shown = show_incident(connection, key, MAX_READ, MAX_LINES)
    tenant_id = shown.tenant_id
    lines = [each for each in shown.timeline.lines if isinstance(each, AlertLine)]
    people = [each for each in shown.timeline.lines if isinstance(each, PersonLine)]
    strongest = sorted(lines, key=lambda each: (BANDS.index(each.band), each.score), reverse=True)
    cards = _cards(connection, strongest[:MAX_CARDS])
    devices = _devices(connection, tenant_id, shown.number)
    hosts = {name for each in devices for name in (each.device_id, each.hostname) if name}
    found = proposals_about(connection, tenant_id, hosts, shown.number, now)
    shown_alerts = [each.alert for each in cards]
    own = [each.id for each in shown_alerts]
    actions = history_of(connection, tenant_id, hosts, own, MAX_HISTORY)[-MAX_ACTIONS:]
    events = list(_events(people[-MAX_PERSON_LINES:], found))
    return IncidentStory(
        shown=shown,
        steps=tuple(sorted([*map(_told, lines), *events], key=lambda each: each.at)),
        drawing=draw([_spot(each) for each in lines], [_event(each) for each in events]),
        cards=tuple(sorted(cards, key=lambda each: each.line.at)),
        strongest=strongest[0].alert_id if strongest else None,
        devices=devices,
        proposals=found,
        waiting=tuple(each for each in found if each.state in OPEN),
        actions=tuple(actions),
        likes=likes_of(connection, tenant_id, shown_alerts),
        suppressions=suppressions_of(connection, tenant_id, shown_alerts, now),
        frozen_since=frozen_since(connection, tenant_id),
    )


def _told(line: AlertLine) -> Told:
    families = dict.fromkeys(each.partition(".")[0] for each in line.signals)
    return Told(
        at=line.at,
        last_at=line.last_at if line.count > 1 else None,
        count=line.count,
        alert_id=line.alert_id,
        host=line.hostname,
        user=line.username,
        program=line.process_name or _first_word(line.command_line),
        technique=line.technique,
        band=line.band,
        score=line.score,
        means=tuple(family_means(each) for each in telling(families)),
        verdict=line.verdict,
        is_hidden=line.suppression is not None,
    )


def _first_word(command: str | None) -> str | None:
    words = (command or "").strip().strip('"').split(maxsplit=1)
    return words[0].rpartition("\\")[2].strip('"') or None if words else None


def _events(people: Iterable[PersonLine], proposals: Iterable[About]) -> Iterable[Told]:
    for line in people:
        yield Told(at=line.at, by=line.by, text=step_words(line.step), note=line.text)
    for each in proposals:
        where = each.hostname or each.host
        link = f"/approvals/{each.proposal_id}"
        yield Told(
            at=float(each.created_at),
            by=each.requested_by,
            text=f"proposed {_ACTIONS.get(each.action_type, each.action_type)} {where}",
            link=link,
        )
        for decided in each.decisions:
            did = "approved" if decided.decision == "approve" else "rejected"
            yield Told(
                at=decided.at,
                by=decided.approver,
                text=f"{did} {_ACTIONS.get(each.action_type, each.action_type)} {where}",
                note=decided.comment or None,
                link=link,
            )


_ACTIONS: Final = {
    "HOST_ISOLATION": "to isolate",
    "NETWORK_QUARANTINE": "to quarantine",
    "PROCESS_KILL": "to end a process on",
    "LIFT_HOST_ISOLATION": "to lift the isolation of",
    "LIFT_NETWORK_QUARANTINE": "to lift the quarantine of",
}


def _spot(line: AlertLine) -> Spot:
    return Spot(line.at, line.hostname or _NOT_NAMED, line.band, line.score, line.count)


def _event(told: Told) -> Event:
    return Event(told.at, f"{told.by} {told.text}")


def card_of(connection: Connection, alert_id: str) -> Card | None:
    """Return one alert with its verdict, if triage has judged it."""
    query = sa.select(_v.happened_at, _v.score, _v.band, _a.severity, _a.alert).join(
        alerts, _a.id == _v.alert_id
    )
    row = connection.execute(query.where(_v.alert_id == alert_id)).first()
    if row is None:
        return None
    alert = decode_alert(row.alert)
    line = AlertLine(
        at=row.happened_at,
        last_at=row.happened_at,
        count=1,
        alert_id=alert_id,
        score=row.score,
        band=row.band,
        hostname=(alert.hostname or "")[:MAX_TEXT] or None,
        username=(alert.username or "")[:MAX_TEXT] or None,
        process_name=(alert.process_name or "")[:MAX_TEXT] or None,
        technique=(alert.technique or "")[:MAX_TEXT] or None,
    )
    return next(iter(_cards(connection, [line])), None)


def _cards(connection: Connection, lines: Sequence[AlertLine]) -> list[Card]:
    line_of = {each.alert_id: each for each in lines}
    query = (
        sa.select(_a.alert, _a.verdict, _a.verdict_by, _a.verdict_at, _v.verdict.label("triage"))
        .join(verdicts, _v.alert_id == _a.id)
        .where(_a.id.in_(list(line_of)), sa.func.length(_a.alert) <= MAX_CARD_BYTES)
    )
    found = []
    for row in connection.execute(query) if lines else ():
        alert, verdict = decode_alert(row.alert), read_verdict(row.triage)
        line = line_of[alert.id]
        found.append(_card(line, alert, verdict, (row.verdict, row.verdict_by, row.verdict_at)))
    return found


def _card(
    line: AlertLine,
    alert: NormalizedAlert,
    verdict: Verdict,
    person: tuple[str | None, str | None, float | None],
) -> Card:
    vendor = _EDR.get(alert.source)
    return Card(
        line=line,
        alert=alert,
        groups=groups(verdict),
        lowered=verdict.lowered,
        floor=verdict.floor,
        forms=forms_of(alert.process_cmdline, verdict.reasons),
        kill=vendor is not None
        and bool(alert.device_id)
        and why_unsupported(vendor, "PROCESS_KILL", alert) is None,
        by_person=person[0],
        by=person[1],
        person_at=person[2],
    )


def _devices(connection: Connection, tenant_id: str, number: int) -> tuple[DeviceOf, ...]:
    incident = read_incident(connection, tenant_id, number)
    found: Collection[Seen] = () if incident is None else incident.story.devices.values()
    contained = contained_of(connection, tenant_id, [each.device_id for each in found])
    ends = find_ends(connection, tenant_id) if contained else {}
    return tuple(
        DeviceOf(
            source=each.source,
            device_id=each.device_id,
            hostname=each.hostname,
            alert_id=each.alert_id,
            host=each.host,
            can_act=each.source in _EDR,
            is_contained=(each.source, normal_host(each.device_id)) in contained
            or (each.source, each.device_id) in contained,
            ends_at=ends.get(
                (each.source, each.device_id), ends.get((each.source, normal_host(each.device_id)))
            ),
        )
        for each in sorted(found, key=lambda each: -each.strongest)
    )
