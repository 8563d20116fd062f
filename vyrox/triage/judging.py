"""Stores the verdicts of a batch of alerts, puts them into incidents, and ends their delivery.

All of it is one transaction. After a kill at any step, an alert has no verdict and is
still queued, or it has one verdict, an incident, and is finished.
"""

import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Draft
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.models import NormalizedAlert
from vyrox.store.rows import insert_rows
from vyrox.store.tables import alerts, verdicts
from vyrox.triage import rows
from vyrox.triage.announcement import next_due
from vyrox.triage.fingerprint import fingerprint_of
from vyrox.triage.incidents import Grouping
from vyrox.triage.judged import Judged
from vyrox.triage.loading import load
from vyrox.triage.memory import count_hits, still_hidden
from vyrox.triage.score import Verdict
from vyrox.triage.totals import count_alerts

SAMPLE: Final = 50
"""Of so many closes and suppressions, one is put before a person."""

# Made once: each batch needs them, and to make a statement costs more than to run a short one.
_IS_ONE: Final = alerts.c.id.in_(sa.bindparam("ids", expanding=True))
_WITHOUT_VERDICT: Final = (
    sa.select(alerts.c.id, alerts.c.received_at, alerts.c.verdict)
    .outerjoin(verdicts, verdicts.c.alert_id == alerts.c.id)
    .where(_IS_ONE, verdicts.c.alert_id.is_(None))
)
_FINISH: Final = (
    alerts.update()
    .where(_IS_ONE, alerts.c.finished_at.is_(None))
    .values(finished_at=sa.bindparam("now"))
)

_encoder: Final = msgspec.json.Encoder()


class Stored(msgspec.Struct, frozen=True):
    """What a batch has led to.

    Attributes:
        judged: Alerts that got a verdict now. All other alerts of the batch had one.
        due_at: When the first announcement is due, or None.
        took_s: How long the transaction took, without its commit and the wait for other containers.
        waited_s: How long each of them has waited for its verdict.
        incidents: By alert id, the number of its incident.
    """

    judged: int
    due_at: float | None
    took_s: float
    waited_s: tuple[float, ...] = ()
    incidents: Mapping[str, int] = {}


def store_verdicts(
    connection: Connection,
    tenant_id: str,
    batch: Sequence[tuple[NormalizedAlert, Verdict]],
    now: float,
) -> Stored:
    """Give each alert of `batch` that has none its verdict and incident, and finish it.

    Args:
        batch: Alerts of this tenant, with the verdicts that they get.
        now: Unix seconds.
    """
    newest = rows.lock(connection, tenant_id)
    began = time.perf_counter()
    new = still_hidden(connection, _without_verdict(connection, batch), now)
    if not new:
        return Stored(0, None, time.perf_counter() - began)
    grouping = load(connection, tenant_id, newest, new)
    placed = [(judged, *grouping.add(judged)) for judged in new]
    # After all of them: an incident may have been merged meanwhile.
    insert_rows(
        connection,
        verdicts,
        [_row(judged, grouping.find(number), host, now) for judged, number, host in placed],
    )
    count_alerts(connection, tenant_id, new)
    _finish(connection, new, now)
    count_hits(connection, [judged.verdict for judged in new], now)
    due_at = _plan(grouping, now)
    rows.save(connection, grouping)
    append(connection, _drafts(grouping), now)
    waited_s = tuple(now - judged.arrived_at for judged in new)
    numbers = {judged.alert.id: grouping.find(number) for judged, number, _ in placed}
    return Stored(len(new), due_at, time.perf_counter() - began, waited_s, numbers)


def least_of(alert: NormalizedAlert) -> NormalizedAlert:
    """Return the alert without anything that an attacker can choose, except its id and time."""
    return NormalizedAlert(
        id=alert.id,
        tenant_id=alert.tenant_id,
        source=alert.source,
        raw_id="",
        timestamp=alert.timestamp,
    )


def _without_verdict(
    connection: Connection, batch: Sequence[tuple[NormalizedAlert, Verdict]]
) -> list[Judged]:
    """Return the alerts that have a row and no verdict, in order of arrival."""
    ids = {"ids": [alert.id for alert, _ in batch]}
    stored = {row[0]: row for row in connection.execute(_WITHOUT_VERDICT, ids).all()}
    found = {
        alert.id: Judged(alert, verdict, stored[alert.id].received_at, stored[alert.id].verdict)
        for alert, verdict in batch
        if alert.id in stored
    }
    return sorted(found.values(), key=lambda each: each.arrived_at)


def _finish(connection: Connection, new: Sequence[Judged], now: float) -> None:
    connection.execute(_FINISH, {"ids": [each.alert.id for each in new], "now": now})


def _row(judged: Judged, number: int, host: int | None, now: float) -> tuple[object, ...]:
    alert, verdict = judged.alert, judged.verdict
    return (
        alert.id,
        alert.tenant_id,
        number,
        verdict.score,
        verdict.band,
        judged.at,
        now,
        host,
        fingerprint_of(alert),
        _encoder.encode(verdict),
        verdict.suppression,
        now if verdict.band == "close" and is_sampled(alert.id) else None,
        True,
    )


def is_sampled(alert_id: str) -> bool:
    """Return whether this alert is one of the sample. No sender can choose it: the id is random."""
    return int.from_bytes(sha256(alert_id.encode()).digest()[:4], "big") % SAMPLE == 0


def _plan(grouping: Grouping, now: float) -> float | None:
    """Set when each changed incident is announced; return the earliest."""
    due: list[float] = []
    for number in grouping.touched:
        incident = grouping.incidents[number]
        incident.due_at = next_due(incident, now)
        if incident.due_at is not None:
            due.append(incident.due_at)
    return min(due, default=None)


def _drafts(grouping: Grouping) -> list[Draft]:
    return [
        event(
            change.kind,
            grouping.tenant_id,
            None,
            incident=f"{grouping.tenant_id}-{change.number}",
            why=change.why,
            into=None if change.into is None else f"{grouping.tenant_id}-{change.into}",
            band=grouping.incidents[change.number].band,
        )
        for change in grouping.changes
    ]
