"""Every query of the pages about alerts reads an index, on both databases (contract 79)."""

import re
from functools import partial

import pytest
from sqlalchemy import Connection

from tests.alerts.test_searching import add, alert
from tests.plans import analyse, plans_of
from vyrox.alerts.searching import AlertSearch, Text, search_alerts
from vyrox.store.database import Database

TENANTS = tuple(f"tenant-{number}" for number in range(20))


def fill(connection: Connection) -> None:
    made = [(alert(number, TENANTS[number % 20]), float(number)) for number in range(4000)]
    add(connection, made)
    analyse(connection)


def read_without_index(plan: str) -> list[str]:
    """Return the steps of a plan that read a whole table of alerts."""
    return re.findall(r"SCAN alerts(?! USING)[^\n]*|Seq Scan on alerts[^\n]*", plan)


@pytest.mark.parametrize("before", [None, (3000.0, "x")], ids=["newest", "older"])
async def test_each_search_reads_the_index_of_its_field_contract_79(
    database: Database, before: tuple[float, str] | None
) -> None:
    await database.write(fill)
    searches = {
        "alerts_tenant": {},
        "alerts_hostname": {"hostname": Text("ws-2")},
        "alerts_username": {"username": Text("corp\\user1")},
        "alerts_sha256": {"sha256": Text("e3b0", is_beginning=True)},
        "alerts_technique": {"technique": Text("t1059", is_beginning=True)},
        "alerts_raw_id": {"raw_id": Text("evt:2:", is_beginning=True)},
    }
    for narrowing in ({}, {"source": "defender"}, {"band": "urgent"}, {"since": 5.0}):
        for index, asked in searches.items():
            for tenants in (TENANTS[:1], TENANTS[:3]):
                search = AlertSearch(tenant_ids=tenants, **asked, **narrowing)  # type: ignore[arg-type]
                ask = partial(search_alerts, search=search, before=before, limit=50)
                plans = await database.read(plans_of, ask)
                for plan in plans:
                    assert index in plan, (search, plan)
                    assert not read_without_index(plan), (search, plan)
