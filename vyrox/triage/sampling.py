"""The sample of closes and suppressions that a person sees: the only way to find what was missed.

One in `judging.SAMPLE` is chosen when the verdict is stored.
"""

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.queue import decode_alert
from vyrox.store.tables import alerts, verdicts
from vyrox.triage.score import Verdict

REVIEWED_S: Final = 30 * 86_400.0
"""The sample of this time is counted."""

MAX_TEXT: Final = 256

_verdict: Final = msgspec.json.Decoder(Verdict)
_a: Final = alerts.c
_v: Final = verdicts.c


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """A `close` that no person has decided about."""

    id: str
    tenant_id: str
    at: float
    score: float
    suppression: str | None
    host: str | None
    user: str | None
    command: str | None
    reasons: list[str]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for a person, and what people have found in the last 30 days.

    Attributes:
        waiting: How many wait; `alerts` has the oldest of them.
        malicious: Closes of the sample that a person found malicious: each was missed.
    """

    alerts: list[Sampled]
    waiting: int
    benign: int
    malicious: int
    unclear: int


def read_sample(connection: Connection, tenant_id: str | None, limit: int, now: float) -> Sample:
    """Return the sample of a tenant, or of all tenants."""
    conditions = [_v.sampled_at.is_not(None), _v.sampled_at >= now - REVIEWED_S]
    if tenant_id is not None:
        conditions.append(_v.tenant_id == tenant_id)
    counted = (
        sa.select(_a.verdict, sa.func.count())
        .join(verdicts, _v.alert_id == _a.id)
        .where(*conditions)
        .group_by(_a.verdict)
    )
    counts: dict[str | None, int] = {row[0]: row[1] for row in connection.execute(counted)}
    query = (
        sa.select(_a.alert, _v.verdict, _v.happened_at)
        .join(verdicts, _v.alert_id == _a.id)
        .where(*conditions, _a.verdict.is_(None))
        .order_by(_v.sampled_at, _v.alert_id)
        .limit(limit)
    )
    return Sample(
        alerts=[_sampled(*row) for row in connection.execute(query)],
        waiting=counts.get(None, 0),
        benign=counts.get("benign", 0),
        malicious=counts.get("malicious", 0),
        unclear=counts.get("unclear", 0),
    )


def _sampled(encoded: bytes, verdict_json: bytes, at: float) -> Sampled:
    alert, verdict = decode_alert(encoded), _verdict.decode(verdict_json)
    return Sampled(
        id=alert.id,
        tenant_id=alert.tenant_id,
        at=at,
        score=verdict.score,
        suppression=verdict.suppression,
        host=(alert.hostname or alert.device_id or "")[:MAX_TEXT] or None,
        user=(alert.username or "")[:MAX_TEXT] or None,
        command=(alert.process_cmdline or "")[:MAX_TEXT] or None,
        reasons=verdict.explanation()[1:],
    )
