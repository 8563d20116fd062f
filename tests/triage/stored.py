"""Stores alerts and their verdicts in a real database, and reads them back."""

import itertools
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from tests.triage.samples import alert
from vyrox.alerts.intake import delivery, store
from vyrox.models import NormalizedAlert
from vyrox.store.database import Database
from vyrox.store.tables import alerts, verdicts
from vyrox.triage import rows
from vyrox.triage.incidents import Incident
from vyrox.triage.judging import Stored, store_verdicts
from vyrox.triage.score import judge

NOW: Final = 1_788_220_800.0
TENANT: Final = "acme-corp"

_numbers = itertools.count()


def new(at: float = 0.0, command: str | None = "whoami", **members: object) -> NormalizedAlert:
    """Return an alert that happened `at` seconds after NOW."""
    name = f"alert-{next(_numbers)}"
    return alert(command, **{"id": name, "timestamp": NOW + at, **members})


async def stored_rows(database: Database, found: Sequence[NormalizedAlert]) -> None:
    """Store the rows of alerts that arrive when they happen."""
    deliveries = [delivery(each, each.id.encode(), each.timestamp) for each in found]
    await database.write(store, deliveries, 86_400)


async def judged(
    database: Database, *found: NormalizedAlert, tenant_id: str = TENANT, now: float | None = None
) -> Stored:
    """Store alerts and their verdicts, in one batch."""
    await stored_rows(database, found)
    batch = [(each, judge(each)) for each in found]
    last = max(each.timestamp for each in found)
    return await database.write(store_verdicts, tenant_id, batch, now or last)


async def numbers_of(database: Database, *found: NormalizedAlert) -> list[int]:
    """Return the incident of each alert."""

    def read(connection: Connection) -> dict[str, int]:
        query = sa.select(verdicts.c.alert_id, verdicts.c.incident)
        return {row.alert_id: row.incident for row in connection.execute(query)}

    numbers = await database.read(read)
    return [numbers[each.id] for each in found]


async def incident(database: Database, number: int, tenant_id: str = TENANT) -> Incident:
    found = await database.read(rows.read_incident, tenant_id, number)
    assert found is not None
    return found


async def waiting(database: Database) -> int:
    """Return how many alerts are not finished."""
    query = sa.select(sa.func.count()).where(alerts.c.finished_at.is_(None))
    return await database.read(lambda connection: connection.execute(query).scalar_one())
