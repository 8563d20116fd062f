"""What people have decided about the like of an alert before (contract 78)."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.queue import decode_alert
from vyrox.models import NormalizedAlert
from vyrox.store.tables import alerts, verdicts
from vyrox.triage.scope import shape_key, traits_of
from vyrox.triage.suppressions import Suppression, read_living

MAX_DECIDED: Final = 1000
"""The newest verdicts of people that are compared by their fingerprints."""

MAX_SHAPED: Final = 100
"""The newest of them whose command lines are compared too."""

MAX_LIKES: Final = 10

_MAX_ALERT_BYTES: Final = 8192

_a: Final = alerts.c
_v: Final = verdicts.c


class Like(msgspec.Struct, frozen=True):
    """A person's verdict on an alert. `is_same`: of the same host, program, user and command."""

    alert_id: str
    verdict: str
    by: str
    at: float
    note: str | None
    host: str | None
    is_same: bool


def likes_of(
    connection: Connection, tenant_id: str, found: Sequence[NormalizedAlert]
) -> tuple[Like, ...]:
    """Return the newest verdicts of people on alerts like these, at most MAX_LIKES.

    A like alert has the same fingerprint, or a command line of the same shape on any host.
    """
    own = [each.id for each in found]
    known = sa.select(_v.fingerprint).where(_v.alert_id.in_(own))
    prints = set(connection.execute(known).scalars())
    shapes = {shape for each in found if (shape := shape_key(each.process_cmdline))}
    same = _same(connection, tenant_id, prints, own)
    alike = _alike(connection, tenant_id, shapes, {*own, *(each.alert_id for each in same)})
    return tuple(sorted([*same, *alike], key=lambda each: -each.at)[:MAX_LIKES])


def suppressions_of(
    connection: Connection, tenant_id: str, found: Iterable[NormalizedAlert], now: float
) -> tuple[Suppression, ...]:
    """Return the suppressions that hold, or wait for a second person, and take in such alerts."""
    living = read_living(connection, tenant_id, now)
    traits = [traits_of(each) for each in found] if living else []
    return tuple(each for each in living if any(each.scope.takes_in(one) for one in traits))


def _same(
    connection: Connection, tenant_id: str, prints: set[bytes], own: Sequence[str]
) -> list[Like]:
    newest = (
        sa.select(_a.id)
        .where(_a.tenant_id == tenant_id, _a.verdict.is_not(None))
        .order_by(_a.verdict_at.desc())
        .limit(MAX_DECIDED)
        .subquery()
    )
    query = (
        sa.select(_a.id, _a.verdict, _a.verdict_by, _a.verdict_at, _a.verdict_note, _a.hostname)
        .select_from(newest)
        .join(verdicts, _v.alert_id == newest.c.id)
        .join(alerts, _a.id == newest.c.id)
        .where(_v.fingerprint.in_(prints), _a.id.not_in(own))
        .order_by(_a.verdict_at.desc())
        .limit(MAX_LIKES)
    )
    return [_like(row, is_same=True) for row in connection.execute(query)] if prints else []


def _alike(connection: Connection, tenant_id: str, shapes: set[str], but: set[str]) -> list[Like]:
    columns = (_a.id, _a.verdict, _a.verdict_by, _a.verdict_at, _a.verdict_note, _a.hostname)
    query = (
        sa.select(*columns, _a.alert)
        .where(
            _a.tenant_id == tenant_id,
            _a.verdict.is_not(None),
            sa.func.length(_a.alert) <= _MAX_ALERT_BYTES,
        )
        .order_by(_a.verdict_at.desc())
        .limit(MAX_SHAPED)
    )
    return [
        _like(row, is_same=False)
        for row in (connection.execute(query) if shapes else ())
        if row.id not in but and shape_key(decode_alert(row.alert).process_cmdline) in shapes
    ]


def _like(row: sa.Row[*tuple[Any, ...]], *, is_same: bool) -> Like:
    alert_id, verdict, by, at, note, host = row[:6]
    return Like(alert_id, verdict, by or "", at or 0.0, note, host, is_same)
