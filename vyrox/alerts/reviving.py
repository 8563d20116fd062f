"""Queues a dead letter again, as if it had never been delivered."""

from typing import Final

import msgspec

from vyrox.alerts import dead_letters
from vyrox.alerts.queue import AlertQueue, QueueEntry
from vyrox.store.database import Database

_IN_STREAM: Final = frozenset({b"added", b"present"})


class Revived(msgspec.Struct, frozen=True):
    """`queued`; or `stored`, yet to be queued by the service, once the full queue has room."""

    alert_id: str
    status: str


async def revive_alert(
    database: Database,
    queue: AlertQueue,
    tenant_id: str,
    alert_id: str,
    now: float,
    by: str | None = None,
) -> Revived:
    """Make a dead letter unfinished again, and queue it.

    Args:
        by: The person who asked for it at the console.

    Raises:
        OperatorError: The tenant has no dead letter with this id.
        UnavailableError: A store is unavailable.
    """
    alert, raw = await database.write(dead_letters.revive, tenant_id, alert_id, now, by)
    [result] = await queue.put_patiently([QueueEntry(tenant_id, alert_id, alert, raw)])
    return Revived(alert_id, "queued" if result in _IN_STREAM else "stored")
