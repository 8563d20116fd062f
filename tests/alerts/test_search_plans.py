"""Every query of the pages about alerts reads an index, on both databases (contract 79)."""

import re
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection

from tests.alerts.test_searching import alert, finish
from tests.audit import noted
from tests.plans import analyse, plans_of
from vyrox.alerts.alert_events import read_events
from vyrox.alerts.dead_letters import mark_dead
from vyrox.alerts.intake import delivery, store
from vyrox.alerts.quarantine import Unreadable, keep
from vyrox.alerts.search_fill import fill_some
from vyrox.alerts.searching import AlertSearch, Text, search_alerts
from vyrox.alerts.waiting_lists import find_dead, find_quarantined
from vyrox.chain.writer import append
from vyrox.models import NormalizedAlert
from vyrox.store import tables
from vyrox.store.database import Database

TENANTS = tuple(f"tenant-{number}" for number in range(8))
PLACES = pytest.mark.parametrize("before", [None, (3000.0, "x")], ids=["newest", "older"])

Ask = Callable[[Connection], object]


def fill(connection: Connection) -> None:
    made = [(alert(number, TENANTS[number % 8]), float(number)) for number in range(2000)]
    store(connection, [delivery(each, each.id.encode(), at) for each, at in made], 9.0)
    append(
        connection,
        [noted(number, each.tenant_id) for number, (each, _) in enumerate(made[:1000])],
        1.0,
    )
    judge(connection, [each for each, _ in made])
    for each, at in made[:60]:
        mark_dead(connection, each.tenant_id, each.id, 5, at)
    finish(connection)
    payloads = [
        Unreadable(TENANTS[number % 8], "generic", b"%1500d" % number, "why", float(number))
        for number in range(1000)
    ]
    keep(connection, payloads, 10**9)
    analyse(connection)


def judge(connection: Connection, judged: list[NormalizedAlert]) -> None:
    row = {"incident": 1, "score": 1.0, "band": "close", "happened_at": 1.0, "judged_at": 1.0}
    connection.execute(
        tables.verdicts.insert(),
        [
            {**row, "alert_id": each.id, "tenant_id": each.tenant_id}
            | {"fingerprint": b""}
            | {"verdict": b"{}"}
            for each in judged
        ],
    )


def whole_tables(plan: str) -> list[str]:
    """Return the steps of a plan that read all of a table or of an index."""
    return re.findall(r"SCAN (?:alerts|quarantine|audit_log)[^\n]*|Seq Scan on [^\n]*", plan)


async def check(database: Database, ask: Ask, index: str) -> None:
    plans = await database.read(plans_of, ask)
    # If few rows are left, PostgreSQL may read them from another index.
    assert index in plans[0], plans[0]
    for plan in plans:
        assert not whole_tables(plan), plan


@PLACES
async def test_each_search_reads_the_index_of_its_field_contract_79(
    database: Database, before: tuple[float, str] | None
) -> None:
    await database.write(fill, timeout_s=60.0)
    searches: dict[str, dict[str, Text]] = {
        "alerts_tenant": {},
        "alerts_hostname": {"hostname": Text("ws-2")},
        "alerts_username": {"username": Text("corp\\user1")},
        "alerts_sha256": {"sha256": Text("e3b0", is_beginning=True)},
    }
    narrowings: list[dict[str, object]] = [
        {},
        {"source": "defender"},
        {"technique": Text("t1059", is_beginning=True)},
        {"raw_id": Text("evt:2:77")},
        {"band": "urgent"},
        {"since": 5.0},
    ]
    for narrowing in narrowings:
        for index, asked in searches.items():
            for tenants in (TENANTS[:1], TENANTS[:3]):
                search = AlertSearch(tenant_ids=tenants, **asked, **narrowing)  # type: ignore[arg-type]
                ask = partial(search_alerts, search=search, before=before, limit=50)
                await check(database, ask, index)


@PLACES
async def test_a_search_by_an_id_reads_the_primary_key_contract_79(
    database: Database, before: tuple[float, str] | None
) -> None:
    await database.write(fill, timeout_s=60.0)
    found = alert(7).id
    for text in (Text(found), Text(found[:9], is_beginning=True)):
        search = AlertSearch(tenant_ids=TENANTS, alert_id=text)
        ask = partial(search_alerts, search=search, before=before, limit=50)
        for plan in await database.read(plans_of, ask, ("seqscan", "bitmapscan")):
            assert re.search(r"sqlite_autoindex_alerts_1 \(id|alerts_pkey", plan), plan
            assert not whole_tables(plan), plan


@PLACES
async def test_the_lists_of_what_waits_read_an_index_contract_79(
    database: Database, before: tuple[float, str] | None
) -> None:
    await database.write(fill, timeout_s=60.0)
    for tenants in (TENANTS[:1], TENANTS[:3]):
        for everything in (True, False):
            ask: Ask = partial(
                find_quarantined,
                tenant_ids=tenants,
                source=None,
                before=before,
                limit=50,
                everything=everything,
            )
            await check(database, ask, "quarantine_tenant")
        ask = partial(find_dead, tenant_ids=tenants, before=before, limit=50)
        await check(database, ask, "alerts_dead_tenant")


async def test_what_was_done_with_an_alert_and_the_filling_read_an_index_contract_79(
    database: Database,
) -> None:
    await database.write(fill, timeout_s=60.0)
    events = partial(read_events, tenant_id=TENANTS[0], alert_id=alert(0).id)
    await check(database, events, "audit_log_alerts")

    def begin_and_fill(connection: Connection) -> object:
        connection.execute(tables.search_fill.insert().values(received_at=1e10, id=""))
        return plans_of(connection, fill_some)

    plans = await database.write(begin_and_fill, timeout_s=60.0)
    read = [plan for plan in plans if "alerts" in plan]  # type: ignore[attr-defined]
    assert read
    assert not [step for plan in read for step in whole_tables(plan)]
