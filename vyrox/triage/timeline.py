"""What happened in an incident, in order: its alerts, and what people did (contract 54).

Repeats of one fingerprint are one line. Reading is bounded, however large the incident is.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.queue import decode_alert
from vyrox.models import NormalizedAlert
from vyrox.store.tables import alerts, incident_steps, verdicts
from vyrox.triage.incidents import Incident
from vyrox.triage.rebuild import decode_verdict
from vyrox.triage.score import Band, Lowered, Verdict
from vyrox.triage.story import BANDS

MAX_READ: Final = 10_000
"""Alerts of an incident that are read, the newest. Those of its reasons are read, too."""

MAX_LINES: Final = 100
"""Lines of alerts. If there are more, those with the lowest scores are left out."""

MAX_STEPS: Final = 200
"""Steps of people that are read, the newest."""

MAX_BYTES: Final = 2 * 1024 * 1024
"""Bytes of alerts that are read for their lines. One that is too large hides no smaller ones."""

MAX_TEXT: Final = 256
"""Characters of a text in a line. `vyrox alert show` has the whole text."""

_v: Final = verdicts.c
_a: Final = alerts.c
_s: Final = incident_steps.c


class AlertLine(msgspec.Struct, frozen=True, kw_only=True, tag="alert"):
    """Alerts of one fingerprint. Times are Unix seconds.

    Attributes:
        alert_id: Of the one with the highest score, whose fields are here.
        verdict: Of a person, or None.
        signals: The names of its strongest reasons.
    """

    at: float
    last_at: float
    count: int
    alert_id: str
    score: float
    band: Band
    suppression: str | None = None
    severity: str = "unknown"
    hostname: str | None = None
    username: str | None = None
    process_name: str | None = None
    command_line: str | None = None
    technique: str | None = None
    verdict: str | None = None
    signals: tuple[str, ...] = ()


class PersonLine(msgspec.Struct, frozen=True, kw_only=True, tag="person"):
    """What a person did."""

    at: float
    by: str
    step: str
    text: str | None


class Deciding(msgspec.Struct, frozen=True, kw_only=True):
    """The alert that decided the band: what lowered its score, and what kept its band up."""

    alert_id: str
    band: Band
    score: float
    lowered: tuple[Lowered, ...]
    floor: str | None
    suppression: str | None
    version: str


class Timeline(msgspec.Struct, frozen=True):
    """The lines in order of time.

    Attributes:
        unread: Older alerts that no line counts.
        left_out: Lines of alerts with the lowest scores that are not here.
    """

    lines: list[AlertLine | PersonLine]
    unread: int
    left_out: int
    deciding: Deciding | None


class _Row(NamedTuple):
    alert_id: str
    happened_at: float
    fingerprint: bytes
    score: float
    band: Band


class _Repeats(msgspec.Struct):
    """Alerts of one fingerprint."""

    first_at: float
    last_at: float
    count: int
    best: tuple[int, float, float, str]  # rank of the band, score, the earlier time, id


class _Details(msgspec.Struct, frozen=True):
    """What a line has from the row of its alert."""

    alert: NormalizedAlert
    verdict: Verdict
    severity: str
    by_person: str | None


def read_timeline(
    connection: Connection,
    incident: Incident,
    most: int | None = None,
    lines_most: int | None = None,
) -> Timeline:
    """Return the timeline of an incident that was not merged.

    Args:
        most: Alerts that are read, the newest; MAX_READ if it is not given.
        lines_most: Lines of alerts; MAX_LINES if it is not given.
    """
    found, read = _repeats(connection, incident, most or MAX_READ)
    strongest = sorted(found, key=lambda each: each.best, reverse=True)
    shown = strongest[: lines_most or MAX_LINES]
    details = _details(connection, [each.best[3] for each in shown])
    lines: list[AlertLine | PersonLine] = [_line(each, details.get(each.best[3])) for each in shown]
    lines += _steps(connection, incident)
    first = shown[0].best[3] if shown else ""
    return Timeline(
        sorted(lines, key=lambda line: line.at),
        max(incident.alerts - read, 0),
        len(found) - len(shown),
        _deciding(first, details.get(first)),
    )


def _repeats(connection: Connection, incident: Incident, most: int) -> tuple[list[_Repeats], int]:
    """Return the incident's fingerprints, and how many alerts were read."""
    columns = (_v.alert_id, _v.happened_at, _v.fingerprint, _v.score, _v.band)
    place = (incident.tenant_id, incident.number)
    newest = (
        sa.select(*columns)
        .where(_v.tenant_id == place[0], _v.incident == place[1])
        .order_by(_v.happened_at.desc(), _v.alert_id.desc())
        .limit(most)
    )
    read = {row[0]: _Row(*row) for row in connection.execute(newest)}
    signs = {sign.alert_id for sign in incident.story.signs.values()} - read.keys()
    if signs:
        # By the ids alone: with the incident too, SQLite would read all alerts of the incident.
        reasons = sa.select(*columns, _v.tenant_id, _v.incident).where(
            _v.alert_id.in_(sorted(signs))
        )
        found = connection.execute(reasons).all()
        read |= {row[0]: _Row(*row[:5]) for row in found if row[5:] == place}
    return list(_grouped(read.values())), len(read)


def _grouped(read: Iterable[_Row]) -> Iterable[_Repeats]:
    found: dict[bytes, _Repeats] = {}
    for row in read:
        best = (BANDS.index(row.band), row.score, -row.happened_at, row.alert_id)
        known = found.get(row.fingerprint)
        if known is None:
            found[row.fingerprint] = _Repeats(row.happened_at, row.happened_at, 1, best)
            continue
        known.first_at = min(known.first_at, row.happened_at)
        known.last_at = max(known.last_at, row.happened_at)
        known.count += 1
        known.best = max(known.best, best)
    return found.values()


def _details(connection: Connection, alert_ids: Sequence[str]) -> dict[str, _Details]:
    """Return what these alerts' rows have, up to MAX_BYTES."""
    sizes = sa.select(_a.id, sa.func.length(_a.alert)).where(_a.id.in_(alert_ids))
    size_of = {row[0]: row[1] for row in connection.execute(sizes)}
    wanted: list[str] = []
    size_bytes = 0
    for alert_id in alert_ids:
        size = size_of.get(alert_id, 0)
        if size_bytes + size <= MAX_BYTES:
            size_bytes += size
            wanted.append(alert_id)
    query = (
        sa.select(_a.id, _a.alert, _v.verdict, _a.severity, _a.verdict)
        .join(verdicts, _a.id == _v.alert_id)
        .where(_a.id.in_(wanted))
    )
    return {
        alert_id: _Details(decode_alert(alert), decode_verdict(verdict), severity, by_person)
        for alert_id, alert, verdict, severity, by_person in connection.execute(query)
    }


def _line(each: _Repeats, details: _Details | None) -> AlertLine:
    rank, score, _, alert_id = each.best
    line = AlertLine(
        at=each.first_at,
        last_at=each.last_at,
        count=each.count,
        alert_id=alert_id,
        score=round(score, 1),
        band=BANDS[rank],
    )
    if details is None:  # it is too large, or was just deleted
        return line
    alert, verdict = details.alert, details.verdict
    return msgspec.structs.replace(
        line,
        suppression=verdict.suppression,
        severity=details.severity,
        hostname=_text(alert.hostname),
        username=_text(alert.username),
        process_name=_text(alert.process_name),
        command_line=_text(alert.process_cmdline),
        technique=_text(alert.technique),
        verdict=details.by_person,
        signals=tuple(each.signal for each in verdict.reasons if not each.capped)[:3],
    )


def _deciding(alert_id: str, details: _Details | None) -> Deciding | None:
    if details is None:
        return None
    verdict = details.verdict
    return Deciding(
        alert_id=alert_id,
        band=verdict.band,
        score=round(verdict.score, 1),
        lowered=verdict.lowered,
        floor=verdict.floor,
        suppression=verdict.suppression,
        version=verdict.version,
    )


def _steps(connection: Connection, incident: Incident) -> list[PersonLine]:
    query = (
        sa.select(_s.at, _s.by, _s.step, _s.text)
        .where(_s.tenant_id == incident.tenant_id, _s.number == incident.number)
        .order_by(_s.at.desc(), _s.id.desc())
        .limit(MAX_STEPS)
    )
    return [
        PersonLine(at=row.at, by=row.by, step=row.step, text=row.text)
        for row in connection.execute(query)
    ]


def _text(text: str | None) -> str | None:
    return text[:MAX_TEXT] if text else None
