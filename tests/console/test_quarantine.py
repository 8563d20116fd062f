"""The console's pages about quarantine and dead letters (contract 79)."""

import gzip
import html
import re
from urllib.parse import urlencode

import msgspec
import pytest

from tests.adapters.payloads import CROWDSTRIKE
from tests.alerts.test_searching import finish
from tests.audit import events
from tests.console.running import TENANT, Browser, Running
from tests.console.test_alerts import EVIL, add, links, look_only, made
from tests.sample_alerts import NOW
from vyrox.alerts.dead_letters import mark_dead
from vyrox.alerts.listing import show_alert
from vyrox.alerts.quarantine import Unreadable, keep
from vyrox.alerts.quarantine_review import Quarantined, list_quarantined
from vyrox.models import Vendor

GOOD = CROWDSTRIKE.replace(b"acme-corp", TENANT.encode())


async def quarantined(
    opened: Running,
    raw: bytes,
    reason: str = "raw_id: missing",
    tenant_id: str = TENANT,
    at: float = NOW,
    source: Vendor = "crowdstrike",
    most: int = 10_000_000,
) -> Quarantined:
    payload = Unreadable(tenant_id, source, raw, reason, at)
    await opened.database.write(keep, [payload], most)
    return (await opened.database.read(list_quarantined, tenant_id))[-1]


async def now_is(opened: Running, quarantine_id: str) -> Quarantined:
    rows = await opened.database.read(list_quarantined, TENANT)
    return next(each for each in rows if each.id == quarantine_id)


async def pages(browser: Browser, path: str, pattern: str) -> list[str]:
    """Return what all pages of a list show, one after the other."""
    found: list[str] = []
    next_path: str | None = path
    while next_path is not None:
        page = await browser.get(next_path)
        assert page.status_code == 200
        found += re.findall(pattern, page.text)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        next_path = None if older is None else html.unescape(older[1])
    return found


async def test_quarantine_is_listed_and_filtered_contract_79(opened: Running) -> None:
    jane = await opened.person("jane")
    for number in range(60):
        at = NOW + number // 20
        await quarantined(
            opened, b"%d" % number, at=at, source="generic" if number % 2 else "defender"
        )
    await quarantined(opened, b"other", "not for jane", "other-tenant")
    found = await pages(jane, "/quarantine", r'<td><a href="/quarantine/([^"]+)">')
    rows = await opened.database.read(list_quarantined, TENANT)
    assert found == [each.id for each in reversed(rows)]
    assert "not for jane" not in (await jane.get("/quarantine")).text
    generic = await pages(jane, "/quarantine?source=generic", r'<td data-label="From">(\w+)')
    assert generic == ["generic"] * 30
    await jane.send(f"/quarantine/{rows[0].id}/dismiss", ok="1")
    waiting = await pages(jane, "/quarantine", r'<td><a href="/quarantine/([^"]+)">')
    assert waiting == [each.id for each in reversed(rows[1:])]
    assert len(await pages(jane, "/quarantine?state=all", r'data-label="State">dismissed')) == 1
    for asked in ("source=me", "state=lost"):
        assert (await jane.get(f"/quarantine?{asked}")).status_code == 400
    assert (await jane.get("/quarantine?tenant=other-tenant")).status_code == 404


async def test_a_payload_has_its_reason_its_reading_and_its_body_contract_79(
    opened: Running,
) -> None:
    jane = await opened.person("jane")
    row = await quarantined(opened, GOOD)
    page = (await jane.get(f"/quarantine/{row.id}")).text
    assert "raw_id: missing" in page
    assert "It fits now: try it again." in page
    assert '<td class="name">hostname</td><td data-label="Value">workstation-01</td>' in page
    assert "<code>sensor.hostname</code>" in page
    assert "&#34;detect_id&#34;: " in page
    saved = await jane.get(f"/quarantine/{row.id}/raw")
    assert saved.content == GOOD
    assert saved.headers["content-disposition"] == (
        f'attachment; filename="quarantine-{row.id}.txt"'
    )


@pytest.mark.parametrize("raw", [GOOD, gzip.compress(GOOD)], ids=["plain", "gzip"])
async def test_a_payload_is_replayed_also_a_compressed_one_contract_79(
    opened: Running, raw: bytes
) -> None:
    jane = await opened.person("jane")
    row = await quarantined(opened, raw)
    sent = await jane.send(f"/quarantine/{row.id}/replay", ok="1")
    after = await now_is(opened, row.id)
    assert sent.headers["location"] == f"/alerts/{after.alert_id}?done=replayed"
    assert after.alert_id is not None
    alert = await show_alert(
        opened.database, opened.console.entries.taken, TENANT, after.alert_id, with_raw=True
    )
    assert (alert.hostname, alert.delivery) == ("workstation-01", "queued")
    assert alert.raw == GOOD.decode()
    [event] = [
        each
        for each in await events(opened.database, TENANT)
        if each["kind"] == "alert.accepted" and each.get("replayed") == row.id
    ]
    assert event["by"] == "jane"


async def test_every_alert_of_a_compressed_payload_is_replayed_contract_79(opened: Running) -> None:
    jane = await opened.person("jane")
    other = GOOD.replace(b"workstation-01", b"workstation-02")
    row = await quarantined(opened, gzip.compress(b"[%b,%b]" % (GOOD, other)))
    await jane.send(f"/quarantine/{row.id}/replay", ok="1")
    await opened.database.write(finish)
    assert len(links((await jane.get("/alerts?host=workstation-0*")).text)) >= 2
    after = await now_is(opened, row.id)
    assert after.alert_id is not None
    assert "workstation-01" in (await jane.get(f"/alerts/{after.alert_id}")).text


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"\x1f\x8bnothing",
        gzip.compress(b" " * 100_000),
        gzip.compress(b"[" + b",".join([b"{}"] * 5001) + b"]", 1),
        b"[" * 20_000,
        b"\xff\xfe<script>",
    ],
    ids=["no_alert", "no_gzip", "bomb", "many", "deep", "bytes"],
)
async def test_what_still_fits_no_alert_stays_with_the_new_reason_contract_79(
    opened: Running, raw: bytes
) -> None:
    jane = await opened.person("jane")
    row = await quarantined(opened, raw, "the old reason")
    page = await jane.get(f"/quarantine/{row.id}")
    assert page.status_code == 200
    assert "It does not fit" in page.text
    assert len(page.content) < 200_000
    sent = await jane.send(f"/quarantine/{row.id}/replay", ok="1")
    assert sent.headers["location"] == f"/quarantine/{row.id}?done=replay_refused"
    after = await now_is(opened, row.id)
    assert after.replayed_at is None
    assert after.reason != "the old reason"


async def test_a_dismissal_names_the_person_contract_79(opened: Running) -> None:
    jane = await opened.person("jane")
    row = await quarantined(opened, b"{}")
    sent = await jane.send(f"/quarantine/{row.id}/dismiss", ok="1")
    assert sent.headers["location"] == "/quarantine?done=dismissed"
    assert (await now_is(opened, row.id)).dismissed_at is not None
    changes = [each.get("change") for each in await events(opened.database, TENANT)]
    assert "quarantine: 1 dismissed by jane" in changes


async def test_a_payload_without_a_body_cannot_be_replayed_contract_79(opened: Running) -> None:
    jane = await opened.person("jane")
    row = await quarantined(opened, b"{}", most=1)
    page = await jane.get(f"/quarantine/{row.id}")
    assert "bodies were not kept" in page.text
    assert (await jane.send(f"/quarantine/{row.id}/replay", ok="1")).status_code == 409


async def test_what_an_attacker_wrote_is_text_in_quarantine_contract_79(opened: Running) -> None:
    jane = await opened.person("jane")
    body = msgspec.json.encode({EVIL: EVIL, "detect_id": EVIL, "sensor": {"hostname": EVIL}})
    row = await quarantined(opened, body, EVIL.replace("\0", ""))
    for path in ("/quarantine", f"/quarantine/{row.id}"):
        page = (await jane.get(path)).text
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "\u202e" not in page
        assert "onerror=alert(1)&gt;" in page


async def test_another_tenants_payload_is_not_there_and_a_viewer_only_looks_contract_79(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    jane = await opened.person("jane")
    other = f"/quarantine/{(await quarantined(opened, GOOD, tenant_id='other-tenant')).id}"
    row = await quarantined(opened, GOOD)
    own = f"/quarantine/{row.id}"
    for path in (other, "/quarantine/none", "/quarantine/%00"):
        assert (await jane.get(path)).status_code == 404
        assert (await jane.get(f"{path}/raw")).status_code == 404
        for do in ("replay", "dismiss"):
            assert (await jane.send(f"{path}/{do}", ok="1")).status_code == 404
    assert "Try it again" in (await jane.get(own)).text
    look_only(monkeypatch)
    assert '<button type="submit" class="main">Try' not in (await jane.get(own)).text
    for do in ("replay", "dismiss"):
        assert (await jane.send(f"{own}/{do}", ok="1")).status_code == 409
    assert await now_is(opened, row.id) == row


async def test_dead_letters_are_listed_and_revived_contract_79(
    opened: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    jane = await opened.person("jane")
    alerts = [made(number, process_cmdline=EVIL) for number in range(60)]
    other = made(99, "other-tenant")
    await add(opened, *alerts, other)
    for each in (*alerts, other):
        await opened.database.write(mark_dead, each.tenant_id, each.id, 5, NOW + 9)
    found = await pages(jane, "/dead", r'<td><a href="/alerts/([^"]+)">')
    assert found == [each.id for each in reversed(alerts)]
    page = (await jane.get("/dead")).text
    assert "delivered 5 times" in page
    assert "<script>alert" not in page
    first = alerts[0].id
    assert "Queue it again" in (await jane.get(f"/alerts/{first}")).text
    sent = await jane.send(f"/dead/{first}/revive", ok="1")
    assert sent.headers["location"] == f"/alerts/{first}?done=revived"
    shown = await show_alert(opened.database, opened.console.entries.taken, TENANT, first)
    assert shown.delivery == "queued"
    assert "queued again by jane" in (await jane.get(f"/alerts/{first}")).text
    # It is not one any more; another tenant's is not there; a viewer only looks.
    assert (await jane.send(f"/dead/{first}/revive", ok="1")).status_code == 409
    assert (await jane.send(f"/dead/{other.id}/revive", ok="1")).status_code == 404
    assert (await jane.get(f"/dead?{urlencode({'tenant': 'other-tenant'})}")).status_code == 404
    look_only(monkeypatch)
    assert "revive" not in (await jane.get("/dead")).text
    assert (await jane.send(f"/dead/{alerts[1].id}/revive", ok="1")).status_code == 409
