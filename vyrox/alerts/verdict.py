"""A person's verdict on alerts, which also ends their delivery (contract 50)."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import is_possible_id, unknown_alert
from vyrox.alerts.intake import storable
from vyrox.chain.events import event
from vyrox.chain.writer import append
from vyrox.models import PersonVerdict
from vyrox.store.tables import alerts

MAX_NOTE: Final = 1000
"""Characters of a note. The event has the first 256."""

MAX_BY: Final = 256
"""Characters of a person's name."""


class Decision(msgspec.Struct, frozen=True):
    """What a person has decided about one or more alerts.

    Attributes:
        tenant_id: The alerts must be this tenant's. None: of any tenant.
    """

    tenant_id: str | None
    alert_ids: Sequence[str]
    verdict: PersonVerdict
    by: str
    note: str | None = None


class FinishedAlert(msgspec.Struct, frozen=True):
    """An alert after the decision. `previous` is the verdict that it had before, or None."""

    alert_id: str
    tenant_id: str
    verdict: PersonVerdict
    previous: str | None
    delivery: str


def decide(
    connection: Connection, decision: Decision, now: float, request_id: str | None = None
) -> list[FinishedAlert]:
    """Give the alerts a verdict, end their delivery, and append an event for each.

    The caller removes the queue entries after the commit, as `AlertConsumer.acknowledge` does. A
    verdict may change; a dead letter gets a verdict and remains one.

    Args:
        request_id: Of the HTTP request, for the events.

    Raises:
        NotFoundError: One of the alerts does not exist; nothing was changed.
    """
    c = alerts.c
    wanted = list(dict.fromkeys(decision.alert_ids))
    query = (
        sa.select(c.id, c.tenant_id, c.verdict, c.dead_reason)
        .where(c.id.in_([each for each in wanted if is_possible_id(each)]))
        .order_by(c.id)  # two transactions that lock in different orders deadlock
        .with_for_update()
    )
    if decision.tenant_id is not None:
        query = query.where(c.tenant_id == decision.tenant_id)
    rows = {row.id: row for row in connection.execute(query)}
    if unknown := [each for each in wanted if each not in rows]:
        raise unknown_alert(*unknown)
    by, note = storable(decision.by), storable(decision.note or "") or None
    connection.execute(
        alerts.update()
        .where(c.id.in_(wanted))
        .values(
            finished_at=sa.func.coalesce(c.finished_at, now),
            verdict=decision.verdict,
            verdict_by=by,
            verdict_at=now,
            verdict_note=note,
        )
    )
    drafts = [
        event(
            "alert.verdict",
            rows[each].tenant_id,
            request_id,
            alert_id=each,
            verdict=decision.verdict,
            previous=rows[each].verdict,
            by=by,
            note=note,
        )
        for each in wanted
    ]
    append(connection, drafts, now)
    return [
        FinishedAlert(
            each,
            rows[each].tenant_id,
            decision.verdict,
            rows[each].verdict,
            "done" if rows[each].dead_reason is None else "dead",
        )
        for each in wanted
    ]
