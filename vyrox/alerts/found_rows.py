"""What a list shows of alerts that a search has found (contract 79)."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import is_possible_id
from vyrox.errors import NotFoundError
from vyrox.store.tables import alerts, verdicts

MAX_READ_BYTES: Final = 65_536
"""A larger alert is not read for a list, which then shows the columns of its row only."""

MAX_TEXT: Final = 160
"""Characters of one text."""

_a: Final = alerts.c
_v: Final = verdicts.c


class _Names(msgspec.Struct, frozen=True):
    hostname: str | None = None
    username: str | None = None
    process_name: str | None = None
    process_cmdline: str | None = None
    technique: str | None = None


_decode: Final = msgspec.json.Decoder(_Names).decode


class FoundRow(msgspec.Struct, frozen=True, kw_only=True):
    """An alert in a list. Times are Unix seconds.

    Attributes:
        what: The command line or the program.
        incident: The number of its incident; None, as `score` and `band`: it is not judged.
        verdict: A person's.
    """

    id: str
    tenant_id: str
    source: str
    received_at: float
    severity: str
    hostname: str | None
    username: str | None
    what: str | None
    technique: str | None
    score: float | None
    band: str | None
    incident: int | None
    verdict: str | None
    dead_at: float | None
    dead_reason: str | None


def read_found(connection: Connection, ids: Sequence[str]) -> list[FoundRow]:
    """Return the alerts with these ids that still exist, in the order of the ids."""
    columns: list[sa.ColumnElement[Any]] = [
        _a.id,
        _a.tenant_id,
        _a.source,
        _a.received_at,
        _a.severity,
        _a.hostname,
        _a.username,
        _a.finished_at,
        _a.dead_reason,
        _a.verdict.label("by_person"),
        if_small(),
        _v.score,
        _v.band,
        _v.incident,
    ]
    joined = alerts.outerjoin(verdicts, _v.alert_id == _a.id)
    query = sa.select(*columns).select_from(joined).where(_a.id.in_(ids))
    rows = {row.id: _row(row) for row in connection.execute(query)} if ids else {}
    return [rows[each] for each in ids if each in rows]


def if_small() -> sa.ColumnElement[bytes]:
    """Return the column `alert` for a list: NULL where it is larger than MAX_READ_BYTES.

    A sender decides how large an alert is, and a list reads many.
    """
    return sa.case((sa.func.length(_a.alert) <= MAX_READ_BYTES, _a.alert)).label("alert")


def tenant_of_alert(connection: Connection, alert_id: str) -> str:
    """Return whose alert it is.

    Raises:
        NotFoundError: There is no such alert.
    """
    query = sa.select(_a.tenant_id).where(_a.id == alert_id)
    found = connection.execute(query).scalar() if is_possible_id(alert_id) else None
    if found is None:
        raise NotFoundError("no such alert")
    return str(found)


def read_raw(connection: Connection, alert_id: str, most: int | None = None) -> tuple[bytes, int]:
    """Return an alert's body as received, or its first `most` bytes, and the size of the whole.

    Raises:
        NotFoundError: There is no such alert.
    """
    raw = _a.raw if most is None else sa.func.substr(_a.raw, 1, most)
    query = sa.select(raw, sa.func.length(_a.raw)).where(_a.id == alert_id)
    row = connection.execute(query).one_or_none()
    if row is None:  # retention has just deleted it
        raise NotFoundError("no such alert")
    return bytes(row[0] or b""), int(row[1])  # of nothing, SQLite has no part


def _row(row: sa.Row[Any]) -> FoundRow:
    names = _Names() if row.alert is None else _decode(row.alert)
    return FoundRow(
        id=row.id,
        tenant_id=row.tenant_id,
        source=row.source,
        received_at=row.received_at,
        severity=row.severity,
        hostname=_short(names.hostname or row.hostname),
        username=_short(names.username or row.username),
        what=_short(names.process_cmdline or names.process_name),
        technique=_short(names.technique),
        score=row.score,
        band=row.band,
        incident=row.incident,
        verdict=row.by_person,
        dead_at=None if row.dead_reason is None else row.finished_at,
        dead_reason=row.dead_reason,
    )


def _short(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}..."
