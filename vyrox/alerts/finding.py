"""Finds the rows of alerts that a list, or a person, asks for (contract 50)."""

import math
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.errors import InvalidRequestError, NotFoundError
from vyrox.models import DeliveryState, PersonVerdict, Severity
from vyrox.store.tables import alerts

MAX_ID: Final = 128

Place = tuple[float, str]
"""`received_at` and id of a row: rows are in this order."""

_MAX_PLACE: Final = 256

_a: Final = alerts.c

# Literally the condition of the index `alerts_severe_received`, so that both databases use it.
_IS_SEVERE: Final = sa.text("severity IN ('critical', 'high')")


class AlertFilter(msgspec.Struct, frozen=True):
    """Which alerts are wanted. None, or no severity, accepts all.

    Attributes:
        hostname: As `folded` returns it. So is `username`.
        verdict: Of a person; `none` accepts the alerts without one.
        since: Received then or later, in Unix seconds.
    """

    tenant_id: str | None = None
    severities: tuple[Severity, ...] = ()
    hostname: str | None = None
    username: str | None = None
    delivery: DeliveryState | None = None
    verdict: PersonVerdict | Literal["none"] | None = None
    since: float | None = None


class FoundAlert(msgspec.Struct, frozen=True):
    """The row of an alert, as far as a list needs it before it reads the alert."""

    received_at: float
    id: str
    tenant_id: str
    is_finished: bool
    is_dead: bool
    size_bytes: int


def find_alerts(
    connection: Connection, wanted: AlertFilter, before: Place | None, limit: int
) -> list[FoundAlert]:
    """Return the newest rows that `wanted` accepts. `queued` and `taken` are the same here."""
    if wanted.hostname or wanted.username:
        return _find_named(connection, wanted, before, limit)
    return _find(connection, wanted, before, limit)


def _find(
    connection: Connection,
    wanted: AlertFilter,
    before: Place | None,
    limit: int,
    *conditions: sa.ColumnElement[bool],
) -> list[FoundAlert]:
    query = found_alerts(wanted).where(*conditions)
    query = query.order_by(_a.received_at.desc(), _a.id.desc()).limit(limit)
    if before is not None:
        # The first condition is for the index; the second one is exact.
        query = query.where(
            _a.received_at <= before[0], sa.tuple_(_a.received_at, _a.id) < sa.tuple_(*before)
        )
    return [FoundAlert(*row) for row in connection.execute(query)]


def _find_named(
    connection: Connection, wanted: AlertFilter, before: Place | None, limit: int
) -> list[FoundAlert]:
    """Do the same for a name: an index has the finished alerts of each tenant by their names."""
    found: list[FoundAlert] = []
    if wanted.delivery not in _WAITING:
        for tenant_id in _tenants(connection) if wanted.tenant_id is None else [wanted.tenant_id]:
            own = msgspec.structs.replace(wanted, tenant_id=tenant_id)
            found += _find(connection, own, before, limit, _a.finished_at.is_not(None))
    if wanted.delivery in {None, *_WAITING}:
        # Joined with nothing: else SQLite may read all alerts of the tenant.
        conditions = [_a.finished_at.is_(None), _a.received_at >= 0.0]
        if wanted.tenant_id is not None:
            conditions.append(_a.tenant_id.concat("") == wanted.tenant_id)
        every = msgspec.structs.replace(wanted, tenant_id=None)
        found += _find(connection, every, before, limit, *conditions)
    found.sort(key=lambda each: (each.received_at, each.id), reverse=True)
    return found[:limit]


def _tenants(connection: Connection) -> Iterator[str]:
    """Yield the tenants that have alerts."""
    following = sa.select(sa.func.min(_a.tenant_id))
    tenant_id = connection.execute(following).scalar()
    while tenant_id is not None:
        yield tenant_id
        tenant_id = connection.execute(following.where(_a.tenant_id > tenant_id)).scalar()


def found_alerts(wanted: AlertFilter) -> sa.Select[Any]:
    """Return the query of the rows that `wanted` accepts, in no order."""
    conditions: list[sa.ColumnElement[bool] | sa.TextClause] = []
    for column, value in (
        (_a.tenant_id, wanted.tenant_id),
        (_a.hostname, wanted.hostname),
        (_a.username, wanted.username),
    ):
        if value is not None:
            conditions.append(column == value)
    if wanted.severities:
        conditions.append(_a.severity.in_(wanted.severities))
        if set(wanted.severities) <= {"critical", "high"}:
            conditions.append(_IS_SEVERE)
    if wanted.since is not None:
        conditions.append(_a.received_at >= wanted.since)
    if wanted.verdict is not None:
        is_none = wanted.verdict == "none"
        conditions.append(_a.verdict.is_(None) if is_none else _a.verdict == wanted.verdict)
    if wanted.delivery is not None:
        conditions += _DELIVERED[wanted.delivery]
    return sa.select(
        _a.received_at,
        _a.id,
        _a.tenant_id,
        _a.finished_at.is_not(None),
        _a.dead_reason.is_not(None),
        sa.func.length(_a.alert),
    ).where(*conditions)


_WAITING: Final = frozenset({"queued", "taken", "unfinished"})
"""The states of alerts that are not finished."""

_UNFINISHED: Final = (_a.finished_at.is_(None),)
_DELIVERED: Final[dict[DeliveryState, tuple[sa.ColumnElement[bool], ...]]] = {
    "queued": _UNFINISHED,
    "taken": _UNFINISHED,
    "unfinished": _UNFINISHED,
    "done": (_a.finished_at.is_not(None), _a.dead_reason.is_(None)),
    "dead": (_a.finished_at.is_not(None), _a.dead_reason.is_not(None)),
}


def unknown_alert(*alert_ids: str) -> NotFoundError:
    """Return the error for ids that no alert has."""
    return NotFoundError(f"there is no alert {', '.join(alert_ids)}; see: vyrox alert list")


def tenant_of_alert(connection: Connection, alert_id: str) -> str | None:
    """Return whose alert has this id, or None."""
    if not is_possible_id(alert_id):
        return None
    return connection.execute(sa.select(_a.tenant_id).where(_a.id == alert_id)).scalar()


def is_possible_id(alert_id: str) -> bool:
    """Return whether an alert could have this id: databases refuse some texts."""
    return alert_id.isascii() and alert_id.isprintable() and 0 < len(alert_id) <= MAX_ID


def place_text(place: Place) -> str:
    """Return a place as the text that `parse_place` reads."""
    return f"{place[0]!r}_{place[1]}"


def parse_place(text: str) -> Place:
    """Return the place that `place_text` has written.

    Raises:
        InvalidRequestError: The text is something else.
    """
    seconds, _, alert_id = text.partition("_")
    try:
        received_at = float(seconds) if len(seconds) <= _MAX_PLACE else math.nan
    except ValueError:
        received_at = math.nan
    if not math.isfinite(received_at) or not is_possible_id(alert_id):
        raise InvalidRequestError("not a place in a list")
    return received_at, alert_id
