"""Why an alert has its verdict, and which alerts a suppression has hidden: for people."""

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import is_possible_id, unknown_alert
from vyrox.alerts.queue import decode_alert
from vyrox.errors import NotFoundError
from vyrox.notify.ocsf import AlertFinding
from vyrox.store.tables import alerts, verdicts
from vyrox.triage import suppressions
from vyrox.triage.score import Band, Lowered, Reason, Verdict
from vyrox.triage.suppressions import Suppression

MAX_COMMAND: Final = 1024
MAX_TEXT: Final = 256

_verdict: Final = msgspec.json.Decoder(Verdict)
_a: Final = alerts.c
_v: Final = verdicts.c


class Group(msgspec.Struct, frozen=True):
    """A family of the verdict. `share` is after mitigations; capped reasons add little to it."""

    family: str
    share: float
    reasons: list[Reason]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with all that led to it. Times are Unix seconds.

    Attributes:
        own_band: The band without the suppression.
        groups: The strongest first.
        lowered: The mitigations that applied.
        floor: Why the band is not lower.
        rules: The version of the rules.
        verdict_by_person: What a person has decided, or None.
    """

    id: str
    tenant_id: str
    incident: str
    judged_at: float
    host: str | None
    user: str | None
    command: str | None
    score: float
    band: Band
    own_band: Band
    groups: list[Group]
    lowered: tuple[Lowered, ...]
    floor: str | None
    suppression: Suppression | None
    rules: str
    is_sampled: bool
    verdict_by_person: str | None


class Hidden(msgspec.Struct, frozen=True):
    """An alert that a suppression has hidden. `at` is when it was received, in Unix seconds."""

    id: str
    tenant_id: str
    at: float
    score: float
    own_band: Band
    host: str | None
    user: str | None
    command: str | None


def explain(connection: Connection, alert_id: str) -> Explained:
    """Return why an alert has its verdict.

    Raises:
        NotFoundError: There is no such alert, or it has no verdict yet.
    """
    query = (
        sa.select(
            _a.alert,
            _a.verdict.label("by_person"),
            _v.verdict,
            _v.incident,
            _v.judged_at,
            _v.sampled_at,
        )
        .outerjoin(verdicts, _v.alert_id == _a.id)
        .where(_a.id == alert_id)
    )
    row = connection.execute(query).one_or_none() if is_possible_id(alert_id) else None
    if row is None:
        raise unknown_alert(alert_id)
    if row.verdict is None:
        raise NotFoundError(f"triage has not judged alert {alert_id} yet")
    alert, verdict = decode_alert(row.alert), _verdict.decode(row.verdict)
    hidden_by = verdict.suppression
    return Explained(
        id=alert.id,
        tenant_id=alert.tenant_id,
        incident=f"{alert.tenant_id}-{row.incident}",
        judged_at=row.judged_at,
        host=_bounded(alert.hostname or alert.device_id),
        user=_bounded(alert.username),
        command=_bounded(alert.process_cmdline, MAX_COMMAND),
        score=verdict.score,
        band=verdict.band,
        own_band=verdict.own_band,
        groups=groups(verdict),
        lowered=verdict.lowered,
        floor=verdict.floor,
        suppression=None
        if hidden_by is None
        else suppressions.find(connection, alert.tenant_id, hidden_by),
        rules=verdict.version,
        is_sampled=row.sampled_at is not None,
        verdict_by_person=row.by_person,
    )


def groups(verdict: Verdict) -> list[Group]:
    """Return the families of a verdict, the strongest first, with their reasons by weight."""
    found: dict[str, list[Reason]] = {}
    for reason in verdict.reasons:
        found.setdefault(reason.family, []).append(reason)
    own = [
        Group(
            family,
            verdict.families.get(family, 0.0),
            sorted(reasons, key=lambda each: -each.weight),
        )
        for family, reasons in found.items()
    ]
    return sorted(own, key=lambda each: (-each.share, each.family))


def read_verdict(encoded: msgspec.Raw) -> Verdict:
    """Return the verdict that a row holds."""
    return _verdict.decode(encoded)


def alert_finding(connection: Connection, alert_id: str) -> AlertFinding:
    """Return the alert, with its verdict if it has one, as what is written in OCSF.

    Raises:
        NotFoundError: There is no such alert.
    """
    query = (
        sa.select(_a.alert, _a.received_at, _v.verdict, _v.incident)
        .outerjoin(verdicts, _v.alert_id == _a.id)
        .where(_a.id == alert_id)
    )
    row = connection.execute(query).one_or_none() if is_possible_id(alert_id) else None
    if row is None:
        raise unknown_alert(alert_id)
    alert = decode_alert(row.alert)
    if row.verdict is None:
        return AlertFinding(alert=alert, received_at=row.received_at)
    verdict = _verdict.decode(row.verdict)
    reasons = sorted(verdict.reasons, key=lambda each: -each.weight)
    return AlertFinding(
        alert=alert,
        received_at=row.received_at,
        score=verdict.score,
        band=verdict.band,
        reasons=tuple(
            f"{each.signal} {each.weight:.2f} \u201c{each.text}\u201d" for each in reasons
        ),
        incident=row.incident,
    )


def list_hidden(
    connection: Connection, tenant_id: str | None, suppression_id: str, limit: int
) -> list[Hidden]:
    """Return the alerts that a suppression has hidden, the newest first.

    Raises:
        NotFoundError: The tenant has no such suppression; if None, no tenant has.
    """
    suppression = suppressions.find(connection, tenant_id, suppression_id)
    query = (
        sa.select(_a.alert, _a.received_at, _v.verdict)
        .join(verdicts, _v.alert_id == _a.id)
        .where(_a.tenant_id == suppression.tenant_id, _v.suppression == suppression.id)
        .order_by(_a.received_at.desc(), _a.id.desc())
        .limit(min(limit, suppression.hits))
    )
    found: list[Hidden] = []
    for encoded, at, verdict_json in connection.execute(query):
        alert, verdict = decode_alert(encoded), _verdict.decode(verdict_json)
        found.append(
            Hidden(
                alert.id,
                alert.tenant_id,
                at,
                verdict.score,
                verdict.own_band,
                _bounded(alert.hostname or alert.device_id),
                _bounded(alert.username),
                _bounded(alert.process_cmdline),
            )
        )
    return found


def _bounded(text: str | None, limit: int = MAX_TEXT) -> str | None:
    return None if text is None else text[:limit]
