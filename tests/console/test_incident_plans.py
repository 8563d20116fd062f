"""What the pages of incidents and devices ask the databases for has an index (contract 78)."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.triage.stored import TENANT, judged, new
from tests.vendor import AID
from vyrox.console import device, incidents
from vyrox.console.evidence import evidence_of
from vyrox.console.story import read_story
from vyrox.store.database import Database
from vyrox.triage.found_incidents import find_incidents
from vyrox.triage.incident_ids import IncidentKey
from vyrox.triage.known_host import find_hosts

KEY = IncidentKey(TENANT, 1)
LARGE = ("alerts", "verdicts", "incidents", "incident_keys", "audit_log", "proposals")

READS: dict[str, Callable[[Connection], object]] = {
    "incident": lambda c: read_story(c, KEY, 1.0),
    "alerts": lambda c: incidents._alerts_of(c, KEY, (5.0, "x")),
    "device": lambda c: device._read(c, TENANT, 1, (5.0, "x"), 1.0),
    "list": lambda c: find_incidents(c, [TENANT, "b"], "all", None, None, 50),
    "name": lambda c: find_hosts(c, TENANT, "ws-1"),
    "decide": lambda c: evidence_of(c, TENANT, "first", 1.0),
}


@pytest.mark.parametrize("name", READS)
async def test_no_large_table_is_scanned_contract_78(database: Database, name: str) -> None:
    await judged(
        database,
        new(0.0, "vssadmin delete shadows /all", id="first", device_id=AID),
        *[new(float(n), f"whoami {'x' * n}", device_id=AID) for n in range(1, 9)],
    )
    plans = await database.read(lambda c: plans_of(c, READS[name]))
    assert plans
    for statement, plan in plans:
        scans = [
            each for each in LARGE if f"SCAN {each}\n" in plan or f"Seq Scan on {each} " in plan
        ]
        assert scans == [], f"{statement}\n{plan}"


async def test_the_alerts_of_the_reasons_are_read_by_their_ids_contract_78(
    database: Database,
) -> None:
    """Not by the incident: it may have 50,000 alerts."""
    await judged(database, *[new(float(n), f"whoami {'x' * n}") for n in range(9)])

    def read(connection: Connection) -> list[tuple[str, str]]:
        from vyrox.triage.incident_ids import find_survivor
        from vyrox.triage.timeline import read_timeline

        incident = find_survivor(connection, KEY)
        return plans_of(connection, lambda c: read_timeline(c, incident, 1))

    plans = await database.read(read)
    by_ids = [plan for statement, plan in plans if "verdicts.alert_id IN" in statement]
    assert by_ids
    assert not [plan for plan in by_ids if "verdicts_incident" in plan]


def plans_of(connection: Connection, read: Callable[[Connection], object]) -> list[tuple[str, str]]:
    """Return each statement of `read` with its plan."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401
        asked.append((statement, parameters))

    sa.event.listen(connection, "before_cursor_execute", note)
    read(connection)
    sa.event.remove(connection, "before_cursor_execute", note)
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    found = []
    for statement, parameters in asked:
        rows = connection.exec_driver_sql(explain + statement, parameters)
        found.append((statement, "".join(f"{row[-1]}\n" for row in rows)))
    return found
