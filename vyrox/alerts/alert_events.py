"""What was done with one alert after it was received, from the log (contract 79)."""

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.chain.entry import Scalar
from vyrox.store.tables import audit_log

MAX_READ: Final = 1000
"""The newest events of such kinds of a tenant that are read for one alert."""

# Literally the condition of the index `audit_log_alerts`, so that both databases use it.
_IS_OF_ALERTS: Final = sa.text("kind IN ('alert.verdict', 'alert.dead', 'alert.revived')")

_decode: Final = msgspec.json.Decoder(dict[str, Scalar]).decode


class AlertEvent(msgspec.Struct, frozen=True):
    """What was done with an alert. `at` is in Unix seconds.

    Attributes:
        kind: `alert.verdict`, `alert.dead` or `alert.revived`.
        previous: The verdict before.
    """

    at: int
    kind: str
    verdict: str | None
    previous: str | None
    by: str | None
    note: str | None


def read_events(connection: Connection, tenant_id: str, alert_id: str) -> list[AlertEvent]:
    """Return what was done with the alert, oldest first, among the newest MAX_READ such events."""
    c = audit_log.c
    query = (
        sa.select(c.timestamp, c.kind, c.entry)
        .where(c.tenant_id == tenant_id, _IS_OF_ALERTS)
        .order_by(c.sequence.desc())
        .limit(MAX_READ)
    )
    named = alert_id.encode()
    found: list[AlertEvent] = []
    for at, kind, entry in reversed(connection.execute(query).all()):
        if named not in entry:  # decoding all of them would take most of a page's time
            continue
        members = _decode(entry)
        if members.get("alert_id") == alert_id:
            texts = (members.get(name) for name in ("verdict", "previous", "by", "note"))
            found.append(
                AlertEvent(at, kind, *(each if isinstance(each, str) else None for each in texts))
            )
    return found
