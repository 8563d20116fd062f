"""Lists alerts, and shows one: from the rows, with the delivery as Redis knows it (contract 50)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.device_history import DeviceAction, is_contained, read_history
from vyrox.alerts.entries import AlertKey
from vyrox.alerts.finding import (
    AlertFilter,
    FoundAlert,
    Place,
    find_alerts,
    found_alerts,
    is_possible_id,
    place_text,
    unknown_alert,
)
from vyrox.alerts.queue import decode_alert
from vyrox.errors import QueueUnavailableError
from vyrox.models import DeliveryState, NormalizedAlert
from vyrox.store.database import Database
from vyrox.store.tables import alerts, verdicts

MAX_LISTED: Final = 500
"""Alerts on one page."""

MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
"""Bytes of alerts, as JSON, that one page reads."""

MAX_SCANNED_PAGES: Final = 20
"""Pages of rows that are read for one page of alerts: Redis decides which of them are `taken`."""

MAX_TEXT: Final = 256
"""Characters of a text in a list. `show` has the whole text."""

IsTaken = Callable[[Sequence[AlertKey]], Awaitable[frozenset[str]]]
"""Returns the ids of those alerts that a consumer has. See `QueueEntries.taken`."""

_a: Final = alerts.c
_v: Final = verdicts.c


class ListedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert with its delivery, its verdict by a person, and what triage found.

    Attributes:
        received_at: Unix seconds. So are `finished_at` and `verdict_at`.
        dead_reason: Set if the alert is a dead letter.
        score: Of triage, as `band` and `incident` are. None if triage has not judged the alert.
    """

    id: str
    tenant_id: str
    source: str
    raw_id: str
    timestamp: float
    received_at: float
    severity: str
    vendor_severity: str | None
    hostname: str | None
    device_id: str | None
    username: str | None
    process_name: str | None
    process_cmdline: str | None
    sha256: str | None
    tactic: str | None
    technique: str | None
    vendor_group: str | None
    process_id: str | None
    process_start: float | None
    vendor_process_id: str | None
    notes: tuple[str, ...]
    delivery: DeliveryState
    finished_at: float | None
    dead_reason: str | None
    verdict: str | None
    verdict_by: str | None
    verdict_at: float | None
    verdict_note: str | None
    score: float | None
    band: str | None
    incident: int | None


class AlertPage(msgspec.Struct, frozen=True):
    """Alerts, newest first. `before` returns the next page; None: this is the last one."""

    alerts: list[ListedAlert]
    before: str | None


class ShownAlert(ListedAlert, frozen=True, kw_only=True):
    """An alert with everything that is known of it.

    Attributes:
        triage: The verdict of triage with every reason, as JSON.
        is_contained: Vyrox has contained the device, or may have.
        actions: What Vyrox was asked to do on the device, or for the alert.
        raw: The body as received; bytes that are not UTF-8 are escaped. Only if it was asked for.
    """

    triage: msgspec.Raw | None
    is_contained: bool
    actions: list[DeviceAction]
    raw: str | msgspec.UnsetType = msgspec.UNSET


async def list_alerts(
    database: Database, is_taken: IsTaken, wanted: AlertFilter, before: Place | None, limit: int
) -> AlertPage:
    """Return the newest alerts that `wanted` accepts, at most `limit` of them, from before a place.

    A page may be shorter and still have a next page: if the alerts are large, or few match.

    Raises:
        DatabaseUnavailableError: The database is unavailable.
        QueueUnavailableError: Redis is, and `wanted` needs it. Otherwise the delivery of alerts
            that are not finished is then `unfinished`.
    """
    is_redis_needed = wanted.delivery in ("queued", "taken")
    page_size = MAX_LISTED if is_redis_needed else limit + 1
    chosen: dict[str, DeliveryState] = {}
    size_bytes = 0
    has_more = True
    for _ in range(MAX_SCANNED_PAGES):
        found = await database.read(find_alerts, wanted, before, page_size)
        states = await delivery_states(is_taken, found, is_redis_needed=is_redis_needed)
        for row in found:
            if not is_redis_needed or states[row.id] == wanted.delivery:
                size_bytes += row.size_bytes
                if len(chosen) == limit or (chosen and size_bytes > MAX_PAGE_BYTES):
                    return await _page(database, chosen, before)
                chosen[row.id] = states[row.id]
            before = (row.received_at, row.id)
        if len(found) < page_size:
            has_more = False
            break
    return await _page(database, chosen, before if has_more else None)


async def _page(
    database: Database, chosen: dict[str, DeliveryState], before: Place | None
) -> AlertPage:
    listed = [shortened(each) for each in await database.read(read_alerts, chosen)]
    return AlertPage(listed, None if before is None else place_text(before))


async def delivery_states(
    is_taken: IsTaken, found: Sequence[FoundAlert], *, is_redis_needed: bool = False
) -> dict[str, DeliveryState]:
    """Return the delivery of each alert, by its id.

    Raises:
        QueueUnavailableError: Redis is unavailable, and `is_redis_needed`.
    """
    states = {row.id: delivery_from_row(row) for row in found if row.is_finished}
    open_rows = [row for row in found if not row.is_finished]
    taken: frozenset[str] | None = frozenset()
    if open_rows:
        try:
            taken = await is_taken([(row.tenant_id, row.id) for row in open_rows])
        except QueueUnavailableError:
            if is_redis_needed:
                raise
            taken = None
    for row in open_rows:
        if taken is None:
            states[row.id] = "unfinished"
        else:
            states[row.id] = "taken" if row.id in taken else "queued"
    return states


def delivery_from_row(row: FoundAlert) -> DeliveryState:
    """Return the delivery as the row alone shows it."""
    if not row.is_finished:
        return "unfinished"
    return "dead" if row.is_dead else "done"


def read_alerts(connection: Connection, states: dict[str, DeliveryState]) -> list[ListedAlert]:
    """Return the alerts with these ids that still exist, whole, in the order of `states`."""
    query = _details().where(_a.id.in_(list(states)))
    rows = {row.id: row for row in connection.execute(query)}
    return [
        ListedAlert(**_members(rows[alert_id], delivery))
        for alert_id, delivery in states.items()
        if alert_id in rows
    ]


async def show_alert(
    database: Database,
    is_taken: IsTaken,
    tenant_id: str | None,
    alert_id: str,
    *,
    with_raw: bool = False,
) -> ShownAlert:
    """Return an alert with everything that is known of it.

    Args:
        tenant_id: The alert must be this tenant's. None: of any tenant.

    Raises:
        NotFoundError: There is no such alert.
        DatabaseUnavailableError: The database is unavailable.
    """
    found = await database.read(_find, tenant_id, alert_id)
    states = await delivery_states(is_taken, [found])
    return await database.read(_show, alert_id, states[found.id], with_raw)


def _find(connection: Connection, tenant_id: str | None, alert_id: str) -> FoundAlert:
    query = found_alerts(AlertFilter(tenant_id)).where(_a.id == alert_id)
    row = connection.execute(query).first() if is_possible_id(alert_id) else None
    if row is None:
        raise unknown_alert(alert_id)
    return FoundAlert(*row)


def _show(
    connection: Connection, alert_id: str, delivery: DeliveryState, with_raw: bool
) -> ShownAlert:
    row = connection.execute(_details(_a.raw, _v.verdict).where(_a.id == alert_id)).one_or_none()
    if row is None:  # retention has just deleted it
        raise unknown_alert(alert_id)
    alert = decode_alert(row.alert)
    return ShownAlert(
        **_members(row, delivery),
        triage=None if row.verdict_1 is None else msgspec.Raw(row.verdict_1),
        is_contained=is_contained(connection, alert),
        actions=read_history(connection, alert),
        raw=row.raw.decode("utf-8", "backslashreplace") if with_raw else msgspec.UNSET,
    )


def _details(*more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    joined = alerts.outerjoin(verdicts, _v.alert_id == _a.id)
    columns = [
        _a.id,
        _a.alert,
        _a.received_at,
        _a.severity,
        _a.finished_at,
        _a.dead_reason,
        _a.verdict,
        _a.verdict_by,
        _a.verdict_at,
        _a.verdict_note,
        _v.score,
        _v.band,
        _v.incident,
    ]
    return sa.select(*columns, *more).select_from(joined)


def _members(row: sa.Row[Any], delivery: DeliveryState) -> dict[str, Any]:
    alert: NormalizedAlert = decode_alert(row.alert)
    return {
        **msgspec.structs.asdict(alert),
        "severity": row.severity,  # alerts of earlier versions have it in the row only
        "received_at": row.received_at,
        "delivery": delivery,
        "finished_at": row.finished_at,
        "dead_reason": row.dead_reason,
        "verdict": row.verdict,
        "verdict_by": row.verdict_by,
        "verdict_at": row.verdict_at,
        "verdict_note": row.verdict_note,
        "score": row.score,
        "band": row.band,
        "incident": row.incident,
    }


def shortened(alert: ListedAlert) -> ListedAlert:
    """Return the alert with each text shortened to MAX_TEXT."""
    return msgspec.structs.replace(
        alert,
        notes=tuple(note[:MAX_TEXT] for note in alert.notes[:MAX_TEXT]),
        **{
            name: value[:MAX_TEXT]
            for name, value in msgspec.structs.asdict(alert).items()
            if isinstance(value, str)
        },
    )
