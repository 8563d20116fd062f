"""A person's verdict on alerts, and what it means for suppressions (contract 50 and 56)."""

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from vyrox.alerts.finding import is_possible_id
from vyrox.alerts.verdict import Decision, FinishedAlert, decide
from vyrox.store.tables import alerts
from vyrox.triage import rows
from vyrox.triage.suppressing import end_contradicted
from vyrox.triage.totals import count_decisions


class Decided(msgspec.Struct, frozen=True):
    """The alerts after the decision, and the ids of the suppressions that it has ended."""

    alerts: list[FinishedAlert]
    ended: list[str]


def decide_alerts(
    connection: Connection, decision: Decision, now: float, request_id: str | None = None
) -> Decided:
    """Give alerts a verdict as `alerts.verdict.decide`, and count it for the reports.

    A malicious one ends suppressions.

    Raises:
        NotFoundError: One of the alerts does not exist; nothing was changed.
    """
    # Before the alerts: the worker locks in this order too.
    for tenant_id in _tenants(connection, decision.alert_ids):
        rows.lock(connection, tenant_id)
    finished = decide(connection, decision, now, request_id)
    ended: list[str] = []
    for tenant_id in sorted({each.tenant_id for each in finished}):
        own = {each.alert_id: each for each in finished if each.tenant_id == tenant_id}
        changes = {name: (each.previous, each.verdict) for name, each in own.items()}
        count_decisions(connection, tenant_id, changes)
        if decision.verdict == "malicious":
            found = end_contradicted(connection, tenant_id, [*own], decision.by, now, request_id)
            ended += [each.id for each in found]
    return Decided(finished, ended)


def _tenants(connection: Connection, alert_ids: Iterable[str]) -> list[str]:
    found: set[str] = set()
    for some in rows.parts(each for each in alert_ids if is_possible_id(each)):
        query = sa.select(alerts.c.tenant_id).where(alerts.c.id.in_(some)).distinct()
        found |= set(connection.execute(query).scalars())
    return sorted(found)
