"""The first page: what waits for a person, the most pressing first (contract 77)."""

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tests.console.running import ALERT, KILL, TENANT, Browser, Running
from tests.plans import scanned
from tests.triage.stored import NOW, judged, new
from vyrox.alerts.health import Health
from vyrox.approvals import break_glass
from vyrox.approvals.contained import list_contained
from vyrox.approvals.proposing import propose
from vyrox.approvals.states import DECIDE_S
from vyrox.approvals.waiting import list_ended, list_waiting
from vyrox.clock import wall_clock
from vyrox.console import sessions, sources
from vyrox.console.sessions import Person
from vyrox.lifespan import background
from vyrox.models import BreakGlass
from vyrox.store.tables import (
    alerts,
    confirmations,
    devices,
    graph_notices,
    incidents,
    leases,
    notifications,
    notify_targets,
    quarantine,
    tenant_credentials,
)
from vyrox.tenants.policy import set_frozen
from vyrox.triage.urgency import MAX_COUNTED, count_open, most_urgent

HOSTILE = "<script>alert(1)</script>'\"\u202e"
OTHER = "other-corp"


@pytest.fixture
def sees_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every person who signs in sees a second tenant, and acts for the first one only."""
    find = sessions.find

    def found(connection: Connection, session_id: str, now: float) -> Person | None:
        person = find(connection, session_id, now)
        if person is None:
            return None
        return msgspec.structs.replace(person, tenants=(TENANT, OTHER), acts_for=(TENANT,))

    monkeypatch.setattr(sessions, "find", found)


def text_of(html: str) -> str:
    """Return what a person reads of a page."""
    main = html.partition("<main")[2].partition(">")[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


def contain(connection: Connection, name: str, tenant_id: str = TENANT, **lease: object) -> None:
    key = {"tenant_id": tenant_id, "vendor": "crowdstrike", "device_id": f"id-{name}"}
    connection.execute(devices.insert().values(**key, hostname=name, lease_until=0.0, token=1))
    row = {"attempts": 0, "next_at": 0.0, "until_at": 0.0, "is_sent": True, "is_settled": True}
    connection.execute(
        confirmations.insert().values(
            **key, **row, entry_hash=str(uuid4()), execution=b"x", target="contained", token=1
        )
    )
    if lease:
        values = {
            "proposal_id": str(uuid4()), "hostname": name, "action_type": "HOST_ISOLATION",
            "alert_id": b"x", "sha256": "x", "entry_hash": "x", "token": 1, "lease_s": 60,
            "since": 0.0, "began_at": 0.0, "attempts": 0, "next_at": 1e12, **lease,
        }  # fmt: skip
        connection.execute(leases.insert().values(**key, **values))


def use_glass(connection: Connection) -> None:
    asked = BreakGlass(
        request_id=str(uuid4()),
        tenant_id=TENANT,
        alert_id=ALERT,
        action_type="HOST_ISOLATION",
        host="pc-1",
        by="jane",
        reason="x",
        at=int(wall_clock()),
    )
    break_glass.BrokenGlass(asked, wall_clock()).begin(connection, wall_clock())


def add_row(connection: Connection, tenant_id: str, vendor: str, **values: object) -> None:
    newest = connection.execute(sa.select(sa.func.max(tenant_credentials.c.version))).scalar() or 0
    row = {"created_at": 0.0, "secret": "x", "version": newest + 1, **values}
    connection.execute(
        tenant_credentials.insert().values(tenant_id=tenant_id, vendor=vendor, **row)
    )


def insert_alert(
    connection: Connection, at: float, tenant_id: str = TENANT, source: str = "crowdstrike"
) -> None:
    row = {"received_at": at, "alert": b"{}", "raw": b"", "finished_at": at}
    connection.execute(
        alerts.insert().values(id=str(uuid4()), tenant_id=tenant_id, source=source, **row)
    )


def insert_incidents(connection: Connection, rows: list[dict[str, object]]) -> None:
    base = {
        "tenant_id": TENANT, "status": "open", "opened_at": 0.0, "first_at": 0.0, "last_at": 0.0,
        "updated_at": 0.0, "alerts": 1, "merged_into": None,
    }  # fmt: skip
    story = msgspec.json.encode({"families": {"recovery": 0.9}, "names": [HOSTILE]})
    connection.execute(incidents.insert(), [{**base, "story": story, **row} for row in rows])


async def lines_of(browser: Browser, path: str = "/") -> str:
    page = await browser.get(path)
    assert page.status_code == 200, page.text
    return text_of(page.text)


@pytest.fixture
def nothing_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """No task of the service tends to a lease before the page shows it."""
    monkeypatch.setattr(background, "AGENDA_INTERVAL_S", 3600.0)


@pytest.fixture(autouse=True)
def stores_are_well(nothing_goes_on: None, opened: Running) -> None:
    """A busy machine may miss a probe of a store, and the page then says so."""

    class Well(Health):
        def failing(self) -> dict[str, str]:
            return {}

    health = Well.__new__(Well)
    opened.app.state.console_app.state.console = replace(opened.console, health=health)


async def test_the_most_pressing_is_first_contract_77(opened: Running) -> None:
    """One after the other: without approval, frozen, waiting, incidents, contained, broken."""
    ann = await opened.person("ann")
    now = wall_clock()
    wanted = msgspec.structs.replace(KILL, reason="the first")
    first = await opened.database.write(propose, wanted, now - 100, DECIDE_S)
    second = await opened.propose(
        msgspec.structs.replace(KILL, host="pc-2", reason="the second", requested_by="bob")
    )
    happened = now - NOW - 60
    await judged(opened.database, new(happened, "vssadmin delete shadows /all", hostname="srv-9"))
    await opened.database.write(use_glass)
    await opened.database.write(lambda c: set_frozen(c, TENANT, now, frozen=True))
    await opened.database.write(lambda c: contain(c, "pc-3", ends_at=now + 3600))
    await opened.database.write(lambda c: contain(c, "pc-4"))
    broken: dict[str, Any] = {
        "ends_at": now - 5,
        "last_error": "403 from the vendor",
        "attempts": 2,
    }
    await opened.database.write(lambda c: contain(c, "pc-5", **broken))
    await opened.database.write(lambda c: add_row(c, TENANT, "generic"))
    page = await ann.get("/")
    text = text_of(page.text)
    places = [
        text.index(each)
        for each in (
            "An action without an approval",
            f"{TENANT} is frozen",
            "actions wait for a decision",
            "the first",
            "the second",
            "Open incidents",
            "Backups were attacked on srv-9",
            "Contained now",
            "pc-5",
            "403 from the vendor",
            "pc-3",
            "pc-4",
            "What does not work",
            "Generic webhook",
        )
    ]
    assert places == sorted(places)
    assert page.text.index(first.proposal_id) < page.text.index(second.proposal_id)
    for shown in ("0 of 1 approved", "asked by bob", "End a process"):
        assert shown in text
    assert "no end: it stays so until somebody lifts it" in text
    assert "score 9" in text
    assert "nothing frozen" not in text


async def test_what_needs_nobody_is_one_line_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    secret = "encrypted"
    opened.app.state.console_app.state.console = replace(
        opened.console, fingerprint=lambda *_: "3f2a91c0"
    )
    await opened.database.write(lambda c: add_row(c, TENANT, "crowdstrike", secret=secret))
    text = await lines_of(ann)
    assert "What does not work" not in text
    assert "No incident is open, and no host is contained." in text
    assert "Everything is fine: 1 source, Redis, the database; nothing frozen." in text
    assert secret not in text


async def test_a_tenant_without_a_source_is_not_fine_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    await opened.database.write(lambda c: c.execute(alerts.delete()).rowcount)
    text = await lines_of(ann)
    assert f"No source is set up : tenant {TENANT} so no alert can arrive" in text
    assert f"vyrox tenant add {TENANT} --vendor VENDOR" in text
    assert "Everything is fine" not in text


async def test_a_store_that_fails_is_said_with_what_to_do_contract_77(opened: Running) -> None:
    class Failing(Health):
        def failing(self) -> dict[str, str]:
            return {"queue": "queue: no response within 0.5 s"}

    ann = await opened.person("ann")
    health = Failing.__new__(Failing)
    opened.app.state.console_app.state.console = replace(opened.console, health=health)
    text = await lines_of(ann)
    assert "Redis does not work queue: no response within 0.5 s start it" in text
    assert ": Redis" not in text
    assert "the database; nothing frozen" in text


async def test_each_way_that_does_not_work_is_a_line_contract_77(opened: Running) -> None:
    now = wall_clock()

    def break_all(connection: Connection) -> None:
        add_row(connection, TENANT, "defender")
        connection.execute(
            graph_notices.insert().values(
                tenant_id=TENANT, alert_id="a", raw=b"", number=1, received_at=now, failures=2,
                next_at=now + 900, last_error=f"Graph says {HOSTILE}",
            )
        )  # fmt: skip
        connection.execute(
            quarantine.insert().values(
                id="q", tenant_id=TENANT, source="defender", dedup_key=b"k", reason=HOSTILE,
                raw=b"", first_received_at=now, last_received_at=now, deliveries=1,
            )
        )  # fmt: skip
        connection.execute(
            quarantine.insert().values(
                id="removed", tenant_id=TENANT, source="generic", dedup_key=b"g", reason="no host",
                raw=b"", first_received_at=now, last_received_at=now, deliveries=1,
            )
        )  # fmt: skip
        connection.execute(
            alerts.update().where(alerts.c.id == ALERT).values(finished_at=now, dead_reason="x")
        )
        connection.execute(
            notify_targets.insert().values(
                id="t1", tenant_id=TENANT, format="vyrox", min_band="review", url="x", secret="x",
                host="hooks.example", created_at=now,
            )
        )  # fmt: skip
        connection.execute(
            notifications.insert().values(
                id="n1", tenant_id=TENANT, target_id="t1", body=b"", created_at=now, attempts=1,
                next_at=now + 900, last_error=HOSTILE,
            )
        )  # fmt: skip

    await opened.database.write(break_all)
    ann = await opened.person("ann")
    html = (await ann.get("/")).text
    text = text_of(html)
    assert "Announced alerts are not fetched : Microsoft Defender" in text
    assert "1 failed: Graph says <script>" in text
    assert f"vyrox tenant edr check {TENANT} --vendor defender" in text
    assert text.count("Payloads could not be read") == 2  # also of a source that was removed
    assert f'href="/quarantine?tenant={TENANT}"' in html
    assert "Alerts that nothing could finish : dead letters 1 alert without a verdict" in text
    assert f'href="/dead?tenant={TENANT}"' in html
    assert "vyrox queue quarantine" not in html
    tenant = (await ann.get(f"/tenants/{TENANT}")).text
    assert "Payloads could not be read" in tenant
    assert f'href="/quarantine?tenant={TENANT}"' in tenant
    assert "last 422" not in tenant
    assert "A notification does not arrive : hooks.example" in text
    assert "<script>alert" not in html
    assert "\u202e" not in html


async def test_names_of_hosts_stay_text_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    await opened.database.write(lambda c: contain(c, HOSTILE, ends_at=wall_clock()))
    await opened.database.write(
        lambda c: insert_incidents(c, [{"number": 1, "band": "urgent", "score": 90.0}])
    )
    await opened.propose(msgspec.structs.replace(KILL, host=HOSTILE, reason=HOSTILE))
    html = (await ann.get("/")).text
    assert "<script>alert" not in html
    assert "\u202e" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    assert 'href="/devices/acme-corp/id-%3Cscript%3E' in html


async def test_the_page_changes_when_something_does_contract_77(opened: Running) -> None:
    """Not with each alert of a source: a busy source would reload it for ever."""
    ann = await opened.person("ann")
    minute = 1_000_000_000 // 60 * 60.0

    async def changes(change: Callable[[Connection], object]) -> bool:
        version = re.findall(r'data-version="([^"]*)"', (await ann.get("/")).text)[0]
        assert (await ann.get("/", **{"if-none-match": f'"{version}"'})).status_code == 304
        await opened.database.write(change)
        return (await ann.get("/", **{"if-none-match": f'"{version}"'})).status_code == 200

    rows: list[dict[str, object]] = [{"number": 1, "band": "review", "score": 50.0}]
    assert await changes(lambda c: insert_alert(c, minute))
    assert not await changes(lambda c: insert_alert(c, minute + 20))
    assert await changes(lambda c: insert_alert(c, minute + 70))
    assert await changes(lambda c: insert_incidents(c, rows))
    assert await changes(lambda c: contain(c, "pc-3"))
    assert await changes(lambda c: set_frozen(c, TENANT, wall_clock(), frozen=True))


async def test_other_tenants_are_not_there_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    await opened.database.write(lambda c: contain(c, "of-the-other", OTHER, ends_at=wall_clock()))
    row = {"tenant_id": OTHER, "number": 1, "band": "urgent", "score": 90.0}
    await opened.database.write(lambda c: insert_incidents(c, [row]))
    await opened.database.write(lambda c: add_row(c, OTHER, "generic"))
    html = (await ann.get("/")).text
    assert "of-the-other" not in html
    assert OTHER not in html
    unknown = await ann.get("/?tenant=unknown-corp")
    assert unknown.status_code == 404
    assert (await ann.get(f"/?tenant={OTHER}")).text == unknown.text


@pytest.mark.usefixtures("sees_both")
async def test_several_tenants_are_one_page_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    await opened.database.write(lambda c: contain(c, "of-the-other", OTHER, ends_at=wall_clock()))
    rows: list[dict[str, object]] = [
        {"tenant_id": TENANT, "number": 7, "band": "review", "score": 50.0},
        {"tenant_id": OTHER, "number": 9, "band": "urgent", "score": 90.0},
    ]
    await opened.database.write(lambda c: insert_incidents(c, rows))
    html = (await ann.get("/")).text
    assert html.index(f"/incidents/{OTHER}-9") < html.index(f"/incidents/{TENANT}-7")
    assert "of-the-other" in html
    own = (await ann.get(f"/?tenant={TENANT}")).text
    assert f"/incidents/{TENANT}-7" in own
    assert f"/incidents/{OTHER}-9" not in own
    assert "of-the-other" not in own


async def test_very_many_open_incidents_are_not_all_read_contract_77(opened: Running) -> None:
    ann = await opened.person("ann")
    rows: list[dict[str, object]] = [
        {"number": number, "band": "review", "score": 40.0 + number / 100}
        for number in range(1, MAX_COUNTED + 10)
    ]
    rows.append({"number": 5000, "band": "urgent", "score": 30.0})
    rows.append({"number": 5001, "band": "urgent", "score": 99.0, "status": "closed"})
    rows.append({"number": 5002, "band": "urgent", "score": 99.0, "merged_into": 1})
    await opened.database.write(insert_incidents, rows)
    html = (await ann.get("/")).text
    listed = re.findall(r'href="/incidents/acme-corp-([0-9]+)"', html)
    assert listed == ["5000", *(str(number) for number in range(1009, 990, -1))]
    assert "1 urgent, 1000 or more to look at." in text_of(html)


async def test_no_query_of_the_page_reads_a_whole_table_contract_77(
    opened: Running,
) -> None:
    now = wall_clock()
    own = [TENANT, OTHER]
    await opened.database.write(lambda c: contain(c, "pc-3", ends_at=now))

    def read(connection: Connection) -> None:
        most_urgent(connection, own, 20)
        count_open(connection, own)
        list_waiting(connection, own, now, 50)
        list_ended(connection, own, now, 5)
        sources.read_sources(connection, opened.console, own, now)
        sources.read_ways(connection, own, now)
        list_contained(connection, own, 50)

    large = {
        "alerts", "incidents", "verdicts", "audit_log", "quarantine", "notifications",
        "graph_notices", "proposals", "decisions", "confirmations", "devices", "leases",
    }  # fmt: skip
    assert await scanned(opened.database, read) & large == set()
